"""Disks that are full or read-only or refuse permission, and paths that cannot be: one sentence, no half file."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import nbformat
import numpy as np
import pytest

from fico_utils import cli
from fico_utils.batch.pipeline import STEPS
from fico_utils.provenance import PROJECT
from tests.faults import writes
from tests.tiny_run import TINY

CODES = (errno.ENOSPC, errno.EROFS, errno.EACCES)
#: Each command that writes, below a folder that is to have a fault.
COMMANDS = (
    ["run", "--out", "{place}"],
    ["step", "01", "--out", "{place}"],
    ["train", "ucch", "picto_people", "--out", "{place}", *(f"--set={change}" for change in TINY)],
    ["report", "--out", "{place}"],
    ["report", "{place}/mini", "{place}/other"],
    ["clean", "--out", "{place}"],
    ["check", "--out", "{place}"],
    ["init", "{place}/project"],
    ["seeds", "{place}/mini", "{place}/other", "--to", "{place}/seeds.csv"],
    ["evaluate", "--similarity", "{arrays}", "--out", "{place}/scores.csv"],
)
#: Gives each command under each code, in one process.
CHILD = """
import contextlib, ctypes, io, json, sys
from pathlib import Path
from fico_utils import cli

shim = ctypes.CDLL(None)
for code in json.loads(sys.argv[1]):
    for command in json.loads(sys.argv[2]):
        shim.fault_always(code)
        said, told = io.StringIO(), io.StringIO()
        try:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(told):
                result = cli.main(command)
        except BaseException as error:
            result = repr(error)
        shim.fault_always(0)
        print(json.dumps([code, command[0], result, told.getvalue()]))
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder of results: of a run with tables, and of another seed."""
    place = tmp_path / "place"
    for name in ("mini", "other"):
        shutil.copytree(PROJECT / "figures" / "mini", place / name)
    for table in (place / "other" / "metrics.csv", place / "other" / "costs.csv"):
        table.write_text(table.read_text(encoding="utf-8").replace("mini-s0", "mini-s1"), encoding="utf-8")
    (place / "mini/runs").mkdir()
    (place / "mini/runs/.04_evaluation.lock").write_text("")
    return place


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}


@pytest.mark.skipif(not writes.AVAILABLE, reason="the shim needs Linux and a C compiler")
def test_a_disk_with_a_fault_is_one_sentence_and_nothing_changes(place: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "arrays.npy", np.eye(5))
    words = {"{place}": str(place), "{arrays}": str(tmp_path / "arrays.npy")}
    commands = [[re.sub(r"{place}|{arrays}", lambda m: words[m[0]], a) for a in c] for c in COMMANDS]
    before = snapshot(place)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(CODES), json.dumps(commands)],
        env=writes.shim_environment(writes.build_shim(tmp_path), place),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == len(CODES) * len(COMMANDS)
    for code, verb, result, told in rows:
        assert result == 2, (os.strerror(code), verb, told)
        assert re.fullmatch(rf"fico_utils {verb}: .*{re.escape(os.strerror(code))}.*\n", told), (verb, told)
        assert str(place) in told
    assert snapshot(place) == before


@pytest.mark.parametrize("verb", ["run", "step", "train", "report", "status", "clean", "check", "init", "evaluate"])
@pytest.mark.parametrize("kind", ["a name too long", "below a file", "a broken link", "a file"])
def test_a_path_that_cannot_be_is_one_sentence(verb: str, kind: str, tmp_path: Path, capsys) -> None:
    (tmp_path / "file").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    places = {"a name too long": "n" * 300, "below a file": "file/x", "a broken link": "link", "a file": "file"}
    out = str(tmp_path / places[kind])
    more = {"step": ["01"], "train": ["ucch", "picto_people"]}.get(verb, [])
    call = [verb, *more, "--out", out]
    if verb == "init":
        call = [verb, out]
    if verb == "evaluate":
        np.save(tmp_path / "arrays.npy", np.eye(5))
        call = [verb, "--similarity", str(tmp_path / "arrays.npy"), "--out", f"{out}/scores.csv"]
    code, told = cli.main(call), capsys.readouterr()
    nothing_there = verb in ("clean", "status") and kind != "a name too long"  # nothing to remove, no step was run
    assert code == (0 if nothing_there else 2), told
    assert told.err.count("\n") == (0 if nothing_there else 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["arrays.npy"] * (verb == "evaluate") + ["file", "link"]
    assert (tmp_path / "file").read_text() == "precious"


def call_cli(*words: object, cwd: Path | None = None, drop: tuple[str, ...] = (), **more: str) -> tuple[int, str]:
    """Exit code and stderr of the command line in a process of its own, in another folder or without some variables."""
    environment = {name: value for name, value in os.environ.items() if name not in drop} | more
    environment["PYTHONPATH"] = str(PROJECT)
    call = [sys.executable, "-m", "fico_utils", *map(str, words)]
    done = subprocess.run(call, cwd=cwd or PROJECT, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one MiB; skipped where none can be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if mount is None or subprocess.run([mount, "-t", "tmpfs", "-o", "size=1m", "none", place], check=False).returncode:
        pytest.skip("no disk can be mounted here")
    yield place
    subprocess.run(["umount", place], check=True)


def fill(folder: Path) -> Path:
    """A file that takes what is left of a disk."""
    path = folder / "filler"
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return path


def test_a_disk_that_is_really_full_is_one_sentence_and_room_mends_it(small_disk: Path, tmp_path: Path, capsys) -> None:
    np.save(tmp_path / "arrays.npy", np.eye(5))
    calls = (["evaluate", "--similarity", tmp_path / "arrays.npy", "--out", small_disk / "scores.csv"],)
    calls += (["init", small_disk / "project"], ["train", "ucch", "picto_people", "--out", small_disk / "results"])
    filler = fill(small_disk)
    for call in calls:
        assert cli.main([*map(str, call)]) == 2
        told = capsys.readouterr().err
        assert re.fullmatch(rf"fico_utils {call[0]}: .*No space left on device.*\n", told), told
    left = [path for path in small_disk.rglob("*") if path.is_file() and path != filler]
    assert [path for path in left if path.suffix != ".lock" and path.stat().st_size] == []
    filler.unlink()
    assert cli.main([*map(str, calls[0])]) == 0
    assert (small_disk / "scores.csv").stat().st_size


def test_a_read_only_disk_is_one_sentence(small_disk: Path, tmp_path: Path, capsys) -> None:
    np.save(tmp_path / "arrays.npy", np.eye(5))
    (small_disk / "mini").mkdir()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    for call in (
        ["evaluate", "--similarity", tmp_path / "arrays.npy", "--out", small_disk / "scores.csv"],
        ["run", "--only", "00", "--out", small_disk],
        ["init", small_disk / "project"],
    ):
        assert cli.main([*map(str, call)]) == 2
        told = capsys.readouterr().err
        assert re.fullmatch(rf"fico_utils {call[0]}: .*Read-only file system.*\n", told), told


def test_a_working_directory_that_is_gone_is_no_traceback(tmp_path: Path) -> None:
    """Commands with whole paths work; one with a path from the folder that is gone says so."""
    np.save(tmp_path / "arrays.npy", np.eye(5))
    script = 'mkdir "$1/gone" && cd "$1/gone" && rmdir "$1/gone" && shift && exec "$@"'
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    for name, code in ((tmp_path / "arrays.npy", 0), ("arrays.npy", 2)):
        call = [sys.executable, "-m", "fico_utils", "evaluate", "--similarity", str(name)]
        shell = ["sh", "-c", script, "sh", str(tmp_path), *call]
        done = subprocess.run(shell, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr.count("\n")) == (code, int(code > 0)), done.stderr


def test_no_home_and_no_folder_for_passing_files(tmp_path: Path) -> None:
    np.save(tmp_path / "arrays.npy", np.eye(5))
    (tmp_path / "x.mat").write_bytes(b"no MATLAB file")
    call = ["evaluate", "--similarity", tmp_path / "arrays.npy", "--out", tmp_path / "scores.csv"]
    gone = str(tmp_path / "gone")
    for drop, more in ((("HOME", "TMPDIR"), {}), ((), {"HOME": gone, "TMPDIR": gone})):
        assert call_cli(*call, drop=drop, **more) == (0, "")
        code, told = call_cli("evaluate", "--similarity", tmp_path / "x.mat", drop=drop, **more)
        assert (code, told.count("\n")) == (2, 1), told


def test_a_site_on_a_full_disk_is_one_sentence_and_leaves_the_old_one(small_disk: Path) -> None:
    pytest.importorskip("myst_nb")
    root = small_disk / "mini"
    for step in STEPS:
        path = root / "runs" / step.notebook / f"{step.notebook}.ipynb"
        path.parent.mkdir(parents=True)
        nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A title")]), path)
    (root / "site").mkdir()
    (root / "site/index.html").write_text("the old one")
    filler = fill(small_disk)
    call = [sys.executable, PROJECT / "docs/build.py", "--out", small_disk]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    for room in (0, 409_600):
        os.truncate(filler, filler.stat().st_size - room)
        done = subprocess.run(call, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert re.search(r"^docs/build\.py: .*No space left on device.*\n\Z", done.stderr, re.MULTILINE), done.stderr
        assert (root / "site/index.html").read_text() == "the old one"
        assert list(root.glob(".site-*")) == []
