"""FiCo-ITR companion: fine-grained and coarse-grained image-text retrieval, compared.

The package mirrors Figure 2 of the paper: `data` (pre-processing), `models` (encoding), `evaluation` (similarity,
retrieval tasks, metrics), `costs` (complexity), `results`, `display`, and `batch`, which runs the notebooks.
Names are loaded when first used, so that ``import fico_utils`` costs nothing.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# GNU OpenMP reads this when torch or FAISS load it. By default a thread that waits keeps its core busy for long; beside
# another busy process a training then takes about twice as long (51 s instead of 28 s, BEiT-3 on two cores).
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

#: Name -> module: the names that a notebook needs most.
_EXPORTS = {
    "setup": "fico_utils.workspace",
    "evaluate": "fico_utils.evaluation",
    "compare": "fico_utils.extras.paired",
    "deploy": "fico_utils.extras.deploy",
    "read_corpus": "fico_utils.extras.corpora.places",
    "load_encoder": "fico_utils.extras.pretrained.encoders",
    "InputError": "fico_utils.errors",
}
__all__ = ["InputError", "__version__", "compare", "deploy", "evaluate", "load_encoder", "read_corpus", "setup"]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'fico_utils' has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name]), name)
