"""A hash of the code that a call runs through: of its syntax trees, without docstrings, comments, places and messages.

The functions of this package that the call enters are seen while it runs. What they name is added from the text: the
constants and classes of modules, and what those are made with; functions that are compiled or remembered (`WHOLE`),
which a second call does not enter. Neither the name nor the place of a module counts, so that code may move.
"""

from __future__ import annotations

import ast
import hashlib
import sys
import threading
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any

PACKAGE = Path(__file__).resolve().parent
#: Decorators of functions whose bodies a run may not enter: with them counts all that they call.
WHOLE = {"njit", "jit", "vectorize", "guvectorize", "intrinsic", "cache", "lru_cache", "cached_property", "golden"}
#: Modules that keep or check results and make none.
LEFT_OUT = {
    "artifacts", "code_hash", "errors", "files", "golden", "machine", "producers", "progress", "provenance", "versions",
    "workspace",
}  # fmt: skip
Node = ast.stmt


def functions_entered(call: Callable[[], Any]) -> set[CodeType]:
    """Code of this package that a call enters, in its own thread and in those that it starts."""
    seen: set[CodeType] = set()
    known: dict[CodeType, bool] = {}

    def look(frame: Any, event: str, _: Any) -> None:
        if event == "call":
            code = frame.f_code
            if code not in known:
                known[code] = code.co_filename.startswith(str(PACKAGE))
                if known[code]:
                    seen.add(code)

    before = sys.getprofile()
    threading.setprofile(look)
    sys.setprofile(look)
    try:
        call()
    finally:
        sys.setprofile(before)
        threading.setprofile(None)
    return seen


def hash_of(codes: set[CodeType]) -> str:
    """12 hex digits of the code that was entered and of what it names."""
    units: dict[int, tuple[_Module, Node]] = {}
    waiting: list[tuple[_Module, Node, bool]] = []
    for code in codes:
        module = module_at(Path(code.co_filename))
        node = module.node_of(code) if module.counts else None
        if node is not None:
            waiting.append((module, node, False))
    while waiting:
        module, node, whole = waiting.pop()
        key = id(node) if not whole else -id(node)
        if key in units:
            continue
        units[key] = (module, node)
        waiting += module.named_by(node, whole)
    texts = sorted({module.text(node) for module, node in units.values()})
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:12]


@cache
def module_at(path: Path) -> _Module:
    """The module in a file."""
    return _Module(path)


class _Module:
    """The syntax tree of a module, by the names that it defines and imports."""

    def __init__(self, path: Path) -> None:
        self.path = path
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        self.counts = not set(parts) & LEFT_OUT
        self.tree = ast.parse(path.read_text(encoding="utf-8"))
        self.package = ("fico_utils", *(parts if path.name == "__init__.py" else parts[:-1]))
        if path.name == "__init__.py":
            self.package = self.package[:-1]
        self.defined: dict[str, list[Node]] = {}
        self.imported: dict[str, tuple[str, str]] = {}
        for node in _statements(self.tree.body):
            for name in _defines(node):
                self.defined.setdefault(name, []).append(node)
        for node in ast.walk(self.tree):
            self._note_imports(node)

    def _note_imports(self, node: ast.AST) -> None:
        if isinstance(node, ast.ImportFrom):
            base = [*self.package[: len(self.package) - node.level + 1]] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                if source.split(".")[0] == "fico_utils":
                    self.imported[alias.asname or alias.name] = (source, alias.name)

    def node_of(self, code: CodeType) -> Node | None:
        """The function or method that some code is of, or the statement that a lambda stands in."""
        names = code.co_qualname.split(".<locals>")[0].split(".")
        body: list[Node] = self.tree.body
        for name in names:
            of_name = [n for n in _statements(body) if isinstance(n, _DEFINITIONS) and n.name == name]
            at_line = [n for n in of_name if _first_line(n) <= code.co_firstlineno <= n.end_lineno]
            if not (at_line or of_name):
                return next((n for n in body if n.lineno <= code.co_firstlineno <= n.end_lineno), None)
            node = (at_line or of_name)[0]
            body = node.body
        return node if names[0] != "<module>" else None

    def named_by(self, node: Node, whole: bool) -> Iterator[tuple[_Module, Node, bool]]:
        """What a unit names: constants and classes, and functions where the unit counts whole."""
        for name, attribute in _names(node):
            yield from self.find(name, attribute, whole or not isinstance(node, _FUNCTIONS))

    def find(self, name: str, attribute: str | None, whole: bool) -> Iterator[tuple[_Module, Node, bool]]:
        """The statements behind a name of this module, or behind an attribute of a module of that name."""
        for node in self.defined.get(name, ()) if self.counts else ():
            if not isinstance(node, _FUNCTIONS):
                yield self, node, whole
            elif whole or _decorators(node) & WHOLE:
                yield self, node, True
        if name in self.imported and name not in self.defined:
            source, original = self.imported[name]
            inner = _file_of(f"{source}.{original}")
            if inner is not None and attribute is not None:
                yield from module_at(inner).find(attribute, None, whole)
            elif inner is None and (outer := _file_of(source)) is not None:
                yield from module_at(outer).find(original, attribute, whole)

    def text(self, node: Node) -> str:
        """A statement in a form that says what it does and nothing else."""
        return "".join(_told(node, isinstance(node, ast.ClassDef)))


