"""The store: keys, digests, damage, newer layouts, units, and two makers at once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fico_utils import artifacts, files
from fico_utils.artifacts import Recipe, Store, damage_of, header_of
from fico_utils.errors import InputError
from fico_utils.experiment import label_sources, weights
from fico_utils.files import RECORD, content_digest, digest_of, read_metadata, sha256_file, write_arrays
from fico_utils.provenance import SHIPPED
from tests.faults.content import change_in_place, flip_bit

RECIPE = Recipe("backbone", {"epochs": 3, "classes": {"shape": 8}}, 1, ("0123",))


def never() -> dict[str, np.ndarray]:
    raise AssertionError("the artefact is there and whole: nothing may be built")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path, {"run": "mini-s1"})


def test_an_artefact_is_made_once_and_says_what_it_is_made_from(store: Store):
    made = store.arrays("models", "backbone", RECIPE, lambda: {"w": np.arange(6.0)}, origin="trained")
    again = store.arrays("models", "backbone", RECIPE, never)
    assert np.array_equal(made["w"], again["w"])
    path = store.path("models", "backbone", RECIPE)
    header = header_of(path)
    assert header["recipe"] == RECIPE.described
    assert header["digest"] == content_digest(made)
    assert header["about"]["run"] == "mini-s1"
    assert header["about"]["origin"] == "trained"
    assert "__s1__" in path.name
    assert RECIPE.key in path.name


def test_keys_are_pinned():
    """A refactor that moved these would empty everybody's store without a word."""
    assert artifacts.key_of("a", {"b": [1, 2.5], "c": None}) == "d9599445618daeb3"
    assert content_digest({"w": np.arange(3, dtype=np.float32)})[:16] == "9f15a4d02ed21fbc"
    assert content_digest([{"value": 0.1}])[:16] == "2c0cada9098d643d"


@pytest.mark.parametrize(
    "other",
    [
        Recipe("doc2vec", RECIPE.settings, 1, ("0123",)),
        Recipe("backbone", {"epochs": 4, "classes": {"shape": 8}}, 1, ("0123",)),
        Recipe("backbone", RECIPE.settings, 2, ("0123",)),
        Recipe("backbone", RECIPE.settings, 1, ("0124",)),
    ],
)
def test_whatever_a_recipe_says_is_in_its_key(other: Recipe):
    assert other.key != RECIPE.key


def test_a_raised_version_is_another_key(monkeypatch: pytest.MonkeyPatch):
    before = RECIPE.key
    monkeypatch.setattr(artifacts, "version_of", lambda producer: 99)
    assert RECIPE.key != before


@settings(max_examples=60)
@given(place=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_any_flipped_bit_is_noticed(tmp_path_factory: pytest.TempPathFactory, place: int, bit: int):
    """Wherever it falls: in the numbers, in the header and its log, or in its length; size and stamp are as before."""
    store = Store(tmp_path_factory.mktemp("flip"))
    arrays, rows = {"w": np.arange(40, dtype=np.float32), "n": np.array([3])}, [{"seconds": 1.5}, {"seconds": 2.5e-7}]
    log = [{"epoch": 1, "loss": 0.4375}]
    for suffix, keep, content in ((".safetensors", store.arrays, arrays), (".json", store.records, rows)):
        keep("models", "x", RECIPE, lambda content=content: content, log=log)
        path = store.path("models", "x", RECIPE, suffix)
        header, digest = header_of(path), digest_of(path)
        flip_bit(path, place, bit)
        if not damage_of(path):  # between the words of a JSON text
            assert (header_of(path), digest_of(path)) == (header, digest)
            continue
        assert digest_of(path) != digest, "a step that read or wrote the file is stale"
        made = keep("models", "x", RECIPE, lambda content=content: content, log=log)
        assert content_digest(made) == content_digest(content) == digest_of(path)
        assert not damage_of(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.0, np.nextafter(np.float32(2), np.float32(3))])
def test_a_number_set_to_another_is_noticed_and_made_again(store: Store, value: float):
    store.arrays("models", "x", RECIPE, lambda: {"w": np.float32([0, 1, 2])})
    path = store.path("models", "x", RECIPE)
    change_in_place(path, path.read_bytes()[:-4] + np.float32(value).tobytes())
    assert damage_of(path).startswith("was changed after it was written")
    assert store.arrays("models", "x", RECIPE, lambda: {"w": np.float32([0, 1, 2])})["w"].tolist() == [0, 1, 2]
    assert not damage_of(path)


