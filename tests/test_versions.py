"""Versions: what is edited so that it computes something else is named; what is only reworded is not."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fico_utils import producers, registry
from fico_utils.artifacts import damage_of
from fico_utils.data import text
from fico_utils.data.pictoscenes import drawn_corpus
from fico_utils.errors import InputError
from fico_utils.evaluation import compiling, evaluate
from fico_utils.extras import versions
from fico_utils.extras.versions import CODES, PICTURES, check_shipped, code_digest, largest_difference
from fico_utils.extras.versions.cases import CASES
from fico_utils.extras.versions.code_digest import digest_of_call, text_of
from fico_utils.package_code import parse_code
from fico_utils.producers import stated_by, stated_versions, version_of
from fico_utils.provenance import PROJECT

LOOK = (
    "import json, sys\nfrom fico_utils.extras.versions import look_at_producers\n"
    "print(json.dumps({p.producer: p.sentence for p in look_at_producers(sys.argv[1].split(','))}))"
)
KEEP = "check --versions --keep vocabulary"
#: Module -> (old text, new text) of edits that touch different producers.
EDITS = {
    "models/dadh.py": (
        "    def encode_image(self, features: Tensor) -> Tensor:\n",
        "    def encode_image(self, features: Tensor) -> Tensor:\n        features = 2 * features\n",
    ),
    "models/ucch.py": (
        "    def encode_image(self, features: Tensor) -> Tensor:\n",
        '    # a remark\n    def encode_image(self, features: "Tensor") -> Tensor:\n        """In other words."""\n',
    ),
    "data/pictoscenes/draw.py": (
        "def render(",
        "def render(*given):\n    return 255 - drawn(*given)\n\n\ndef drawn(",
    ),
    "data/rewriting.py": ("VERSIONS = ", "random = None\nVERSIONS = "),
    "models/query2label.py": ("np.linspace(0.05, 0.95, 91)", "np.linspace(0.05, 0.95, 90 + 1)"),
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What is said of some producers in a copy of the package with all `EDITS`."""
    copy = tmp_path_factory.mktemp("copy")
    left_out = shutil.ignore_patterns("weights", "__pycache__")
    shutil.copytree(PROJECT / "fico_utils", copy / "fico_utils", ignore=left_out)
    for name, (old, new) in EDITS.items():
        path = copy / "fico_utils" / name
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{old!r} is not in {name}"
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", LOOK, "dadh,ucch,drawing,rewriting,labels,vocabulary"]
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_who_computes_something_else_is_named(told: dict[str, str]):
    assert told["dadh"].startswith("dadh computes something else than version 1 did (largest difference")
    assert told["dadh"].endswith("raise VERSION in fico_utils/models/dadh.py")
    assert "drawing computes something else than version 1 did" in told["drawing"]


def test_prose_costs_nothing(told: dict[str, str]):
    assert told["ucch"] == ""


def test_code_that_changed_and_computes_the_same_asks_for_one_look(told: dict[str, str]):
    assert told["labels"].startswith("the code of labels changed and its output did not: raise VERSION in fico_utils/")
    assert told["labels"].endswith("if the meaning changed, or say check --versions --keep labels")


def test_a_producer_that_fails_is_named_and_the_others_are_looked_at(told: dict[str, str]):
    assert told["rewriting"].startswith("rewriting does not run on its golden input: AttributeError")
    assert told["vocabulary"] == ""


PATTERN = """_WORD = re.compile(r"[^\\W_]+(?:'[^\\W_]+)?")"""
TEXT, KERNELS = "data/text.py", "evaluation/kernels_instance.py"
MOVED = {
    TEXT: (PATTERN, "from fico_utils.data.corpus import _WORD"),
    "data/corpus.py": ("\nclass ", f"\n{PATTERN}\n\n\nclass "),
}


def read_words() -> None:
    text.words("A cat.")


def score_vectors() -> None:
    evaluate(np.eye(3), np.eye(3).repeat(2, 0), recall_at=(1,))


