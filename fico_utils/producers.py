"""Who makes results: every producer has an id and states a whole number, its ``VERSION``, beside its code.

The number is part of the key of everything that the producer makes. It is raised when the meaning of what is made
changes,
and only then; `fico_utils.versions` notices when it should have been raised. It is read from the module's text, since
importing a model loads torch.
"""

from __future__ import annotations

import ast
from functools import lru_cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent

#: Producer -> module of the package that states its version. A system's is the file of its model.
MODULES = {
    "pictoscenes": "data/pictoscenes/__init__.py",
    "backbone": "data/features.py",
    "visual_features": "data/features.py",
    "doc2vec": "data/text.py",
    "doc2vec_vectors": "data/text.py",
    "query2label": "models/query2label.py",
    "labels": "models/query2label.py",
    "training": "models/training.py",
    "encoding": "models/encoding.py",
}


def version_of(producer: str) -> int:
    """The version that a producer states: `VERSION`, or its entry of `VERSIONS`, in its module; 1 where it states none.

    >>> version_of("backbone") >= 1
    True
    """
    module = MODULES.get(producer, f"models/{producer.split('_')[0]}.py")
    path = PACKAGE / module
    if not path.is_file():
        return 1
    stated = _stated(path, path.stat().st_mtime_ns)
    return stated.get(producer, stated.get("", 1))


@lru_cache(maxsize=256)
def _stated(path: Path, _stamp: int) -> dict[str, int]:
    """Versions that a module states: producer -> number, the empty name for all others."""
    versions: dict[str, int] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        if isinstance(target, ast.Name) and target.id == "VERSION":
            versions[""] = ast.literal_eval(node.value)
        if isinstance(target, ast.Name) and target.id == "VERSIONS":
            versions |= ast.literal_eval(node.value)
    return versions
