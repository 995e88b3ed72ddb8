"""What a step was made from, as hashes: when all are equal, the step need not run again.

Content decides, never time stamps: a fresh clone, a copied folder or an edited remark in a notebook's prose
changes nothing. The manifest keeps the parts of a key, so that `difference` can say why a step is stale.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from fico_utils.batch.parameters import declared
from fico_utils.workspace import key_of, sha256_file

PACKAGE = Path(__file__).resolve().parent.parent


class Hashes:
    """SHA-256 of files, each computed once as long as its size and time stamps stay."""

    def __init__(self) -> None:
        self._known: dict[tuple, str] = {}

    def of(self, path: Path) -> str:
        """Hex digest of the file's bytes."""
        stat = path.stat()
        tag = (str(path), stat.st_ino, stat.st_size, stat.st_mtime_ns)
        if tag not in self._known:
            self._known[tag] = sha256_file(path)
        return self._known[tag]

    def matching(self, root: Path, patterns: Iterable[str]) -> dict[str, str]:
        """Relative path -> digest of all files below `root` that match, sorted; hidden files do not count."""
        files = set()
        for pattern in patterns:
            for match in root.glob(pattern):
                files.update([match] if match.is_file() else (f for f in match.rglob("*") if f.is_file()))
        shown = sorted(f for f in files if not any(p.startswith(".") for p in f.relative_to(root).parts))
        return {f.relative_to(root).as_posix(): self.of(f) for f in shown}


def code_of(notebook: dict[str, Any]) -> list[str]:
    """Source of the code cells of a notebook; blank ones and trailing blanks left out."""
    cells = (c["source"].rstrip() for c in notebook["cells"] if c["cell_type"] == "code")
    return [source for source in cells if source]


def key_parts(
    notebook: dict[str, Any],
    settings: dict[str, Any],
    inputs: dict[str, str],
    hashes: Hashes,
    package: Path = PACKAGE,
) -> dict[str, Any]:
    """The parts of a step's key: ``notebook``, ``sources``, ``parameters``, ``inputs``.

    Parameters
    ----------
    notebook : dict, as `read_notebook` returns it.
    settings : dict, every parameter of the profile, as overridden.
    inputs : dict, relative path -> digest of the input artefacts.
    hashes : Hashes
    package : Path, folder of the package that the notebook imports.

    Notes
    -----
    A setting counts when the notebook declares it or when its name stands as text in the code that may run
    (``run["n_train"]``). `out_dir` never does: results may be moved.
    """
    code = code_of(notebook)
    modules = closure(code, package)
    trees = [_tree(source) for source in code] + [_parse(path) for path in modules.values()]
    own = declared(notebook)
    named = {name for tree in trees for name in _named(tree, settings)}
    used = {name: settings.get(name, own.get(name)) for name in sorted({*own, *named} - {"out_dir"})}
    sources = {p.relative_to(package).as_posix(): hashes.of(p) for p in _files(modules.values(), package)}
    return {
        "notebook": hashlib.sha256("\n\n".join(code).encode()).hexdigest(),
        "sources": sources,
        "parameters": used,
        "inputs": inputs,
    }


def key(parts: dict[str, Any]) -> str:
    """The content key of `key_parts`, 16 hex digits."""
    return key_of(parts)


def difference(old: dict[str, Any], new: dict[str, Any]) -> str:
    """Why two keys differ, in words; empty where they do not.

    >>> difference({"parameters": {"seed": 0}}, {"parameters": {"seed": 1}})
    'seed 0 -> 1'
    >>> difference({"inputs": {"features/a": "1"}}, {"inputs": {"features/a": "1", "features/b": "2"}})
    ''
    """
    reasons = []
    if old.get("notebook") != new.get("notebook"):
        reasons.append("notebook code changed")
    before, after = old.get("parameters", {}), new.get("parameters", {})
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            reasons.append(f"{name} {before.get(name, 'unset')} -> {after.get(name, 'unset')}")
    for part, word in (("sources", "code"), ("inputs", "input")):
        before, after = old.get(part, {}), new.get(part, {})
        # An artefact that came later, as another step's features do, is not what this step was made from.
        counted = before if part == "inputs" else {*before, *after}
        names = [n for n in sorted(counted) if before.get(n) != after.get(n)]
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            reasons.append(f"{word} changed: {names[0]}{more}")
    return "; ".join(reasons)


