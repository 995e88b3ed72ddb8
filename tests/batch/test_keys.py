"""What belongs to a step's key, and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from fico_utils.batch import keys, parameters, pipeline
from fico_utils.workspace import profile_settings

from .conftest import notebook


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package with lazy names, relative imports, an import by text, and a module nobody asks for."""
    files = {
        "__init__.py": '_EXPORTS = {"lazy": "pkg.sub.lazy", "other": "pkg.unused"}\n',
        "base.py": "X = 1\n",
        "unused.py": "",
        "sub/__init__.py": "from . import near\n",
        "sub/near.py": "def f():\n    from ..base import X\n    return X\n",
        "sub/lazy.py": "import json\n",
        "models/__init__.py": "import importlib as i\ndef get(n):\n    return i.import_module(f'pkg.models.{n}')\n",
        "models/one.py": "",
        "models/two.py": "",
        "weights/w.bin": "1",
        "sub/__pycache__/near.nbi": "compiled",
        "sub/page.py": "",
        "sub/page.css": "",
        "sub/table.csv": "a\n",
    }
    for name, text in files.items():
        path = tmp_path / "pkg" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "pkg"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import numpy", []),
        ("import pkg", ["pkg"]),
        ("import pkg\npkg.lazy()", ["pkg", "pkg.base", "pkg.sub", "pkg.sub.lazy", "pkg.sub.near"]),
        ("import pkg as p\nx = p.lazy", ["pkg", "pkg.base", "pkg.sub", "pkg.sub.lazy", "pkg.sub.near"]),
        ("from pkg import lazy", ["pkg", "pkg.base", "pkg.sub", "pkg.sub.lazy", "pkg.sub.near"]),
        ("from pkg.base import X", ["pkg", "pkg.base"]),
        ("from pkg import models", ["pkg", "pkg.models", "pkg.models.one", "pkg.models.two"]),
        ("%matplotlib inline\nfrom pkg import base", ["pkg", "pkg.base"]),
        ("this is no python", []),
    ],
)
def test_closure(package: Path, code: str, expected: list[str]) -> None:
    assert list(keys.closure([code], package)) == expected


def test_closure_of_this_package_follows_lazy_names() -> None:
    assert "fico_utils.workspace" in keys.closure(["import fico_utils\nfico_utils.setup()"])
    assert "fico_utils.workspace" not in keys.closure(["import fico_utils"])
    models = keys.closure(["from fico_utils import models"])
    assert {"fico_utils.models.scan", "fico_utils.models.ucch", "fico_utils.models.beit3"} <= models.keys()


def test_parts_change_with_what_matters_only(package: Path) -> None:
    def parts(settings: dict, code: str = "import pkg\npkg.lazy(run['depth'], run[f'n_{1}'])") -> dict:
        return keys.key_parts(notebook("# prose", code), settings, {}, keys.Hashes(), package)

    settings = {"profile": "mini", "seed": 0, "out_dir": "a", "depth": 2, "n_x": 1, "elsewhere": 5}
    first = parts(settings)
    assert first["parameters"] == {"profile": "mini", "seed": 0, "depth": 2, "n_x": 1}
    assert "sub/table.csv" in first["sources"]
    assert "weights/w.bin" in first["sources"]
    assert "sub/page.css" not in first["sources"]
    assert not any("__pycache__" in name for name in first["sources"])
    assert parts({**settings, "out_dir": "b", "elsewhere": 6}) == first
    assert keys.difference(first, parts({**settings, "depth": 3})) == "depth 2 -> 3"
    (package / "unused.py").write_text("1")
    assert parts(settings) == first
    (package / "base.py").write_text("X = 2\n")
    assert keys.difference(first, parts(settings)) == "code changed: base.py"
    assert keys.key(first) != keys.key(parts(settings))


def test_every_setting_of_the_profile_is_found_in_code() -> None:
    """The name of each setting stands in a step's code, or no step would see it change."""
    settings = profile_settings("mini")
    paths = sorted((keys.PACKAGE.parent / "notebooks").glob("*.ipynb"))
    notebooks = [parameters.read_notebook(path) for path in paths]
    if len(notebooks) < len(pipeline.STEPS):
        pytest.skip("not every step has its notebook")
    seen = {n for book in notebooks for n in keys.key_parts(book, settings, {}, keys.Hashes())["parameters"]}
    assert settings.keys() - seen == {"out_dir"}


def test_hashes_see_folders_and_leave_out_hidden_files(tmp_path: Path) -> None:
    for name in ("models/a__b/w.bin", "models/a__b/.w-abcdefgh.bin", "models/c__b.bin", "x.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    hashes = keys.Hashes()
    assert list(hashes.matching(tmp_path, ["models/a__*"])) == ["models/a__b/w.bin"]
    assert list(hashes.matching(tmp_path, ["models/*", "x.csv", "y.csv"])) == [
        *("models/a__b/w.bin", "models/c__b.bin", "x.csv"),
    ]
