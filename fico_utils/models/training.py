"""One `fit` for every system; it knows none of them by name.

An epoch shows every image once, or the next part of a large split, with one or a few of its captions drawn at random;
the originals' go over all pairs. Each epoch is a function of the weights, the optimisers and (seed, epoch), so a run
that was killed ends with the same weights.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from fico_utils.artifacts import Units
from fico_utils.errors import InputError
from fico_utils.models.contract import Batch, MuonRecipe, RetrievalModel, TrainingRecipe
from fico_utils.models.muon import Muon, linear_maps
from fico_utils.progress import show_progress

VERSIONS = {"training": 1}
#: The optimisers of a system, and that of its adversary where it has one.
Optimisers = tuple[list[torch.optim.Optimizer], list[torch.optim.Optimizer]]


@dataclass(frozen=True)
class Inputs:
    """A split as a model sees it; InputError where features have fewer rows than items, or a row that is not finite."""

    image: dict[str, np.ndarray]  # (n_img, ...) each
    text: dict[str, np.ndarray]  # (n_txt, ...) each
    caption_image: np.ndarray  # (n_txt,) int64
    key: str  # of the corpus, split and features

    def __post_init__(self) -> None:
        sides = (("image", self.image, int(self.caption_image.max()) + 1), ("text", self.text, len(self.caption_image)))
        for kind, arrays, n in sides:
            for name, array in arrays.items():
                features, row = f"{kind} features {name!r}", _row_not_finite(array)
                if len(array) < n:
                    raise InputError(f"{features} have {len(array)} rows; expected one for each of {n} items")
                if row is not None:
                    raise InputError(f"{features} hold NaN or infinity in row {row}; extract them again")

    def batch(self, model: RetrievalModel, captions: np.ndarray) -> Batch:
        """The pairs of some captions, as the tensors that `model` reads."""
        images = self.caption_image[captions]
        by_image = {n: as_tensor(self.image[n][images]) for n in (model.image_input, *model.image_extra)}
        text = filter(None, (model.text_input, *model.text_extra))  # the label generator reads no text
        by_caption = {n: as_tensor(self.text[n][captions]) for n in text}
        return {**by_image, **by_caption, "image": torch.from_numpy(images)}


def _row_not_finite(array: np.ndarray, block: int = 4096) -> int | None:
    """The first row that holds NaN or infinity, if any; in blocks, as the array may be mapped."""
    if array.dtype.kind != "f":
        return None
    for start in range(0, len(array), block):
        rows = array[start : start + block]
        finite = np.isfinite(rows).reshape(len(rows), -1).all(1)
        if not finite.all():
            return start + int(finite.argmin())
    return None


def as_tensor(array: np.ndarray) -> Tensor:
    """float32 or int64 tensor of an array; features are stored as float16."""
    made = torch.from_numpy(np.require(array, requirements="CW"))  # mapped arrays are read-only
    return made.float() if made.is_floating_point() else made.long()


def draw_pairs(caption_image: np.ndarray, rng: np.random.Generator, captions: int = 1) -> np.ndarray:
    """So many captions of every image, or all it has: (n_pairs,) int64, images shuffled, theirs side by side."""
    order = rng.permutation(len(caption_image))
    order = order[np.argsort(caption_image[order], kind="stable")]
    _, first, image = np.unique(caption_image[order], return_index=True, return_inverse=True)
    kept = np.arange(len(order)) - first[image] < captions
    place = np.argsort(rng.permutation(len(first)))
    return order[kept][np.argsort(place[image[kept]], kind="stable")]


def draw_steps(
    caption_image: np.ndarray, recipe: TrainingRecipe, seed: int, epoch: int, images: int | None = None
) -> list[np.ndarray]:
    """The captions of each step of an epoch: those of `recipe.batch_size` images, the last step's of what is left.

    The epoch shows the next so many `images` in a random order, drawn anew when fewer are left; None shows all.
    """
    rng = np.random.default_rng([seed, epoch])
    known = np.unique(caption_image)
    if images is None or images >= len(known):
        drawn = draw_pairs(caption_image, rng, recipe.captions)
    else:
        turn, part = divmod(epoch, len(known) // images)
        order = np.random.default_rng([seed, turn, len(known)]).permutation(known)
        captions = np.flatnonzero(np.isin(caption_image, order[part * images : (part + 1) * images]))
        drawn = captions[draw_pairs(caption_image[captions], rng, recipe.captions)]
    starts = np.flatnonzero(np.diff(caption_image[drawn], prepend=-1))
    return np.split(drawn, starts[:: recipe.batch_size][1:])


def fit(
    model: RetrievalModel,
    train: Inputs,
    *,
    seed: int,
    epochs: int,
    validate: Callable[[RetrievalModel], float],
    images: int | None = None,
    units: Units | None = None,
    label: str = "training",
) -> list[dict[str, float]]:
    """The log of training `model` in place; it ends with the weights of the best validation score of its last phase.

    Parameters
    ----------
    model : RetrievalModel, freshly made.
    seed : int, orders the pairs and seeds dropout.
    validate : callable, model -> score on the validation split, larger is better.
    images : int or None, how many images an epoch shows, where not all of them.
    units : Units or None, of this training's recipe: each epoch is kept there, so that a stopped training goes on.
    label : str, what the progress bar says.

    Returns
    -------
    list of dict, one an epoch: ``epoch``, every loss term (mean over steps), ``score``, ``seconds``.

    Raises
    ------
    InputError
        Fewer than one epoch, fewer than two images, or features that the model reads are missing.
    FloatingPointError
        The loss became NaN or infinite; the checkpoints on disk are the last good ones.
    """
    if epochs < 1:
        raise InputError(f"{label} was given {epochs} epochs; expected at least 1")
    wanted = [n for n in (model.image_input, *model.image_extra) if n not in train.image]
    wanted += [n for n in (model.text_input, *model.text_extra) if n and n not in train.text]
    if wanted:
        raise InputError(f"{label} needs {wanted[0]!r}, which the inputs lack; expected those of the training split")
    n_images = min(len(np.unique(train.caption_image)), images or train.caption_image.size)
    if n_images < 2:
        raise InputError(f"{label} was given captions of one image only; expected at least two images")
    steps = math.ceil(n_images / model.recipe.batch_size)
    optimisers = _optimisers(model)
    log, best = _resume(units, model, [*optimisers[0], *optimisers[1]]) if units else ([], None)

    if not log:
        model.begin(train.image, train.text, train.caption_image)
    bar = show_progress(description=label, total=epochs * steps, initial=len(log) * steps)
    for epoch in range(len(log), epochs):
        started, phase = time.perf_counter(), model.phase(epoch)
        if epoch and phase != model.phase(epoch - 1):
            model.load_state_dict(best)
        torch.manual_seed(int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0]))
        drawn = draw_steps(train.caption_image, model.recipe, seed, epoch, images)
        terms = _train_epoch(model, train, drawn, optimisers, epoch, epochs * steps, bar)
        score = float(validate(model.eval()))
        log.append({"epoch": epoch + 1, **terms, "score": score, "seconds": time.perf_counter() - started})
        if all(score > row["score"] for row in log[:-1] if model.phase(row["epoch"] - 1) == phase):
            best = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        bar.set_postfix(loss=f"{terms['loss']:.3f}", val=f"{score:.3f}")
        if units:
            units.write(epoch, _checkpoint(model, [*optimisers[0], *optimisers[1]], best), {"log": log}, keep=1)
    bar.close()
    model.load_state_dict(best)
    return log


def _train_epoch(
    model: RetrievalModel, train: Inputs, steps: list[np.ndarray], optimisers: Optimisers, epoch: int, total: int, bar
) -> dict[str, float]:
    """Mean loss terms of one pass over the steps of `draw_steps`."""
    recipe, (own, beside), sums = model.recipe, optimisers, defaultdict(float)
    if model.train().start_epoch(epoch):
        for optimiser in (*own, *beside):
            optimiser.state.clear()
    for number, chosen in enumerate(steps):
        bar.update()
        if number and len(np.unique(train.caption_image[chosen])) == 1:
            continue  # one image alone has no negative, and no variance for a batch norm
        factor = schedule_factor(recipe, epoch * len(steps) + number, total)
        for group in (g for o in (*own, *beside) for g in o.param_groups):
            group["lr"] = group["base_lr"] * factor
        outputs = model(train.batch(model, chosen))
        for optimiser in beside:
            loss = model.adversary_loss(outputs)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        terms = model.loss(outputs)
        if not torch.isfinite(terms["loss"]):
            raise FloatingPointError(
                f"the loss of {type(model).__name__} is {terms['loss'].item()} in epoch {epoch + 1}, "
                f"batch {number + 1} (step {epoch * len(steps) + number + 1}); the last checkpoint is kept; "
                "try a smaller learning rate"
            )
        for optimiser in own:
            optimiser.zero_grad(set_to_none=True)
        terms["loss"].backward()
        if recipe.clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        for optimiser in own:
            optimiser.step()
        for name, value in terms.items():
            sums[name] += value.item()
    model.end_epoch()
    return {name: value / len(steps) for name, value in sums.items()}


def schedule_factor(recipe: TrainingRecipe, step: int, total: int) -> float:
    """Factor on the learning rate at a step: linear warm-up, then the recipe's schedule."""
    warm = recipe.warmup * total
    if step < warm:
        return (step + 1) / (warm + 1)
    share = (step - warm) / max(1, total - warm)
    if recipe.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * share))
    if recipe.schedule == "thirds":
        return 0.1 ** min(2, math.floor(3 * share))
    return 0.1 if recipe.schedule == "step" and share >= 0.5 else 1.0


