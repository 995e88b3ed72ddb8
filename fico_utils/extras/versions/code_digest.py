"""A digest of the code that a call runs through. Comments, docstrings, annotations, messages of errors, and the module
in which something stands are not in it, so that prose may change and code may move.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any

from fico_utils.package_code import parse_code
from fico_utils.provenance import PACKAGE

#: Modules that keep or check results and make none.
LEFT_OUT = {
    "artifacts", "compiling", "errors", "files", "machine", "producers", "progress", "provenance", "versions",
    "workspace",
}  # fmt: skip
Function = ast.FunctionDef | ast.AsyncFunctionDef


def digest_of_call(call: Callable[[], Any]) -> str:
    """12 hex digits of the functions of this package that a call enters, in all its threads, and of what they name.

    What they name are constants and classes, and functions with a decorator: compiled ones are not seen to run.
    """
    texts: dict[ast.stmt, str] = {}
    waiting = [(module, node) for module, name in _entered(call) for node in _read_names(module)[0].get(name, ())]
    while waiting:
        module, node = waiting.pop()
        if node not in texts:
            texts[node] = text_of(node)
            named = [found for dotted in _names_in(node, module) for found in _definitions(dotted)]
            waiting += [(m, n) for m, n in named if not isinstance(n, Function) or n.decorator_list]
    return hashlib.sha256("\n".join(sorted(set(texts.values()))).encode()).hexdigest()[:12]


def _entered(call: Callable[[], Any]) -> set[tuple[str, str]]:
    """(module, name) of the functions of this package that a call enters, and of their classes; caches are emptied."""
    for module in [m for name, m in sys.modules.items() if name.startswith(PACKAGE.name)]:
        for remembered in [value for value in vars(module).values() if hasattr(value, "cache_clear")]:
            remembered.cache_clear()
    seen: dict[int, CodeType] = {}

    def look(frame: Any, event: str, _argument: Any) -> None:
        if event == "call":
            seen[id(frame.f_code)] = frame.f_code

    threading.setprofile(look)
    sys.setprofile(look)
    try:
        call()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    outer = set()
    for code in seen.values():
        if code.co_filename.startswith(str(PACKAGE)):
            parts = Path(code.co_filename).relative_to(PACKAGE.parent).with_suffix("").parts
            name = code.co_qualname.split(".<locals>")[0]
            outer |= {(".".join(parts).removesuffix(".__init__"), part) for part in (name, name.split(".")[0])}
    return outer


@cache
def _read_names(module: str) -> tuple[dict[str, list[ast.stmt]], dict[str, str]]:
    """Name -> the statements that define it, and name -> the dotted name that is imported under it.

    Methods are ``Class.method``, and classes are without them. Both are empty for what is no module, or is left out.
    """
    defined, imported = defaultdict(list), {}
    place = PACKAGE.joinpath(*module.split(".")[1:])
    path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    if LEFT_OUT & set(module.split(".")) or not path.is_file():
        return defined, imported
    tree = parse_code(path)
    for node in ast.walk(tree):
        for silent in {"annotation", "returns", "msg"} & set(node._fields):
            setattr(node, silent, None)
        if isinstance(node, ast.Raise):
            node.exc = getattr(node.exc, "func", node.exc)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE.name):
            imported |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            for method in [part for part in node.body if isinstance(part, Function)]:
                defined[f"{node.name}.{method.name}"].append(method)
                node.body.remove(method)
        whole = isinstance(node, Function | ast.ClassDef)
        for part in [node] if whole else ast.walk(node):
            if isinstance(part, Function | ast.ClassDef):
                defined[part.name].append(node)
            elif isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                defined[part.id].append(node)
    return defined, imported


def _names_in(node: ast.stmt, module: str) -> Iterator[str]:
    """Dotted names that a statement of a module reads."""
    imported = _read_names(module)[1]
    for part in ast.walk(node):
        if isinstance(part, ast.Name):
            yield imported.get(part.id, f"{module}.{part.id}")
        elif isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name) and part.value.id in imported:
            yield f"{imported[part.value.id]}.{part.attr}"


def _definitions(dotted: str) -> Iterator[tuple[str, ast.stmt]]:
    """(module, statement) of what a dotted name stands for, through imports."""
    module, _, name = dotted.rpartition(".")
    defined, imported = _read_names(module)
    yield from ((module, node) for node in defined.get(name, ()))
    if name in imported and name not in defined:
        yield from _definitions(imported[name])


def text_of(part: Any) -> str:
    """A part of a syntax tree in text, the same for every version of Python: without what is empty, and imports."""
    if isinstance(part, list):
        return f"[{', '.join(text_of(p) for p in part if not isinstance(p, ast.Import | ast.ImportFrom))}]"
    if not isinstance(part, ast.AST):
        return ascii(part)
    if isinstance(part, ast.JoinedStr):  # Python 3.12.1 parts the text between two fields otherwise
        texts = (json.dumps(p.value)[1:-1] if isinstance(p, ast.Constant) else text_of(p) for p in part.values)
        return f"JoinedStr({''.join(texts)})"
    fields = [(name, value) for name, value in ast.iter_fields(part) if value not in (None, [])]
    return f"{type(part).__name__}({', '.join(f'{name}={text_of(value)}' for name, value in fields)})"
