"""Weights on disk: trained in this run, or shipped with the companion, half precision, with all their settings.

What ships lies in ``fico_utils/weights/<profile>/``, by the profile that made it.
"""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fico_utils import registry
from fico_utils.errors import InputError
from fico_utils.workspace import Run, atomic_path, commit, key_of, read_arrays, read_metadata, source_key, write_arrays

if TYPE_CHECKING:
    from fico_utils.models.blocks import RetrievalModel

SHIPPED = Path(__file__).parents[1] / "weights"
#: The largest number in half precision.
HALF = np.finfo(np.float16).max


def weights(
    run: Run, name: str, settings: dict[str, Any], sources: tuple[str, ...], build: Callable[[], dict], live: bool
) -> dict[str, np.ndarray]:
    """Weights trained in this run, shipped ones, or newly trained ones, in that order; kept below ``models/``.

    They are kept in half precision, as they ship: a shipped system then reads the very features it was trained on. An
    array whose numbers are beyond it, as a batch norm's variances may be, stays as it is.
    """
    path, key = run.path("models", f"{name}.safetensors"), key_of(name, settings, source_key(*sources))
    if path.is_file():
        found = read_metadata(path)
        if found.get("key") == key and (found.get("origin") == "trained" or not live):
            return _widened(read_arrays(path))
    arrays = None if live else shipped(name, settings, run.profile)
    source = "trained" if arrays is None else "shipped"
    if arrays is None:
        if not live:
            print(f"models/{name} is missing, and no shipped weights match this profile: training it now")
        arrays = {n: _narrowed(a) for n, a in build().items()}
        strange = [n for n, a in arrays.items() if not np.isfinite(a).all()]
        if strange:
            raise InputError(f"weights {strange[0]} of {name} are not finite; train with a smaller rate")
    else:
        print(f"models/{name} was not trained in this run: using the weights that ship with the companion")
    content = key_of({n: hashlib.sha256(a.tobytes()).hexdigest() for n, a in arrays.items()})
    metadata = {"key": key, "origin": source, "content": content, "settings": settings, "run": run.run_id}
    log = run.path("models", name, "log.csv")
    if source == "trained":
        metadata |= {"commit": commit(), "threads": run["threads"]}
        metadata |= {"log": read_log(log)} if log.is_file() else {}
    write_arrays(path, arrays, metadata)
    return _widened(arrays)


def read_log(path: Path) -> list[dict[str, float]]:
    """Rows of the log.csv of a training, one an epoch."""
    with open(path, newline="", encoding="utf-8") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def load(model: RetrievalModel, arrays: dict[str, np.ndarray], name: str) -> None:
    """Put weights into a model.

    Raises
    ------
    InputError
        Other arrays than the model has: a file of another system, or cut off.
    """
    import torch

    wanted = {n: tuple(t.shape) for n, t in model.weights().items()}
    if wanted != {n: a.shape for n, a in arrays.items()}:
        raise InputError(f"models/{name} holds other arrays than {name} has here; delete it and run again")
    model.load_state_dict({n: torch.from_numpy(a) for n, a in arrays.items()}, strict=False)


def _narrowed(array: np.ndarray) -> np.ndarray:
    if array.dtype != np.float32 or (np.abs(array[np.isfinite(array)]) > HALF).any():
        return array
    return array.astype(np.float16)


def _widened(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {n: a.astype(np.float32) if a.dtype == np.float16 else a for n, a in arrays.items()}


def shipped(name: str, settings: dict[str, Any], profile: str) -> dict[str, np.ndarray] | None:
    """Shipped weights of a name, as they ship, where some were made with these settings; else None.

    Those of the profile come first: two profiles may train one thing alike, on other threads and so to other bits, and
    what was trained on top of the one does not read the other.
    """
    for path in sorted(SHIPPED.glob(f"*/{name}.safetensors"), key=lambda p: (p.parent.name != profile, p)):
        if read_metadata(path).get("settings") == json.loads(json.dumps(settings)):
            return read_arrays(path)
    return None


def shipped_log(profile: str, name: str) -> list[dict[str, float]] | None:
    """The log of the training that made shipped weights, one row an epoch; None where there is none."""
    path = SHIPPED / profile / f"{name}.safetensors"
    return read_metadata(path).get("log") if path.is_file() else None


def backbone_name(run: Run, kind: str) -> str:
    """Name of the weights behind ``regions``, which SCAN's family and the hashing systems read, or ``patches`` (VLP).

    In the paper the two differ in what they have seen: a detector learned from a hundred thousand pictures, the
    encoders of the VLP systems from millions of pairs. So a profile gives each a number of scenes and of epochs; where
    these are equal, one backbone is both.
    """
    one = run["backbones"]["patches"] == run["backbones"]["regions"]
    return "backbone" if kind == "regions" or one else "patch_backbone"


def ship(run: Run) -> list[Path]:
    """Copy the weights trained in a run to the package, a card beside each, to serve notebooks that stand alone; paths.

    What a run trains is what its profile gives epochs, and its live backbones. What it learned from a corpus that has
    to be fetched stays in the run: whoever has that corpus trains in minutes.

    Raises
    ------
    InputError
        Weights of the run that are missing, or that were shipped themselves.
    """
    from fico_utils.experiment import cards

    trained = dict.fromkeys(registry.system(s).trained for s in run["systems"])
    drawn = [c for c in run["corpora"] if registry.corpus(c).kind == "drawn"]
    names = [
        *dict.fromkeys(backbone_name(run, kind) for kind in run["live_backbones"]),
        "doc2vec",
        *(["query2label"] if "query2label" in run["epochs"] else []),
        *(f"{s}__{c}" for s in trained if s in run["epochs"] for c in drawn),
    ]
    for name in names:
        path = run.path("models", f"{name}.safetensors")
        if not path.is_file() or origin(run, name) != "trained":
            raise InputError(f"{path} was not trained in this run; run notebooks 01, 02 and 03 first")
    written = cards.write(run, names, SHIPPED / run.profile)
    for name in names:
        with atomic_path(SHIPPED / run.profile / f"{name}.safetensors") as temporary:
            shutil.copyfile(run.path("models", f"{name}.safetensors"), temporary)
    return [*(SHIPPED / run.profile / f"{name}.safetensors" for name in names), *written]


def origin(run: Run, name: str) -> str:
    """Where weights came from: ``trained`` in this run, or ``shipped``."""
    return _said(run.path("models", f"{name}.safetensors"), "origin")


def content(run: Run, name: str) -> str:
    """Hash of the weights that this run uses under a name, whether trained in it or shipped."""
    return _said(run.path("models", f"{name}.safetensors"), "content")


def _said(path: Path, what: str) -> str:
    """One entry of the header of a file of weights."""
    found = read_metadata(path)
    if what not in found:
        raise InputError(f"{path} is no file of weights of ours; delete it and run again")
    return found[what]