def test_an_artefact_of_the_first_layout_is_read_and_its_content_checked(store: Store):
    """What earlier versions kept: an entry for each name of the header, and no seal."""
    from safetensors.numpy import save_file

    path = store.path("models", "x", RECIPE)
    path.parent.mkdir(parents=True)
    header = {**store.header(RECIPE, {"w": np.ones(2)}), "format": 1}
    del header["seal"]
    save_file({"w": np.ones(2)}, path, {name: json.dumps(value) for name, value in header.items()})
    assert header_of(path) == header
    assert store.arrays("models", "x", RECIPE, never)["w"].tolist() == [1, 1]
    flip_bit(path, -1, 0)
    assert damage_of(path).startswith("was changed")


WRITES = """
import sys
import numpy as np
from fico_utils.artifacts import Recipe, Store
for number in range(4):
    content = {name: np.arange(9.0) for name in ("w", "b", "scale", "shift", "é")}
    Store(f"{sys.argv[1]}/{number}", {"run": "x"}).arrays("models", "x", Recipe("backbone"), lambda: content, log=[1.5])
"""


def test_equal_arrays_are_equal_bytes(tmp_path: Path):
    for seed in ("0", "1", "random"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", WRITES, str(tmp_path / seed)], check=True, env=environment)
    written = [path.read_bytes() for path in tmp_path.rglob("*.safetensors")]
    assert len(written) == 12
    assert len(set(written)) == 1


@pytest.fixture
def ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own for what ships, with a few of the files that do."""
    folder = tmp_path / "weights"
    for name in ("mini/doc2vec.safetensors", "mini/vocabulary__picto_people.json", "labels__picto_people.safetensors"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(SHIPPED / name, folder / name)
    shutil.copy(SHIPPED / artifacts.SUMS, folder)
    for module in (artifacts, files, weights, label_sources):
        monkeypatch.setattr(module, "SHIPPED", folder)
    return folder


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10**6), bit=st.integers(0, 7), header=st.booleans())
@example(place=142, bit=3, header=True)  # Doc2Vec's layout becomes 9, which is newer than any that is known
def test_any_flipped_bit_of_what_ships_is_refused(ships: Path, place: int, bit: int, header: bool):
    """Its headers have no seal, so that `SUMS` keeps all bytes, those of the training's log among them."""
    for path in (p for p in ships.rglob("*") if p.suffix in (".safetensors", ".json")):
        before, whole = digest_of(path), path.read_bytes()
        assert weights.whole_shipped(path) == path
        flip_bit(path, place % 3000 if header else place, bit)
        assert digest_of(path) != before
        with pytest.raises(InputError, match=f"so it does not serve; restore it with: git checkout -- {path}"):
            weights.whole_shipped(path)
        path.write_bytes(whole)


def test_changed_labels_judge_nobody(ships: Path):
    assert label_sources.given_labels("picto_people") == ships / "labels__picto_people.safetensors"
    flip_bit(ships / "labels__picto_people.safetensors", -1, 0)
    with pytest.raises(InputError, match="does not serve; restore it with"):
        label_sources.given_labels("picto_people")


def test_the_sums_name_every_file_that_ships_and_no_other():
    shipped = {
        p.relative_to(SHIPPED).as_posix(): p for p in SHIPPED.rglob("*") if p.suffix in (".safetensors", ".json")
    }
    assert artifacts.shipped_sums(SHIPPED) == {name: sha256_file(path) for name, path in shipped.items()}
    assert artifacts.damaged_artefacts(SHIPPED) == (len(shipped), {})


def test_damage_is_named_once_and_mended(store: Store, capsys: pytest.CaptureFixture[str]):
    store.records("costs", "x", RECIPE, lambda: [{"seconds": 1.5}])
    path = store.path("costs", "x", RECIPE, ".json")
    path.write_text(path.read_text().replace("1.5", "123.456"))
    assert store.records("costs", "x", RECIPE, lambda: [{"seconds": 1.5}]) == [{"seconds": 1.5}]
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert path.name in said
    assert "changed after it was written" in said


@pytest.mark.parametrize("content", [b"", b"\x08\x00\x00\x00\x00\x00\x00\x00{}", b"no artefact at all"])
def test_half_files_are_made_again(store: Store, content: bytes):
    path = store.path("models", "x", RECIPE)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert not store.holds(store.path("models", "x", RECIPE), RECIPE)
    assert store.arrays("models", "x", RECIPE, lambda: {"w": np.ones(2)})["w"].sum() == 2


def test_what_a_newer_version_wrote_is_refused_and_kept(store: Store):
    path = store.path("models", "x", RECIPE)
    header = store.header(RECIPE, {"w": np.ones(2)}) | {"format": artifacts.FORMAT + 1}
    write_arrays(path, {"w": np.ones(2)}, header)
    before = path.read_bytes()
    with pytest.raises(InputError, match="newer version of fico_utils"):
        store.arrays("models", "x", RECIPE, never)
    assert path.read_bytes() == before


def test_units_go_on_where_they_stopped(store: Store, capsys: pytest.CaptureFixture[str]):
    units = store.units("costs", "walk", RECIPE)
    for number in range(4):
        units.write(number, {"a": np.full(3, number)}, {"blocks": number})
    assert units.numbers() == [0, 1, 2, 3]
    arrays, content = units.read(2)
    assert arrays["a"].tolist() == [2, 2, 2]
    assert content == {"blocks": 2}
    raw = bytearray(units.path(3).read_bytes())
    raw[-1] ^= 1
    units.path(3).write_bytes(bytes(raw))
    assert units.numbers() == [0, 1, 2]
    assert "this unit is made again" in capsys.readouterr().err
    units.write(4, {}, None, keep=1)
    assert units.numbers() == [4]
    units.remove()
    assert not units.folder.exists()


def test_a_second_maker_waits_and_reads(store: Store):
    built = []

    def build() -> dict[str, np.ndarray]:
        built.append(1)
        return {"w": np.ones(3)}

    threads = [threading.Thread(target=store.arrays, args=("models", "x", RECIPE, build)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1


def test_a_killed_maker_leaves_no_lock_that_holds(store: Store):
    code = (
        "import os, sys; from fico_utils.artifacts import Recipe, Store\n"
        f"Store(sys.argv[1]).arrays('models', 'x', Recipe('backbone', {dict(RECIPE.settings)!r}, 1, ('0123',)),"
        " lambda: os.kill(os.getpid(), 9))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(store.root)], check=False, env={**os.environ})
    assert done.returncode != 0
    assert not store.holds(store.path("models", "x", RECIPE), RECIPE)
    assert store.arrays("models", "x", RECIPE, lambda: {"w": np.ones(2)})["w"].tolist() == [1, 1]


def test_reads_and_writes_are_noted_for_the_runner(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv(RECORD, str(tmp_path / "record.jsonl"))
    store.arrays("models", "x", RECIPE, lambda: {"w": np.ones(2)})
    store.arrays("models", "x", RECIPE, never)
    lines = [json.loads(line) for line in (tmp_path / "record.jsonl").read_text().splitlines()]
    path = str(store.path("models", "x", RECIPE))
    assert [line.get("wrote") or line.get("read") for line in lines] == [path, path]
    assert lines[-1]["digest"] == read_metadata(path)["digest"]


def test_check_verify_reads_everything_and_names_what_is_damaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    from fico_utils.__main__ import main

    store = Store(tmp_path / "mini")
    store.arrays("models", "x", RECIPE, lambda: {"w": np.ones(2)})
    store.records("costs", "y", RECIPE, lambda: [{"seconds": 1.5}])
    (store.root / "table.json").write_text("{}")  # no artefact
    arguments = ["check", "--verify", "--profile", "mini", "--out", str(tmp_path)]
    assert main(arguments) == 0
    assert "artefacts in" in capsys.readouterr().out
    path = store.path("costs", "y", RECIPE, ".json")
    path.write_text(path.read_text().replace("1.5", "123.456"))
    assert main(arguments) == 1
    said = capsys.readouterr()
    assert said.err.startswith(f"{path} was changed after it was written")
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("seed", range(20))
def test_the_library_reads_what_we_write_and_nothing_depends_on_the_order(tmp_path: Path, seed: int) -> None:
    """`write_arrays` against safetensors' own reader: all dtypes, sizes, orders of bytes and of memory."""
    rng, arrays = np.random.default_rng(seed), {}
    dtypes = ["?", "i1", "u1", "<i2", "<u2", "<f2", "<i4", "<u4", "<f4", "<i8", "<u8", "<f8", ">f4", ">i8"]
    for number, dtype in enumerate(rng.permutation(dtypes)):
        shape = rng.integers(0, 4, rng.integers(0, 4))
        array = np.array(rng.integers(0, 100, shape)).astype(dtype)
        arrays[f"ü{number}"] = array.T if rng.random() < 0.5 else array[..., ::2] if array.ndim else array
    write_arrays(tmp_path / "a.safetensors", arrays, {"text": 'é\n"', "number": 0.1})
    write_arrays(tmp_path / "b.safetensors", dict(reversed(arrays.items())), {"text": 'é\n"', "number": 0.1})
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    read = safetensors.numpy.load_file(tmp_path / "a.safetensors")
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        assert read[name].dtype == array.dtype.newbyteorder("<")
        assert read[name].shape == array.shape
        assert (read[name] == array).all()