def _named(tree: ast.AST, settings: Iterable[str]) -> Iterator[str]:
    """The settings whose names stand in the code as text, whole or as the beginning of an f-string."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value in settings:
            yield node.value
        elif isinstance(node, ast.JoinedStr) and node.values:
            start = getattr(node.values[0], "value", None)
            if isinstance(start, str) and start.endswith("_"):
                yield from (name for name in settings if name.startswith(start))


# ---------------------------------------------------------------------------------- what a notebook imports


def closure(code: Iterable[str], package: Path = PACKAGE) -> dict[str, Path]:
    """Dotted name -> file of every module of `package` that the code may import, directly or through others.

    Read from the syntax trees: import statements anywhere, attribute chains (``fico_utils.evaluate`` is
    looked up in the package's ``_EXPORTS``), and module names written as text for `import_module`, where a
    prefix such as ``"fico_utils.models."`` stands for all below it. Better one too many than one too few.
    """
    modules = {}
    for path in sorted(package.rglob("*.py")):
        parts = (package.name, *path.relative_to(package).with_suffix("").parts)
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    found: dict[str, Path] = {}
    waiting = [n for source in code for n in _mentions(_tree(source), package.name, modules, None)]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found[name] = modules[name]
        waiting += _mentions(_parse(modules[name]), package.name, modules, name)
        waiting += [parent for parent in [name.rpartition(".")[0]] if parent]  # importing a.b runs a/__init__.py
    return dict(sorted(found.items()))


def _mentions(tree: ast.AST, top: str, modules: dict[str, Path], current: str | None) -> Iterator[str]:
    """Names of the modules that one syntax tree imports."""
    nodes = list(ast.walk(tree))
    bound = {}  # local name -> dotted name
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                bound[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
                yield from _resolve(alias.name, top, modules)
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, modules, current)
            for alias in node.names:
                bound[alias.asname or alias.name] = f"{base}.{alias.name}"
                yield from _resolve(f"{base}.{alias.name}", top, modules)
    for node in nodes:
        if isinstance(node, ast.Attribute):
            chain, root = [], node
            while isinstance(root, ast.Attribute):
                chain.append(root.attr)
                root = root.value
            if isinstance(root, ast.Name) and root.id in bound:
                yield from _resolve(".".join([bound[root.id], *reversed(chain)]), top, modules)
    if current is not None and _exports(modules[current]):
        return  # the texts in its table of lazy names say what may be asked for, not what is
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith(f"{top}."):
            prefix = node.value.rstrip(".") + "."
            yield from _resolve(node.value.rstrip("."), top, modules) if node.value in modules else ()
            if node.value.endswith(".") or modules.get(node.value, Path()).name == "__init__.py":
                yield from (name for name in modules if name.startswith(prefix))


def _base(node: ast.ImportFrom, modules: dict[str, Path], current: str | None) -> str:
    if not node.level or current is None:
        return node.module or ""
    parts = current.split(".")
    up = node.level - (modules[current].name == "__init__.py")
    return ".".join(parts[: len(parts) - up] + ([node.module] if node.module else []))


def _resolve(dotted: str, top: str, modules: dict[str, Path]) -> Iterator[str]:
    """The longest prefix of a dotted name that is a module, and the module its next part is exported from."""
    if dotted.partition(".")[0] != top:
        return
    parts = dotted.split(".")
    size = next(n for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in modules)
    name = ".".join(parts[:size])
    yield name
    exports = _exports(modules[name])
    wanted = exports.values() if parts[size:] == ["*"] else [exports.get(part) for part in parts[size : size + 1]]
    yield from (module for module in wanted if module in modules)


def _exports(path: Path) -> dict[str, str]:
    """The table ``_EXPORTS`` (name -> module) of a package that loads names when first used."""
    if path.name == "__init__.py":
        for node in _parse(path).body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "_EXPORTS":
                return ast.literal_eval(node.value)
    return {}


_TREES: dict[tuple[Path, int], ast.Module] = {}


def _parse(path: Path) -> ast.Module:
    tag = (path, path.stat().st_mtime_ns)
    if tag not in _TREES:
        _TREES[tag] = _tree(path.read_text(encoding="utf-8"), magic=False)
    return _TREES[tag]


def _tree(source: str, magic: bool = True) -> ast.Module:
    """The syntax tree, without IPython's magics and shell lines; of broken code an empty one.

    Broken code must not stop the key from being made: the step fails with a better message when it runs.
    """
    lines = source.splitlines()
    if magic:
        lines = ["" if line.lstrip().startswith(("%", "!")) else line for line in lines]
    try:
        return ast.parse("\n".join(lines))
    except SyntaxError:
        return ast.Module([], [])


def _files(modules: Iterable[Path], package: Path) -> list[Path]:
    """The modules, and the data files (tables, styles, weights) that lie beside or below them.

    A data file that is called like a module, as ``report.css`` is, belongs to that module alone.
    """
    modules = set(modules)
    folders = {path.parent for path in modules} - {package}
    below = {f for d in (*folders, package) for f in d.iterdir() if f.is_dir() and not any(f.glob("*.py"))}
    folders |= {folder for folder in below if folder.name != "__pycache__"}
    data = {f for folder in folders for f in folder.iterdir() if f.is_file() and f.suffix != ".py"}
    others = {f for f in data if f.with_suffix(".py").is_file() and f.with_suffix(".py") not in modules}
    return sorted(modules | {f for f in data - others if not f.name.startswith(".")})
