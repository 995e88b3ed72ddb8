"""Two digests of this package's code, of syntax trees without comments and docstrings, so that prose may change freely.

`package_digest` is that of all the code: a notebook runs again when it changes. `digest_of_call` is that of the code
which one call runs through: the functions that it enters are seen while it runs, and what they name (constants,
classes, and the functions of `WHOLE`) is added from the text. There, neither messages of errors nor the name and the
place of a module count, so that code may move.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
import threading
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any

from fico_utils.files import key_of, sha256_file
from fico_utils.provenance import PACKAGE

#: Suffixes of what is no code: folders, prose, notes on versions, compiled modules.
NO_CODE = ("", ".md", ".lock", ".pyc", ".nbi", ".nbc")
#: Decorators of functions that are compiled or remembered, so that a second call does not enter them: their bodies
#: count, and all functions that these name.
WHOLE = {"njit", "jit", "vectorize", "guvectorize", "intrinsic", "cache", "lru_cache", "cached_property", "golden"}
#: Modules that keep or check results and make none.
LEFT_OUT = {
    "artifacts", "errors", "files", "golden", "machine", "package_code", "producers", "progress", "provenance",
    "versions", "workspace",
}  # fmt: skip
Functions = ast.FunctionDef | ast.AsyncFunctionDef
Definitions = Functions | ast.ClassDef
#: Fields of syntax trees that say nothing about what is computed.
SILENT = {"ctx", "type_comment", "type_params", "kind", "returns", "annotation", "lineno", "col_offset"}


def package_digest(cache: Path | None = None, package: Path = PACKAGE) -> str:
    """Key of the package's modules, tables and styles; not of its weights.

    `cache` is a JSON file with the digests of last time; it is written where its folder exists.
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
    if path.suffix != ".py":
        return sha256_file(path)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | Definitions):
            node.body = _without_docstring(node.body)
    return key_of(ast.dump(tree))


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0].value if body and isinstance(body[0], ast.Expr) else None
    return body[1:] if isinstance(first, ast.Constant) and isinstance(first.value, str) else body


def digest_of_call(call: Callable[[], Any]) -> str:
    """12 hex digits of the code that a call enters, in its own thread and in those that it starts, and names."""
    waiting: list[tuple[_Module, ast.stmt, bool]] = []
    for code in _entered(call):
        module = _module_at(Path(code.co_filename))
        if module.counts and (node := module.node_of(code)) is not None:
            waiting.append((module, node, False))
    units = {}
    while waiting:
        module, node, whole = waiting.pop()
        if (id(node), whole) not in units:
            units[id(node), whole] = "".join(_in_words(node, isinstance(node, ast.ClassDef)))
            for name, attribute in _names(node):
                waiting += module.find(name, attribute, whole or not isinstance(node, Functions))
    return hashlib.sha256("\n".join(sorted(set(units.values()))).encode()).hexdigest()[:12]


def _entered(call: Callable[[], Any]) -> set[CodeType]:
    seen: dict[CodeType, bool] = {}

    def look(frame: Any, event: str, _: Any) -> None:
        if event == "call" and frame.f_code not in seen:
            seen[frame.f_code] = frame.f_code.co_filename.startswith(str(PACKAGE))

    before = sys.getprofile()
    threading.setprofile(look)
    sys.setprofile(look)
    try:
        call()
    finally:
        sys.setprofile(before)
        threading.setprofile(None)
    return {code for code, ours in seen.items() if ours}


