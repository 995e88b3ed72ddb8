"""Disks that are full or read-only or refuse permission, and paths that cannot be: one sentence, no half file."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fico_utils import cli
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
    import numpy as np

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
        import numpy as np

        np.save(tmp_path / "arrays.npy", np.eye(5))
        call = [verb, "--similarity", str(tmp_path / "arrays.npy"), "--out", f"{out}/scores.csv"]
    code, told = cli.main(call), capsys.readouterr()
    nothing_there = verb in ("clean", "status") and kind != "a name too long"  # nothing to remove, no step was run
    assert code == (0 if nothing_there else 2), told
    assert told.err.count("\n") == (0 if nothing_there else 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["arrays.npy"] * (verb == "evaluate") + ["file", "link"]
    assert (tmp_path / "file").read_text() == "precious"
