"""The digest of this package's code: equal as long as only comments, docstrings and prose change."""

from __future__ import annotations

import ast
import json
from pathlib import Path

from fico_utils.files import key_of, sha256_file
from fico_utils.provenance import PACKAGE

#: Suffixes of what is no code: folders, prose, notes on versions, compiled modules.
NO_CODE = ("", ".md", ".lock", ".pyc", ".nbi", ".nbc")


def package_digest(cache: Path | None = None, package: Path = PACKAGE) -> str:
    """Key of the package's code: the syntax trees of its modules, and its tables and styles; not its weights.

    Parameters
    ----------
    cache : Path, JSON with the digests of last time; written where its folder is there.
    """
    known = json.loads(cache.read_text(encoding="utf-8")) if cache and cache.is_file() else {}
    digests = {}
    for path in sorted(package.rglob("*")):
        name = path.relative_to(package).as_posix()
        if path.suffix in NO_CODE or name.startswith(("weights/", "_project/")):
            continue
        stamp = [path.stat().st_size, path.stat().st_mtime_ns]
        same = name in known and known[name][0] == stamp
        digests[name] = known[name] if same else [stamp, _code_digest(path)]
    if cache and cache.parent.is_dir() and digests != known:
        cache.write_text(json.dumps(digests), encoding="utf-8")
    return key_of({name: digest for name, (_, digest) in digests.items()})


def _code_digest(path: Path) -> str:
    return syntax_digest(path.read_text(encoding="utf-8")) if path.suffix == ".py" else sha256_file(path)


def syntax_digest(source: str) -> str:
    """Key of the syntax tree of Python source, without comments and docstrings.

    >>> syntax_digest("def f():\\n    'Nothing.'\\n    return 1  # one") == syntax_digest("def f(): return 1")
    True
    """
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and type(first.value.value) is str:
                node.body = node.body[1:]
    return key_of(ast.dump(tree))