def _optimisers(model: RetrievalModel) -> Optimisers:
    """Those of the system and, where it has one, that of its adversary.

    AdamW, without decay of biases, norms and scalars; Muon for the linear maps where the recipe says so.
    """
    recipe, adversary = model.recipe, {id(p) for p in model.adversary()}

    def adam(parameters: list[nn.Parameter], lr: float, betas: tuple[float, float], decay: float) -> torch.optim.AdamW:
        matrices, others = [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim <= 1]
        groups = [{"params": p, "weight_decay": d, "base_lr": lr} for p, d in ((matrices, decay), (others, 0.0))]
        return torch.optim.AdamW(groups, lr=lr, betas=betas, fused=True)

    own, taken = [], set(adversary)
    if isinstance(recipe, MuonRecipe):
        maps = [p for p in linear_maps(model) if id(p) not in taken]
        own.append(Muon([{"params": maps, "base_lr": recipe.muon_lr}], recipe.muon_lr, recipe.weight_decay))
        taken |= {id(p) for p in maps}
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in taken]
    own.append(adam(rest, recipe.lr, recipe.betas, recipe.weight_decay))
    if not adversary:
        return own, []
    return own, [adam([*model.adversary()], recipe.adversary_lr, recipe.adversary_betas, recipe.adversary_decay)]


def _checkpoint(model: RetrievalModel, optimisers: list, best: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """All that going on needs: the weights, the best weights, and the optimisers' moments."""
    weights = {f"model.{n}": t.numpy() for n, t in model.state_dict().items()}
    weights |= {f"best.{n}": t.numpy() for n, t in best.items()}
    for number, optimiser in enumerate(optimisers):
        for index, moments in optimiser.state_dict()["state"].items():
            weights |= {f"optimiser{number}.{index}.{name}": np.asarray(value) for name, value in moments.items()}
    return weights


def _resume(units: Units, model: RetrievalModel, optimisers: list) -> tuple[list[dict], dict[str, Tensor] | None]:
    """Restore a training that stopped; its log so far and its best weights, or nothing where there is none."""
    numbers = units.numbers()
    if not numbers:
        return [], None
    arrays, content = units.read(numbers[-1])
    parts = defaultdict(dict)
    for name, array in arrays.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = torch.from_numpy(array)
    model.load_state_dict(parts["model"])
    for number, optimiser in enumerate(optimisers):
        state = defaultdict(dict)
        for name, moment in parts[f"optimiser{number}"].items():
            index, kind = name.split(".")
            state[int(index)][kind] = moment
        optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    return content["log"], parts["best"]
