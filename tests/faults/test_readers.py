"""Strangers' files at a small budget: each reader gives a value or one sentence, and no process ends by a file."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fico_utils import profiles
from fico_utils.errors import InputError
from fico_utils.extras.corpora import array_formats
from fico_utils.extras.corpora.arrays import read_array
from fico_utils.extras.corpora.pictures import read_picture
from fico_utils.provenance import PROJECT
from tests.faults import arrays, pictures, results, texts
from tests.faults.__main__ import find_campaigns
from tests.faults.failed_arrays import FAILED
from tests.faults.failed_texts import FAILED_PROFILES, FAILED_YAML
from tests.faults.mutations import Hunt, conclude

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the campaigns fork, which this system cannot")
SEED = 27


@pytest.fixture(scope="module")
def _scoring(tmp_path_factory: pytest.TempPathFactory) -> None:
    arrays.warm_up(tmp_path_factory.mktemp("warm"))


@pytest.mark.usefixtures("_scoring")
@pytest.mark.parametrize("reader", arrays.READERS)
def test_mutated_arrays_give_values_or_sentences(reader: str, tmp_path: Path) -> None:
    tries = 30 if find_library(reader) else 150
    hunt = arrays.hunt_reader(reader, tmp_path, random.Random(SEED), lambda hunt: hunt.tried >= tries)
    conclude([hunt])
    assert 0 < hunt.refused < hunt.tried


def find_library(reader: str) -> str | None:
    """The library of native code that reads a format."""
    ending = arrays.READERS[reader][0]
    return array_formats.FORMATS[ending].library


def test_mutated_texts_and_pictures_give_values_or_sentences() -> None:
    texts.campaign(0, SEED, least=40)
    pictures.campaign(0, SEED, least=8)


def test_mutated_results_and_settings_give_values_or_sentences() -> None:
    results.campaign(0, SEED, least=8)


@pytest.mark.parametrize("name", FAILED)
def test_files_that_once_failed_are_refused(name: str, tmp_path: Path) -> None:
    content, sentence = FAILED[name]
    (tmp_path / name).write_bytes(content)
    with arrays.forked_readers(), pytest.raises(InputError) as caught:
        read_array(tmp_path / name)
    assert sentence in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize("name", FAILED_YAML)
def test_yaml_that_once_failed_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "corpus.yaml").write_text(FAILED_YAML[name])
    with pytest.raises(InputError, match=r"corpus\.yaml"):
        texts.folder_corpus(tmp_path)


@pytest.mark.parametrize("name", FAILED_PROFILES)
def test_profiles_that_once_failed_are_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "base.yaml").write_bytes((profiles.CONFIGS / "base.yaml").read_bytes())
    (tmp_path / "mine.yaml").write_bytes(FAILED_PROFILES[name])
    monkeypatch.setattr(profiles, "CONFIGS", tmp_path)
    with pytest.raises(InputError, match=r"configs/mine\.yaml is not read as parameters"):
        profiles.profile_settings("mine")


@pytest.mark.parametrize("text", ["seed=2001-99-99", "metrics=" + "[" * 1200, "corpora=[a: b: c]", "seed=[&a 1, *a]"])
def test_settings_that_once_failed_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected a literal such as"):
        profiles.read_overrides([text], profiles.profile_settings("mini"))


def test_a_crash_is_a_sentence_in_a_script_without_a_main_guard(tmp_path: Path) -> None:
    """In a process of its own, from another folder, with a module there that must not be imported."""
    (tmp_path / "scipy.py").write_text("raise SystemExit('imported from the folder of the files')")
    np.save(tmp_path / "x.npy", np.eye(2))
    good = arrays.mat_seeds()[0]
    (tmp_path / "good.mat").write_bytes(good)
    (tmp_path / "bad.mat").write_bytes(FAILED["segfault.mat"][0])
    script = tmp_path / "script"
    script.mkdir()
    (script / "run.py").write_text(
        f"import sys\nsys.path.insert(0, {str(PROJECT)!r})\n"
        "from fico_utils.extras.corpora.arrays import read_array\n"
        "print(read_array('good.mat').shape)\n"
        "try:\n    read_array('bad.mat')\nexcept ValueError as error:\n    print(error)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, script / "run.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "(4, 6)"
    assert "bad.mat cannot be read" in done.stdout.splitlines()[1]


def crash(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def loop(*_: object) -> None:
    while True:
        pass


def devour(*_: object) -> np.ndarray:
    return np.ones(2**31)


@pytest.mark.parametrize(
    ("read", "sentence"),
    [
        (crash, "h5py crashes on it (SIGSEGV)"),
        (loop, "h5py needs too much time or memory for it"),
        (devour, "needs more memory than there is for it"),
    ],
)
def test_crash_loop_and_hunger_are_sentences(read, sentence, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(array_formats.FORMATS, ".h5", array_formats.Format(read, "h5py"))
    (tmp_path / "x.h5").write_bytes(b"x")
    with arrays.forked_readers(), pytest.raises(InputError) as caught:
        read_array(tmp_path / "x.h5")
    assert sentence in str(caught.value)


def test_a_missing_package_is_a_sentence(tmp_path, monkeypatch) -> None:
    for name in ("h5py", "pyarrow.parquet", "pyarrow"):
        monkeypatch.setitem(sys.modules, name, None)
    for name, package in (("x.h5", "h5py"), ("x.parquet", "pyarrow")):
        (tmp_path / name).write_bytes(b"x")
        with arrays.forked_readers(), pytest.raises(InputError, match=f"is read by the package {package}"):
            read_array(tmp_path / name)


def test_pictures_that_start_programs_or_fill_the_memory_are_refused(tmp_path) -> None:
    from PIL import Image

    (tmp_path / "eps.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    with pytest.raises(InputError, match="cannot identify image file"):
        read_picture(tmp_path / "eps.jpg")
    Image.new("RGB", (9000, 9000)).save(tmp_path / "empty.webp", lossless=True)
    assert (tmp_path / "empty.webp").stat().st_size < 10_000
    with pytest.raises(InputError, match=r"9000 x 9000 pixels, expected at most \d+ of so small a file"):
        read_picture(tmp_path / "empty.webp")


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        (lambda: {}["x"], "KeyError"),
        (lambda: np.ones(2**26), "takes 512 MiB"),
        (lambda: (_ for _ in ()).throw(InputError("")), "no sentence"),
        (lambda: sys.exit(0), "SystemExit"),
    ],
)
def test_the_judge_sees_each_kind_of_fault(call, fault, tmp_path) -> None:
    hunt = Hunt("any")
    hunt.judge({tmp_path / "x": b""}, call)
    with pytest.raises(AssertionError, match=fault):
        conclude([hunt])


def test_every_campaign_is_found() -> None:
    assert {"arrays", "content", "pictures", "results", "texts", "writes"} <= find_campaigns().keys()