@pytest.mark.parametrize(
    ("edits", "same"),
    [
        ({TEXT: ("    return _WORD.findall", "    # a remark\n    return _WORD.findall")}, True),
        ({TEXT: ("words(caption: str) -> list[str]:", "words(caption):")}, True),
        ({TEXT: ("Lower-case words of a caption.", "In other words.")}, True),
        ({TEXT: ("def words(", "def nobody_calls():\n    return 1\n\n\ndef words(")}, True),
        ({"evaluation/embeddings.py": ("expected numbers: give", "give")}, True),  # what an error says
        (MOVED, True),
        ({TEXT: (".lower()", ".upper()")}, False),
        ({TEXT: ("_WORD = re.compile(", "_WORD = re.compile('' + ")}, False),
        ({KERNELS: ("hits += row[items[j]] == best", "hits += row[items[j]] >= best")}, False),
    ],
)  # fmt: skip
def test_the_digest_of_a_call_changes_with_meaning_only(
    edits: dict[str, tuple[str, str]], same: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    call = read_words if TEXT in edits else score_vectors

    def parse_edited(path: Path) -> ast.Module:
        old, new = edits.get(path.relative_to(PROJECT / "fico_utils").as_posix(), ("", ""))
        content = path.read_text(encoding="utf-8")
        assert old in content
        (tmp_path / "edited.py").write_text(content.replace(old, new, 1), encoding="utf-8")
        return parse_code(tmp_path / "edited.py")

    before = digest_of_call(call)
    monkeypatch.setattr(code_digest, "parse_code", parse_edited)
    code_digest._read_names.cache_clear()
    assert (digest_of_call(call) == before) is same
    code_digest._read_names.cache_clear()


def test_compiled_code_has_the_digest_of_plain_python(monkeypatch: pytest.MonkeyPatch):
    digests = []
    for limit in (np.inf, -1):
        monkeypatch.setattr(compiling, "UNCOMPILED", limit)
        digests.append(digest_of_call(score_vectors))
    assert digests[0] == digests[1]


def test_functions_that_threads_enter_are_seen():
    def call() -> None:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(read_words).result()

    assert digest_of_call(call) == digest_of_call(read_words) != digest_of_call(lambda: None)


def test_code_has_one_text_in_all_versions_of_python():
    code = """
@decorated(1)
class A(B, metaclass=M):
    x: int = 3
    def f(self, a, /, b: str = u"ü\\u2603", *c, d=1j, **e) -> None:
        raise E(f"x {a!r:>{b}} {{") from None
    async def g(self):
        async with a as b, c: return [x async for x in y if x]
match z:
    case {"a": [1, *_], **r} if r: pass
t = f"a{b:<{c}}" "c" f"{d:.2f}{'q'} {{}}"; q = f"{a=}"; w = {**a, 1: None, 2: ...}
try: k = lambda *, a=1: (yield)
except* E as e: print(x := 5, *y, **z); del a.b, c[1:2, ::3]
"""
    digest = hashlib.sha256(text_of(ast.parse(code)).encode()).hexdigest()[:12]
    assert digest == "3421e5f90ccb"


def test_keep_records_a_look_and_refuses_another_meaning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    stated, made = {"vocabulary": 1}, {"words": np.arange(3)}
    for name, value in {
        "LOCK": tmp_path / "versions.lock",
        "GOLDEN": tmp_path,
        "CASES": {"vocabulary": (lambda: dict(made), 1e-4)},
        "stated_versions": lambda: stated,
        "check_shipped": list,
        "digest_of_call": lambda call: code,
    }.items():
        monkeypatch.setattr(versions, name, value)

    def check(*keep: str) -> list[str]:
        said: list[str] = []
        assert versions.check_versions(keep, said.append) == ("producers compute" not in said[-1])
        return said

    versions.LOCK.write_text("# producer, version, code\n", encoding="utf-8")
    code = "first"
    assert check() == ["vocabulary is not recorded yet: look at what it computes, then say " + KEEP]
    assert check("vocabulary")[0] == "recorded in versions.lock: vocabulary"
    assert check() == ["1 producers compute what they did at their stated versions, and all that ships is whole"]
    code = "second"
    assert check()[0].startswith("the code of vocabulary changed and its output did not: raise VERSION")
    assert check("all")[0] == "recorded in versions.lock: vocabulary"
    assert len(check()) == 1

    made["words"] = np.arange(3) + 1
    assert "computes something else than version 1 did (largest difference 1 in words)" in check()[0]
    with pytest.raises(InputError, match="--keep records only what computes the same"):
        check("vocabulary")
    stated["vocabulary"] = 2
    assert check() == [f"vocabulary has version 2 and is recorded as 1: say {KEEP}"]
    check("vocabulary")
    assert check()[0].startswith("1 producers")
    stated["vocabulary"] = 1
    assert check() == ["vocabulary has version 1 and was 2: a version is never lowered"]
    with pytest.raises(InputError, match="'words' is no producer; expected all or any of vocabulary"):
        check("words")
    del stated["vocabulary"]
    stated["other"] = 1
    assert [sentence.split(":")[0] for sentence in check()] == [
        "other states a version and has no golden case",
        "vocabulary is recorded in versions.lock and no module states its version",
    ]


def test_every_system_and_every_stated_producer_has_a_case_and_a_record():
    lock = versions.read_lock()
    assert {stated_by(row.trained) for row in registry.systems().values() if row.trained} <= set(CASES)
    assert set(stated_versions()) == set(lock) == set(CASES)
    for producer, (version, _) in lock.items():
        assert version == stated_versions()[producer]
        assert (versions.GOLDEN / f"{producer}.safetensors").is_file()


def raise_version(monkeypatch: pytest.MonkeyPatch, producer: str, module: str) -> None:
    raised = producers._statements() | {producer: (2, Path(module))}
    monkeypatch.setattr(producers, "_statements", lambda: raised)


def test_a_raised_version_of_shared_code_is_in_the_version_of_all_that_run_through_it(monkeypatch: pytest.MonkeyPatch):
    before = {p: version_of(p) for p in ("scan", "adv_64", "doc2vec")}
    raise_version(monkeypatch, "training", "models/training.py")
    assert {p: version_of(p) - v for p, v in before.items()} == {"scan": 1, "adv_64": 1, "doc2vec": 0}


def test_shipped_files_that_are_damaged_or_of_another_version_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "weights" / "mini"
    folder.mkdir(parents=True)
    path = shutil.copy(PROJECT / "fico_utils/weights/mini/backbone.safetensors", folder)
    assert check_shipped(tmp_path / "weights") == []
    with monkeypatch.context() as patched:
        raise_version(patched, "backbone", "data/features.py")
        assert "was made by version 1 of backbone, which is 2 now" in check_shipped(tmp_path / "weights")[0]
    raw = bytearray(Path(path).read_bytes())
    raw[-1] ^= 1
    Path(path).write_bytes(bytes(raw))
    assert damage_of(path)
    assert "weights/mini/backbone.safetensors was changed" in check_shipped(tmp_path / "weights")[0]


def forget_keys() -> None:
    """Drawn corpora are remembered with their keys, which hold versions."""
    drawn_corpus.cache_clear()


@pytest.fixture
def fresh_keys() -> Iterator[None]:
    forget_keys()
    yield
    forget_keys()


@pytest.mark.usefixtures("fresh_keys")
@pytest.mark.parametrize(
    ("producer", "module", "reading", "not_reading"),
    [
        ("backbone", "data/features.py", "beit3__picto_people", "vocabulary__picto_people"),
        ("drawing", "data/pictoscenes/draw.py", "beit3__picto_people", "?"),
        ("vocabulary", "data/text.py", "scan__picto_people", "dadh__picto_people"),
    ],
)
def test_shipped_files_that_read_what_is_made_otherwise_now_are_named(
    producer: str, module: str, reading: str, not_reading: str, monkeypatch: pytest.MonkeyPatch
):
    raise_version(monkeypatch, producer, module)
    sentences = check_shipped()
    told = "read what is made otherwise now, so it serves no more: train it anew and ship it"
    assert f"weights/standard/{reading}.safetensors {told}" in sentences
    assert not [sentence for sentence in sentences if not_reading in sentence]


@given(scale=st.floats(1e-7, 1e-6), seed=st.integers(0, 99))
def test_rounding_of_another_machine_is_no_difference(scale: float, seed: int):
    rng = np.random.default_rng(seed)
    then = {
        "img": rng.standard_normal((6, 8)).astype(np.float32),
        CODES + ".img": rng.integers(0, 255, (6, 8), np.uint8),
    }
    now = {**then, "img": then["img"] * np.float32(1 + scale)}
    assert largest_difference(now, then, 1e-4) == ""
    assert "in img" in largest_difference({**then, "img": then["img"] + 0.1}, then, 1e-4)
    assert CODES in largest_difference({**then, CODES + ".img": ~then[CODES + ".img"]}, then, 1e-4)


def test_a_level_more_or_less_is_no_other_picture():
    then = {PICTURES: np.full((2, 4, 4, 3), 100, np.uint8)}
    assert largest_difference({PICTURES: then[PICTURES] + 1}, then, 1e-4) == ""
    assert largest_difference({PICTURES: then[PICTURES] + 9}, then, 1e-4) != ""
