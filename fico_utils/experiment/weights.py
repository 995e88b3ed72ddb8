"""Weights on disk: trained in this run, or shipped with the companion, half precision, with all their settings.

What ships lies in ``fico_utils/weights/<profile>/``, by the profile that made it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fico_utils import registry
from fico_utils.errors import InputError
from fico_utils.workspace import Run, atomic_path, key_of, read_arrays, read_metadata, source_key, write_arrays

SHIPPED = Path(__file__).parents[1] / "weights"


def weights(
    run: Run, name: str, settings: dict[str, Any], sources: tuple[str, ...], build: Callable[[], dict], live: bool
) -> dict[str, np.ndarray]:
    """Weights trained in this run, shipped ones, or newly trained ones, in that order; kept below ``models/``.

    They are kept in half precision, as they ship: a shipped system then reads the very features it was trained on.
    """
    path, key = run.path("models", f"{name}.safetensors"), key_of(name, settings, source_key(*sources))
    if path.is_file():
        found = read_metadata(path)
        if found.get("key") == key and (found.get("origin") == "trained" or not live):
            return _widened(read_arrays(path))
    arrays = None if live else shipped(name, settings)
    source = "trained" if arrays is None else "shipped"
    if arrays is None:
        if not live:
            print(f"models/{name} is missing, and no shipped weights match this profile: training it now")
        arrays = {n: a.astype(np.float16) if a.dtype == np.float32 else a for n, a in build().items()}
        strange = [n for n, a in arrays.items() if not np.isfinite(a).all()]
        if strange:
            raise InputError(f"weights {strange[0]} of {name} do not fit half precision; train with a smaller rate")
    else:
        print(f"models/{name} was not trained in this run: using the weights that ship with the companion")
    content = key_of({n: hashlib.sha256(a.tobytes()).hexdigest() for n, a in arrays.items()})
    metadata = {"key": key, "origin": source, "content": content, "settings": settings, "run": run.run_id}
    write_arrays(path, arrays, metadata)
    return _widened(arrays)


def _widened(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {n: a.astype(np.float32) if a.dtype == np.float16 else a for n, a in arrays.items()}


def shipped(name: str, settings: dict[str, Any]) -> dict[str, np.ndarray] | None:
    """Shipped weights of a name, as they ship, where some were made with these settings; else None."""
    for path in sorted(SHIPPED.glob(f"*/{name}.safetensors")):
        if read_metadata(path).get("settings") == json.loads(json.dumps(settings)):
            return read_arrays(path)
    return None


def ship(run: Run) -> list[Path]:
    """Copy all weights trained in a run to the package, where they serve notebooks that stand alone; their paths.

    Raises
    ------
    InputError
        Weights of the run that are missing, or that were shipped themselves.
    """
    trained = dict.fromkeys(registry.system(s).trained for s in run["systems"])
    names = ["backbone", "doc2vec", "query2label", *(f"{s}__{c}" for s in trained for c in run["corpora"])]
    for name in names:
        path = run.path("models", f"{name}.safetensors")
        if not path.is_file() or origin(run, name) != "trained":
            raise InputError(f"{path} was not trained in this run; run notebooks 01, 02 and 03 first")
    for name in names:
        with atomic_path(SHIPPED / run.profile / f"{name}.safetensors") as temporary:
            shutil.copyfile(run.path("models", f"{name}.safetensors"), temporary)
    return [SHIPPED / run.profile / f"{name}.safetensors" for name in names]


def origin(run: Run, name: str) -> str:
    """Where weights came from: ``trained`` in this run, or ``shipped``."""
    return read_metadata(run.path("models", f"{name}.safetensors"))["origin"]


def content(run: Run, name: str) -> str:
    """Hash of the weights that this run uses under a name, whether trained in it or shipped."""
    return read_metadata(run.path("models", f"{name}.safetensors"))["content"]