# ---------------------------------------------------------------------------------------------- syntax trees

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_DEFINITIONS = (*_FUNCTIONS, ast.ClassDef)
_SILENT = {"ctx", "type_comment", "type_params", "kind", "returns", "annotation", "lineno", "col_offset"}


def _file_of(dotted: str) -> Path | None:
    """The file of a module of this package, or None."""
    place = PACKAGE.joinpath(*dotted.split(".")[1:])
    return next((p for p in (place.with_suffix(".py"), place / "__init__.py") if p.is_file()), None)


def _statements(body: list[Node]) -> Iterator[Node]:
    """Statements of a body, and those inside its ifs and trys."""
    for node in body:
        if isinstance(node, ast.If | ast.Try):
            yield from _statements([n for part in ("body", "orelse", "finalbody") for n in getattr(node, part, [])])
        elif not isinstance(node, ast.Import | ast.ImportFrom):
            yield node


def _defines(node: Node) -> list[str]:
    if isinstance(node, _DEFINITIONS):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [n.id for target in targets if target is not None for n in ast.walk(target) if isinstance(n, ast.Name)]


def _decorators(node: Node) -> set[str]:
    names = set()
    for decorator in node.decorator_list:
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        names.add(called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", ""))
    return names


def _first_line(node: Node) -> int:
    return min([node.lineno, *(d.lineno for d in node.decorator_list)])


def _names(node: Node) -> set[tuple[str, str | None]]:
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
        if field in _SILENT or (field == "annotation"):
            continue
        parts = value if isinstance(value, list) else [value]
        if field == "body" and isinstance(node, (*_DEFINITIONS, ast.Module)) and parts and _is_text(parts[0]):
            parts = parts[1:]
        for part in parts:
            if not isinstance(part, ast.AST) or isinstance(part, ast.Import | ast.ImportFrom):
                continue
            if bare and isinstance(part, _FUNCTIONS):
                continue
            yield field, part


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _told(node: ast.AST, bare: bool) -> Iterator[str]:
    """A node in text, the same for every version of Python; what an error says does not count."""
    yield f"({type(node).__name__}"
    for field, value in ast.iter_fields(node):
        if field not in _SILENT and not isinstance(value, ast.AST | list) and value is not None:
            yield f" {field}={value!r}"
    if isinstance(node, ast.Raise):
        raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        yield "" if raised is None else ast.unparse(raised)
    elif isinstance(node, ast.Assert):
        yield from _told(node.test, False)
    else:
        for field, part in _children(node, bare):
            yield f" {field}"
            yield from _told(part, False)
    yield ")"
