"""Trained weights: of this run's store, or shipped with the package; half precision, with their recipe and digest.

What ships lies in ``fico_utils/weights/<profile>/``, by the profile that made it. It serves only where its recipe is
the one asked for and its content fits its digest. What reads weights is keyed by that digest, not by the recipe: two
trainings by one recipe end in other numbers on other machines, and no system can read another backbone's features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fico_utils.artifacts import Recipe, damage_of, header_of, read_artefact
from fico_utils.errors import InputError
from fico_utils.files import digest_of, note
from fico_utils.provenance import IN_CHECKOUT, SHIPPED
from fico_utils.workspace import Run

if TYPE_CHECKING:
    from fico_utils.models.contract import RetrievalModel
    from fico_utils.models.training import Inputs


@dataclass(frozen=True)
class Weights:
    """Weights that serve, and where they come from.

    `origin` is ``trained`` in this run, or ``shipped``; `header` is that of the artefact, with the training's log.
    """

    path: Path
    origin: str
    header: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """Digest of the numbers as they are kept: what reads the weights is keyed by it."""
        return self.header["digest"]

    @property
    def log(self) -> list[dict[str, float]]:
        """One row an epoch: loss terms, validation score, seconds; empty where nothing was logged."""
        return self.header["about"].get("log", [])

    def arrays(self) -> dict[str, np.ndarray]:
        """The numbers, widened to float32."""
        arrays = read_artefact(self.path)
        return {n: a.astype(np.float32) if a.dtype == np.float16 else a for n, a in arrays.items()}

    def load_into(self, model: RetrievalModel) -> RetrievalModel:
        """The model with these weights, ready to encode."""
        import torch

        arrays, expected = self.arrays(), {n: tuple(t.shape) for n, t in model.weights().items()}
        assert expected == {n: a.shape for n, a in arrays.items()}, f"{self.path} holds other arrays than its recipe"
        model.load_state_dict({n: torch.from_numpy(a) for n, a in arrays.items()}, strict=False)
        return model.eval()


def find_weights(run: Run, name: str, recipe: Recipe, live: bool = False) -> Weights | None:
    """Weights of a recipe: those trained in this run, else, but for `live`, those that ship; None where there are none.

    What ships by the run's own profile comes before that of others. A run that serves what ships (`Run.shipped`) does
    not look at trainings of this store: those made by the same recipe have other numbers.
    """
    path = run.store.path("models", name, recipe)
    if not run.shipped and run.store.holds(path, recipe):
        note("read", path, digest_of(path))
        return Weights(path, "trained", header_of(path))
    if not run.shipped:
        note("missed", path)  # a step that took what ships is stale once these are there
    if live:
        return None
    profiles = sorted(path.parent.name for path in SHIPPED.glob(f"*/{name}.safetensors"))
    for profile in dict.fromkeys((run.shipped or run.profile, *profiles)):
        if shipped := shipped_file(profile, f"{name}.safetensors", recipe):
            return Weights(shipped, "shipped", header_of(shipped))
    return None


def train_weights(
    run: Run, name: str, recipe: Recipe, build: Callable[[], tuple[Mapping[str, np.ndarray], list[dict]]], live: bool
) -> Weights:
    """Weights of a recipe, trained here where there are none, or where none were trained in this run and `live` asks.

    They are kept in half precision, as they ship: a shipped system then reads the very features it was trained on. An
    array whose numbers are beyond it, as a batch norm's variances may be, stays as it is. `build` trains and returns
    (arrays, log). InputError where the training ended in numbers that are not finite.
    """
    if ready := find_weights(run, name, recipe, live):
        return ready
    path = run.store.path("models", name, recipe)
    with run.store.locked(path):  # another process may be training them
        if ready := find_weights(run, name, recipe, live):
            return ready
        if not live:
            print(f"No trained weights of {name} fit this profile: they are trained now.")
        arrays, log = build()
        for n, array in arrays.items():
            if not np.isfinite(array).all():
                raise InputError(f"weights {n} of {name} are not finite; train with a smaller rate")
        run.store.write(path, recipe, {n: _narrowed(a) for n, a in arrays.items()}, log=log)
        return Weights(path, "trained", header_of(path))


def train_model(
    run: Run,
    name: str,
    recipe: Recipe,
    model: RetrievalModel,
    prepare: Callable[[], tuple[Inputs, Callable[[RetrievalModel], float]]],
    label: str,
    live: bool = True,
) -> Weights:
    """`train_weights` by `fit`, for the epochs of the recipe; a training that was stopped goes on after its last epoch.

    Where it is trained, `prepare` gives what it learns from and the score that chooses a checkpoint; `label` is what
    the progress bar says.
    """
    from fico_utils.models.training import fit

    units = run.store.units("models", name, recipe)

    def build() -> tuple[dict[str, np.ndarray], list[dict]]:
        data, validate = prepare()
        epochs, images = recipe.settings["epochs"], recipe.settings.get("images")
        log = fit(model, data, seed=run.seed, epochs=epochs, validate=validate, images=images, units=units, label=label)
        return {n: t.numpy() for n, t in model.weights().items()}, log

    weights = train_weights(run, name, recipe, build, live)
    units.remove()
    return weights


def shipped_file(profile: str, file: str, recipe: Recipe) -> Path | None:
    """What ships under a name, where it is of this recipe; InputError where it is damaged."""
    path = whole_shipped(SHIPPED / profile / file)
    return path if path and header_of(path).get("key") == recipe.key else None


def whole_shipped(path: Path) -> Path | None:
    """A file that ships, as the runner is told; None where there is none, InputError where it is damaged."""
    if not path.is_file():
        return None
    if damage := damage_of(path):
        way = f"git checkout -- {path}" if IN_CHECKOUT else "pip install --force-reinstall --no-deps fico-utils"
        raise InputError(f"{path} {damage}, so it does not serve; restore it with: {way}")
    note("read", path, digest_of(path))
    return path


def _narrowed(array: np.ndarray) -> np.ndarray:
    """Finite numbers in half precision, where they fit."""
    fits = array.dtype == np.float32 and (np.abs(array) <= np.finfo(np.float16).max).all()
    return array.astype(np.float16) if fits else array


def backbone_name(run: Run, kind: str) -> str:
    """Name of the weights behind ``regions``, which SCAN's family and the hashing systems read, or ``patches`` (VLP).

    The paper's differ in what they have seen: a detector a hundred thousand pictures, the encoders of the VLP systems
    millions of pairs. So a profile gives each a number of scenes and of epochs; where these are equal, one is both.
    """
    one = run["backbones"]["patches"] == run["backbones"]["regions"]
    return "backbone" if kind == "regions" or one else "patch_backbone"
