"""Overrides: literals of the declared type, and one sentence for everything else."""

from __future__ import annotations

from pathlib import Path

import pytest

from fico_utils.batch.parameters import declared, overrides, read_notebook
from fico_utils.errors import InputError

from .conftest import notebook

KNOWN = {
    "profile": "mini",
    "out_dir": "results",
    "seed": 0,
    "rate": 0.1,
    "verbose": False,
    "name": "x",
    "recall_at": [1, 5],
    "map_at": ["10", "N"],
    "epochs": {"scan": 4, "ucch": 20},
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("seed=3", 3),
        ("seed = 3", 3),
        ("rate=1", 1.0),
        ("rate=1e-3", 1e-3),
        ("verbose=true", True),
        ("name=10", "10"),
        ("name=a=b", "a=b"),
        ("recall_at=1,10", [1, 10]),
        ("recall_at=[1, 10]", [1, 10]),
        ("recall_at=7", [7]),
        ("map_at=100,N", ["100", "N"]),
        ("epochs={scan: 1}", {"scan": 1, "ucch": 20}),
    ],
)
def test_good(text: str, value: object) -> None:
    (found,) = overrides([text], KNOWN).values()
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("sede=3", "unknown parameter 'sede'; did you mean 'seed'"),
        ("qqqq=3", "expected one of epochs, map_at"),
        ("seed", "expected NAME=VALUE"),
        ("=3", "expected NAME=VALUE"),
        ("seed=three", "parameter seed was given 'three'"),
        ("seed=1.5", "expected int"),
        ("seed=true", "expected int"),
        ("seed=", "parameter seed was given"),
        ("verbose=1", "expected bool"),
        ("rate=fast", "expected float"),
        ("recall_at=one", "expected int"),
        ("recall_at={a: 1}", "expected"),
        ("recall_at=[1", "expected a literal"),
        ("epochs={skan: 1}", "no entry 'skan'; did you mean 'scan'"),
        ("epochs=3", "expected dict"),
        ("profile=full", "use --profile"),
        ("out_dir=x", "use --out"),
    ],
)
def test_bad(text: str, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        overrides([text], KNOWN)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_declared_reads_annotated_and_plain_literals() -> None:
    source = 'a: int = -1  # help = with equals\nb = [1, 2]\nc: dict[str, int] = {\n    "x": 1,\n}\n'
    assert declared(notebook(parameters=source)) == {"a": -1, "b": [1, 2], "c": {"x": 1}}
    assert declared(notebook("x = 1", parameters=None)) == {}
    with pytest.raises(InputError, match="parameter b is a \\* 2; expected a literal"):
        declared(notebook(parameters="a = 1\nb = a * 2"))
    with pytest.raises(InputError, match="no Python"):
        declared(notebook(parameters="a = = 1"))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"cells": 3}', "{}"])
def test_broken_notebook(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.ipynb").write_text(text)
    with pytest.raises(InputError, match="is not a notebook"):
        read_notebook(tmp_path / "a.ipynb")
    with pytest.raises(InputError, match="does not exist"):
        read_notebook(tmp_path / "b.ipynb")
