"""A notebook as a file: what its parameters cell declares, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from fico_utils.batch.notebook import declared_parameters, read_notebook
from fico_utils.errors import InputError

from .conftest import notebook


def test_declared_reads_annotated_and_plain_literals() -> None:
    source = 'a: int = -1  # help = with equals\nb = [1, 2]\nc: dict[str, int] = {\n    "x": 1,\n}\n'
    assert declared_parameters(notebook(parameters=source)) == {"a": -1, "b": [1, 2], "c": {"x": 1}}
    assert declared_parameters(notebook("x = 1", parameters=None)) == {}
    with pytest.raises(InputError, match="parameter b is a \\* 2; expected a literal"):
        declared_parameters(notebook(parameters="a = 1\nb = a * 2"))
    with pytest.raises(InputError, match="no Python"):
        declared_parameters(notebook(parameters="a = = 1"))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"cells": 3}', "{}"])
def test_broken_notebook(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.ipynb").write_text(text)
    with pytest.raises(InputError, match="is not a notebook"):
        read_notebook(tmp_path / "a.ipynb")
    with pytest.raises(InputError, match="does not exist"):
        read_notebook(tmp_path / "b.ipynb")
