"""Digests of this package's code, of syntax trees without comments and docstrings, so that prose may change freely."""

from __future__ import annotations

import ast
from pathlib import Path

from fico_utils.files import key_of, sha256_file
from fico_utils.provenance import PACKAGE

#: Suffixes of what is no code: folders, prose, notes on versions, compiled modules.
NO_CODE = ("", ".md", ".lock", ".pyc", ".nbi", ".nbc")


def package_digests(package: Path = PACKAGE) -> dict[str, str]:
    """Each module, table and style of the package -> its key, not its weights: a step runs again when one changes."""
    digests = {}
    for path in sorted(package.rglob("*")):
        name = path.relative_to(package).as_posix()
        if path.suffix not in NO_CODE and not name.startswith(("weights/", "_project/")):
            digests[name] = key_of(ast.dump(parse_code(path))) if path.suffix == ".py" else sha256_file(path)
    return digests


def parse_code(path: Path) -> ast.Module:
    """The syntax tree of a module without its docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
    return tree