class _Module:
    """The syntax tree of a module, by the names that it defines and imports from this package."""

    def __init__(self, path: Path) -> None:
        self.counts = not set(path.relative_to(PACKAGE).with_suffix("").parts) & LEFT_OUT
        self.tree = ast.parse(path.read_text(encoding="utf-8"))
        self.defined: dict[str, list[ast.stmt]] = {}
        for node in _statements(self.tree.body):
            for name in _defined_by(node):
                self.defined.setdefault(name, []).append(node)
        self.imported = {
            alias.asname or alias.name: (node.module, alias.name)
            for node in ast.walk(self.tree)
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE.name
            for alias in node.names
        }

    def node_of(self, code: CodeType) -> ast.stmt | None:
        """The function or method that some code is of, or the statement that a lambda stands in."""
        names, line = code.co_qualname.split(".<locals>")[0].split("."), code.co_firstlineno
        node, body = None, self.tree.body
        for name in names:
            of_name = [n for n in _statements(body) if isinstance(n, Definitions) and n.name == name]
            if not of_name:
                return next((n for n in body if n.lineno <= line <= n.end_lineno), None)
            node = next((n for n in of_name if _first_line(n) <= line <= n.end_lineno), of_name[0])
            body = node.body
        return node

    def find(self, name: str, attribute: str | None, whole: bool) -> Iterator[tuple[_Module, ast.stmt, bool]]:
        """The statements behind a name of this module, or behind an attribute of a module of that name.

        A function is among them where all that is named counts (`whole`), or where it is one of `WHOLE`.
        """
        for node in self.defined.get(name, ()) if self.counts else ():
            if not isinstance(node, Functions):
                yield self, node, whole
            elif whole or _decorators(node) & WHOLE:
                yield self, node, True
        if name in self.imported and name not in self.defined:
            source, original = self.imported[name]
            inner = _file_of(f"{source}.{original}")
            if inner is not None and attribute is not None:
                yield from _module_at(inner).find(attribute, None, whole)
            elif inner is None and (outer := _file_of(source)) is not None:
                yield from _module_at(outer).find(original, attribute, whole)


_module_at = cache(_Module)


def _file_of(dotted: str) -> Path | None:
    place = PACKAGE.joinpath(*dotted.split(".")[1:])
    return next((p for p in (place.with_suffix(".py"), place / "__init__.py") if p.is_file()), None)


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements of a body, and those inside its ifs and trys; no imports."""
    for node in body:
        if isinstance(node, ast.If | ast.Try):
            yield from _statements([n for part in ("body", "orelse", "finalbody") for n in getattr(node, part, [])])
        elif not isinstance(node, ast.Import | ast.ImportFrom):
            yield node


def _defined_by(node: ast.stmt) -> list[str]:
    if isinstance(node, Definitions):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [n.id for target in targets if target is not None for n in ast.walk(target) if isinstance(n, ast.Name)]


def _decorators(node: Definitions) -> set[str]:
    called = [d.func if isinstance(d, ast.Call) else d for d in node.decorator_list]
    return {c.attr if isinstance(c, ast.Attribute) else getattr(c, "id", "") for c in called}


def _first_line(node: Definitions) -> int:
    return min([node.lineno, *(d.lineno for d in node.decorator_list)])


def _names(node: ast.stmt) -> set[tuple[str, str | None]]:
    """Names that a unit reads, with the attribute that is read of them; not those in annotations."""
    names: set[tuple[str, str | None]] = set()
    waiting: list[ast.AST] = [node]
    while waiting:
        part = waiting.pop()
        if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name):
            names.add((part.value.id, part.attr))
        elif isinstance(part, ast.Name):
            names.add((part.id, None))
        waiting += [child for _, child in _children(part, part is node and isinstance(node, ast.ClassDef))]
    return names


def _children(node: ast.AST, bare: bool) -> Iterator[tuple[str, ast.AST]]:
    """Parts of a node that count; of a class that stands for itself (`bare`), no methods."""
    for field, value in ast.iter_fields(node):
        if field in SILENT:
            continue
        parts = value if isinstance(value, list) else [value]
        if field == "body" and isinstance(node, Definitions):
            parts = _without_docstring(parts)
        for part in parts:
            silent = isinstance(part, ast.Import | ast.ImportFrom) or (bare and isinstance(part, Functions))
            if isinstance(part, ast.AST) and not silent:
                yield field, part


def _in_words(node: ast.AST, bare: bool = False) -> Iterator[str]:
    """A node in text, the same for every version of Python; what an error says does not count."""
    yield f"({type(node).__name__}"
    for field, value in ast.iter_fields(node):
        if field not in SILENT and not isinstance(value, ast.AST | list) and value is not None:
            yield f" {field}={value!r}"
    if isinstance(node, ast.Raise):
        raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        yield "" if raised is None else ast.unparse(raised)
    elif isinstance(node, ast.Assert):
        yield from _in_words(node.test)
    else:
        for field, part in _children(node, bare):
            yield f" {field}"
            yield from _in_words(part)
    yield ")"
