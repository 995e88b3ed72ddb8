"""Texts that once ended in a traceback or took minutes, and the campaign on texts beside tables at a small budget."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import nbformat
import numpy as np
import pytest

from fico_utils import artifacts, cli, files
from fico_utils.artifacts import Recipe, Store
from fico_utils.costs import blocks
from fico_utils.errors import InputError
from fico_utils.extras.corpora.fetching import compare_checksums
from fico_utils.extras.corpora.reading import read_table
from fico_utils.extras.marking import merge_answers
from fico_utils.extras.verbs.slides import describe_source, draw_page
from fico_utils.files import note, recorded_files, write_arrays
from fico_utils.locks import hold_locks
from tests.faults import runs


def test_mutated_texts_beside_tables_give_values_or_sentences() -> None:
    runs.campaign(0, 27, least=2)


@pytest.mark.parametrize(("columns", "lines"), [(4800, 4900), (800, 900), (9000, 1)])
def test_a_wide_header_over_blank_rows_is_refused(columns: int, lines: int, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("image" + "," * columns + "\n" * lines)
    with pytest.raises(InputError, match=r"x\.csv has .*columns"):
        read_table(tmp_path / "x.csv")


def test_locks_sums_headers_and_notes_may_hold_anything(tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / ".x.pid").write_bytes(b"\xff\x1b[2J 1")
    with hold_locks(tmp_path, ["x"]):
        assert "\x1b" not in capsys.readouterr().err
    path = tmp_path / "w.safetensors"
    write_arrays(path, {"x": np.ones(2)})
    (tmp_path / artifacts.SUMS).write_bytes(b"ab\xff  w.safetensors\n")
    monkeypatch.setattr(artifacts, "SHIPPED", tmp_path)
    assert "does not fit" in artifacts.damage_of(path)
    monkeypatch.undo()
    write_arrays(path, {"x": np.ones(2)}, {"a": 1})
    deep = b'{"__metadata__":{"header":"' + b"[" * 3000 + b'"}}'
    path.write_bytes(len(deep).to_bytes(8, "little") + deep)
    assert artifacts.damage_of(path) == "is not a whole file of ours"
    record = tmp_path / "files.jsonl"
    record.write_text(
        '{"read": ["a"], "digest": "x"}\n{"read": "a"}\n{"wrote": 5, "digest": null}\n{"wrote": null, "digest": ""}\n'
    )
    with record.open("a") as file:  # lists in lists, and a name that no file can have
        file.write("[" * 5000 + "\n" + json.dumps({"read": "x" * 3000, "digest": "x"}) + "\n")
    note("missed", tmp_path / "gone", record=record)
    assert [row["path"] for row in recorded_files(record, tmp_path)[0]] == ["gone"]


def test_sums_that_are_no_object_are_refused(tmp_path: Path) -> None:
    (tmp_path / "checksums.json").write_text("[1]")
    with pytest.raises(InputError, match=r"checksums\.json holds \[1\]"):
        compare_checksums(tmp_path, [])
    (tmp_path / "checksums.json").write_text(json.dumps({"\ud800": "ab"}))
    (tmp_path / "x.csv").write_text("x")
    compare_checksums(tmp_path, [tmp_path / "x.csv"])
    assert json.loads((tmp_path / "checksums.json").read_text()).keys() == {"\ud800", "x.csv"}


def test_slides_of_damaged_figures_are_refused_and_names_are_no_mathematics(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"source,run\n\xff")
    with pytest.raises(InputError, match=r"a\.csv is not readable"):
        describe_source(tmp_path / "a.csv", "mini")
    (tmp_path / "a.svg").write_text("<svg/>")
    with pytest.raises(InputError, match="no figure of ours"):
        draw_page(tmp_path / "a.svg", "a", "b", "c")
    (tmp_path / "a.svg").write_text(runs.SVG)
    page = draw_page(tmp_path / "a.svg", "$\\frac{1}{$", "from $5 to $7", "$x")
    page.canvas.draw()
    assert page.texts[0].get_text() == "$\\frac{1}{$"


@pytest.mark.parametrize("value", ["inf", "-inf", "1e999"])
def test_infinite_values_of_queries_are_refused(value: str, tmp_path: Path, capsys) -> None:
    head = "task,direction,metric,k,query,image,value\n"
    for name, last in (("a.csv", "0.5"), ("b.csv", value)):
        lines = [f"instance,i2t,recall,1,{n},{n},{last if n == 2 else 1.0}\n" for n in range(3)]
        (tmp_path / name).write_text(head + "".join(lines))
    assert cli.main(["compare", str(tmp_path / "a.csv"), str(tmp_path / "b.csv")]) == 2
    assert "values of system b are no numbers (one of them is infinite)" in capsys.readouterr().err


def test_code_of_students_is_text_that_a_kernel_takes() -> None:
    ours = [nbformat.v4.new_code_cell("x", id="a", metadata={"tags": ["answer"]})]
    theirs = [nbformat.v4.new_code_cell("'\ud800'", id="a")]
    assert merge_answers(ours, theirs)[0].source == "'\ufffd'"
    theirs[0]["source"] = 5
    with pytest.raises(TypeError):
        merge_answers(ours, theirs)


def test_a_slow_measurement_goes_on_after_its_unit_could_not_be_removed(tmp_path: Path, monkeypatch) -> None:
    """`keep=1` removes the unit before the last, which happens where a measurement takes longer than ten seconds."""

    class Counts(blocks.Observer):
        def known(self):
            return {"n": self.done}, {"x": np.full(3, self.done)}

    units = Store(tmp_path).units("costs/gallery", "a", Recipe("visual_features"))
    counts, unlink = Counts(units), Path.unlink
    counts.done = 1
    counts.save()

    def fail(path: Path, missing_ok: bool = False) -> None:
        if path.name.startswith("unit_"):
            raise OSError(errno.EIO, "Input/output error", str(path))
        unlink(path, missing_ok)

    counts.done = 2
    monkeypatch.setattr(Path, "unlink", fail)
    with pytest.raises(InputError, match="Input/output error"), files.refuse_unwritable():
        counts.save()
    monkeypatch.undo()
    again = Counts(units)
    assert (again.done, again.content, again.arrays["x"].tolist()) == (2, {"n": 2}, [2, 2, 2])
    again.done = 3
    again.save()
    assert units.numbers() == [3]
