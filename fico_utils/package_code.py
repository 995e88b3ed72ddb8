"""A digest of this package's code, of syntax trees without comments and docstrings, so that prose may change freely."""

from __future__ import annotations

import ast
from contextlib import suppress
from pathlib import Path

from fico_utils.errors import InputError
from fico_utils.files import key_of, read_json, sha256_file, write_json
from fico_utils.provenance import PACKAGE

#: Suffixes of what is no code: folders, prose, notes on versions, compiled modules.
NO_CODE = ("", ".md", ".lock", ".pyc", ".nbi", ".nbc")


def package_digest(cache: Path | None = None, package: Path = PACKAGE) -> str:
    """Key of the package's modules, tables and styles, not of its weights: a notebook runs again when it changes.

    `cache` is a JSON file with the digests of last time; it is written where its folder exists and may be written.
    """
    known = {}
    with suppress(InputError):  # there is none yet, or it is broken
        known = read_json(cache) if cache else {}
    digests = {}
    for path in sorted(package.rglob("*")):
        name = path.relative_to(package).as_posix()
        if path.suffix in NO_CODE or name.startswith(("weights/", "_project/")):
            continue
        stamp = [path.stat().st_size, path.stat().st_mtime_ns]
        same = name in known and known[name][0] == stamp
        digests[name] = known[name] if same else [stamp, _code_digest(path)]
    if cache and cache.parent.is_dir() and digests != known:
        with suppress(InputError):
            write_json(cache, digests)
    return key_of({name: digest for name, (_, digest) in digests.items()})


def _code_digest(path: Path) -> str:
    return key_of(ast.dump(parse_code(path))) if path.suffix == ".py" else sha256_file(path)


def parse_code(path: Path) -> ast.Module:
    """The syntax tree of a module without its docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
    return tree
