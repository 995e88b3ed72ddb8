"""What belongs to what a step was made from, and what does not."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from fico_utils import package_code
from fico_utils.artifacts import Recipe, Store
from fico_utils.batch.pipeline import STEPS, Batch, part_differences
from fico_utils.files import RECORD, file_difference, note, recorded_files, write_text
from fico_utils.provenance import PACKAGE

from .conftest import notebook


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package of a module, a table, a style, prose, and weights."""
    files = {"a.py": "X = 1\n", "sub/b.py": "'Doc.'\n", "t.csv": "a\n", "R.md": "prose", "weights/w.bin": "1"}
    for name, text in files.items():
        write_text(tmp_path / "pkg" / name, text)
    return tmp_path / "pkg"


@pytest.mark.parametrize(
    ("name", "text", "same"),
    [
        ("a.py", "# a remark\nX = 1  # one\n", True),
        ("a.py", "'What it is.'\n\nX = (1)\n", True),
        ("a.py", "X = 2\n", False),
        ("sub/b.py", "'Other words.'\n", True),
        ("t.csv", "b\n", False),
        ("R.md", "more prose", True),
        ("weights/w.bin", "2", True),
        ("c.py", "", False),
    ],
)
def test_package_digest_changes_with_meaning_only(package: Path, name: str, text: str, same: bool):
    before, path = package_code.package_digests(package), package / name
    stamp = path.stat() if path.is_file() else package.stat()
    write_text(path, text)
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    after = package_code.package_digests(package)
    assert (after == before) is same
    assert {file for file, _ in after.items() ^ before.items()} == (set() if same else {name}), "the file is named"


def test_parts_are_code_of_cells_and_all_settings_but_the_folder() -> None:
    def parts(*cells: str, **settings: object) -> dict:
        known = {"profile": "mini", "depth": 2, **settings}
        batch = Batch("mini", Path(), known, {"00": notebook(*cells)}, Path())
        batch.package = {"a.py": "p", "b.py": "p"}
        return batch.parts(STEPS[0])

    first = parts("# prose", "x = 1")
    assert first.keys() == {"notebook code", "profile", "seed", "depth", "code of the package"}
    assert parts("# other prose", "x = 1  \n", out_dir="elsewhere") == first
    assert part_differences(first, parts("# prose", "x = 1", depth=3)) == "depth 2 -> 3"
    assert part_differences(first, parts("x = 2")) == "notebook code changed"
    other = {**first, "code of the package": {"b.py": "q", "a.py": "p"}}
    assert part_differences(first, other) == "code of the package changed: b.py"
    other = {**first, "code of the package": dict.fromkeys(["a.py", "c.py", "d.py"], "q")}
    assert part_differences(first, other) == "code of the package changed: a.py, b.py, c.py, ..."
    assert part_differences(first, first) == ""


def test_recorded_files_are_what_was_read_and_what_was_written(tmp_path: Path, monkeypatch) -> None:
    root, record = tmp_path / "mini", tmp_path / "record"
    store, recipe = Store(root), Recipe("scan", {"d": 2})
    store.arrays("models", "scan", recipe, lambda: {"w": np.ones(2)})
    write_text(root / "gone.txt", "a")
    monkeypatch.setenv(RECORD, str(record))
    store.arrays("models", "scan", recipe, lambda: pytest.fail("it is there"))
    store.arrays("models", "scan", Recipe("scan", {"d": 3}), lambda: {"w": np.zeros(2)})
    write_text(root / "x.txt", "a")
    write_text(root / "gone.txt", "b")
    (root / "gone.txt").unlink()
    with open(record, "a") as file:
        shipped = next((PACKAGE / "weights/mini").glob("*.safetensors"))
        file.write(json.dumps({"read": str(shipped), "digest": None}) + "\n")
    path = store.path("models", "scan", recipe)
    note("missed", path)  # another step made it while this one waited for its lock
    note("missed", root / "x.txt")
    note("missed", root / "later.txt")
    (*inputs, absent), outputs = recorded_files(record, root)
    assert (absent["path"], file_difference(absent, root)) == ("later.txt", "")
    write_text(root / "later.txt", "a")
    assert file_difference(absent, root) == "appeared"
    assert [row["path"] for row in inputs] == [f"fico_utils:weights/mini/{shipped.name}", f"models/{path.name}"]
    assert [row["path"].split("/")[0] for row in outputs] == ["models", "x.txt"]

    assert [file_difference(row, root) for row in (*inputs, *outputs)] == [""] * 4
    path.touch()  # a time stamp is no change
    assert file_difference(inputs[1], root) == ""
    write_text(root / "x.txt", "c")
    assert file_difference(outputs[1], root) == "changed"
    path.unlink()
    assert file_difference(inputs[1], root) == "missing"
