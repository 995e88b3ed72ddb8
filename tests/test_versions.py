"""Versions: what is edited so that it computes something else is named; what is only reworded is not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fico_utils import registry
from fico_utils.artifacts import damage_of
from fico_utils.golden import CODES, PICTURES, golden_cases, largest_difference
from fico_utils.producers import stated_by, stated_versions, version_of
from fico_utils.provenance import PROJECT
from fico_utils.versions import FOLDER, check_shipped, read_lock

LOOK = (
    "import json, sys\nfrom fico_utils.versions import look_at_producers\n"
    "if __name__ == '__main__':\n"
    "    print(json.dumps({p.producer: p.sentence for p in look_at_producers(sys.argv[1].split(','))}))"
)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package to edit, without the weights."""
    shutil.copytree(
        PROJECT / "fico_utils", tmp_path / "fico_utils", ignore=shutil.ignore_patterns("weights", "__pycache__")
    )
    return tmp_path


def run_in(copy: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)


def sentences(copy: Path, *producers: str) -> dict[str, str]:
    done = run_in(copy, "-c", LOOK, ",".join(producers))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) >= 1, f"{old!r} is not in {path.name}"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_a_system_that_computes_something_else_is_named(copy: Path):
    edit(copy / "fico_utils/models/dadh.py", "    def encode_image(self, features: Tensor) -> Tensor:\n",
         "    def encode_image(self, features: Tensor) -> Tensor:\n        features = 2 * features\n")  # fmt: skip
    told = sentences(copy, "dadh", "ucch")
    assert told["dadh"].startswith("dadh computes something else than version 1 did (largest difference")
    assert told["dadh"].endswith("raise VERSION in fico_utils/models/dadh.py")
    assert told["ucch"] == ""


def test_a_picture_that_is_drawn_otherwise_is_named(copy: Path):
    path = copy / "fico_utils/data/pictoscenes/draw.py"
    path.write_text(
        path.read_text(encoding="utf-8")
        + "\n\n_drawn = render\n\n\ndef render(*given, **options):\n    return 255 - _drawn(*given, **options)\n",
        encoding="utf-8",
    )
    told = sentences(copy, "drawing", "vocabulary")
    assert "drawing computes something else than version 1 did" in told["drawing"]
    assert told["vocabulary"] == ""


def test_a_producer_that_fails_is_named_and_the_others_are_looked_at(copy: Path):
    edit(copy / "fico_utils/data/text.py", "return _WORD.findall(caption.lower())", "return caption.nothing")
    told = sentences(copy, "vocabulary", "rewriting")
    assert told["vocabulary"].startswith("vocabulary does not run on its golden input: AttributeError")
    assert told["rewriting"] == ""


def test_comments_docstrings_and_messages_cost_nothing(copy: Path):
    path = copy / "fico_utils/models/dadh.py"
    edit(path, "\nclass Dadh", "\n# a remark\nclass Dadh")
    edit(path, "    def encode_image(self, features: Tensor) -> Tensor:\n",
         '    def encode_image(self, features: Tensor) -> Tensor:\n        """In other words."""\n')  # fmt: skip
    assert sentences(copy, "dadh", "vocabulary") == {"dadh": "", "vocabulary": ""}


def test_code_that_changed_and_computes_the_same_asks_for_one_look(copy: Path):
    edit(
        copy / "fico_utils/data/text.py",
        "return _WORD.findall(caption.lower())",
        "return list(_WORD.findall(caption.lower()))",
    )
    told = sentences(copy, "vocabulary")["vocabulary"]
    assert told.startswith("the code of vocabulary changed and its output did not: raise VERSION")
    assert told.endswith("or say check --versions --keep vocabulary")


def test_keep_records_a_look_and_refuses_another_meaning(copy: Path):
    keep = "import sys\nfrom fico_utils import versions\nfrom fico_utils.errors import InputError\n" + (
        "looked = list(versions.look_at_producers(['vocabulary']))\n"
        "versions.look_at_producers = lambda only=None: looked\nversions.check_shipped = lambda: []\n"
        "versions._missing = lambda *_: []\n"
        "try:\n    sys.exit(versions.check_versions(['vocabulary']))\n"
        "except InputError as error:\n    sys.exit(str(error))\n"
    )
    text = copy / "fico_utils/data/text.py"
    edit(text, "return _WORD.findall(caption.lower())", "return list(_WORD.findall(caption.lower()))")
    assert run_in(copy, "-c", keep).returncode == 0
    assert sentences(copy, "vocabulary") == {"vocabulary": ""}
    edit(text, "return list(_WORD.findall(caption.lower()))", "return _WORD.findall(caption)")
    done = run_in(copy, "-c", keep)
    assert done.returncode == 1
    assert "--keep records only what computes the same" in done.stderr
    edit(text, '"vocabulary": 1', '"vocabulary": 2')
    told = sentences(copy, "vocabulary")["vocabulary"]
    assert told == "vocabulary has version 2 and is recorded as 1: say check --versions --keep vocabulary"
    assert run_in(copy, "-c", keep).returncode == 0
    assert sentences(copy, "vocabulary") == {"vocabulary": ""}


def test_every_system_and_every_stated_producer_has_a_case_and_a_record():
    cases, lock = golden_cases(), read_lock()
    assert {stated_by(row.trained) for row in registry.systems().values() if row.trained} <= set(cases)
    assert set(stated_versions()) == set(lock)
    assert set(lock) <= set(cases)
    for producer, (version, _) in lock.items():
        assert version == stated_versions()[producer]
        assert (FOLDER / f"{producer}.safetensors").is_file()


def test_a_raised_version_of_shared_code_is_in_the_version_of_all_that_run_through_it(monkeypatch: pytest.MonkeyPatch):
    from fico_utils import producers

    before = {p: version_of(p) for p in ("scan", "adv_64", "doc2vec")}
    raised = producers._statements() | {"training": (2, Path("models/training.py"))}
    monkeypatch.setattr(producers, "_statements", lambda: raised)
    assert {p: version_of(p) - v for p, v in before.items()} == {"scan": 1, "adv_64": 1, "doc2vec": 0}


def test_shipped_files_that_are_damaged_or_of_another_version_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from fico_utils import versions

    folder = tmp_path / "weights" / "mini"
    folder.mkdir(parents=True)
    path = shutil.copy(PROJECT / "fico_utils/weights/mini/backbone.safetensors", folder)
    assert check_shipped(tmp_path / "weights") == []
    monkeypatch.setattr(versions, "version_of", lambda producer: 2)
    assert "was made by version 1 of backbone, which is 2 now" in check_shipped(tmp_path / "weights")[0]
    monkeypatch.undo()
    raw = bytearray(Path(path).read_bytes())
    raw[-1] ^= 1
    Path(path).write_bytes(bytes(raw))
    assert damage_of(path)
    assert "weights/mini/backbone.safetensors was changed" in check_shipped(tmp_path / "weights")[0]


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
