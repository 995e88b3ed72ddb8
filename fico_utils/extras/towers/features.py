"""Features of a corpus in files by pretrained towers: a grid of cells and a pooled vector, states of tokens.

Who may see what differs, as in the paper. Vision-language rows read the whole width of the cells, and states of a text
tower where the run says so; SCAN, VSRN, IMRAM and ADV read the cells reduced to `REDUCED` numbers by principal
components of the training pictures, the hashing rows the pooled vector; and these learn words from the corpus alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModel

from fico_utils.artifacts import Recipe
from fico_utils.data.corpus import Corpus
from fico_utils.errors import InputError
from fico_utils.experiment.corpora import part
from fico_utils.extras.pretrained.base import Pictures, Preparation, corpus_pictures
from fico_utils.extras.pretrained.files import files_key, load_network, load_processor, load_tokenizer, read_config
from fico_utils.extras.towers.fetching import PACKAGES, TOWERS
from fico_utils.extras.towers.lite import EfficientNetLite
from fico_utils.files import key_of
from fico_utils.models.encoding import side_by_side
from fico_utils.producers import version_of
from fico_utils.progress import show_progress
from fico_utils.provenance import PROJECT
from fico_utils.workspace import Run

VERSIONS = {"tower_pictures": 1, "tower_regions": 1, "tower_words": 1}
#: Cells a side of the grid, numbers of a cell once it is reduced, texts that are encoded at once.
SIDE, REDUCED, BATCH = 6, 256, 32
#: Pictures that a thread encodes at once: what a convolution writes of more does not stay in the cache.
SEEN = 2
#: Tokens that are read of a text at most, specials included: as many as our own vocabulary gives.
LONGEST = 40


class Towers:
    """The two towers of a run, which its parameter ``towers`` names: of `fetch`, or folders of transformers models.

    InputError, when something is asked of a tower that is not there, or whose files are not whole.
    """

    def __init__(self, run: Run) -> None:
        self.run = run

    def folder(self, side: str) -> Path:
        """The folder of the tower ``vision`` or ``text``."""
        name = self.run["towers"][side]
        fetched = name in {package.tower for package in PACKAGES}
        place = PROJECT / self.run["data_dir"] / TOWERS / name if fetched else PROJECT / Path(name).expanduser()
        if not place.is_dir():
            then = "get it with `python -m fico_utils fetch towers`" if fetched else "expected a folder of transformers"
            raise InputError(f"the {side} tower {name} is not here: there is no folder {place}; {then}")
        return place

    def key(self, side: str) -> str:
        """Key of all that is read through a tower: the content of its files, and the versions of what is made of it."""
        return key_of(files_key(self.folder(side)), *map(version_of, VERSIONS))

    def width(self, side: str) -> int:
        """Numbers of a cell, or of a token."""
        config = read_config(self.folder(side))
        widths = [config[n] for n in ("hidden_dim", "hidden_size") if n in config] or config.get("hidden_sizes", [])
        if not widths:
            raise InputError(f"{self.folder(side)} does not say how wide its states are; expected another tower")
        return int(widths[-1])

    def visual_sizes(self, kind: str) -> dict[str, int]:
        """How wide the image features of a kind are, by the names that configurations of models give them."""
        width = self.width("vision")
        cells = width if kind == "patches" else min(REDUCED, width)
        return {"d_region": cells, "d_patch": cells, "d_global": width}

    def pictures(self, name: str, split: str) -> dict[str, np.ndarray]:
        """What the vision tower sees of a split: ``patches`` (n_img, 36, D) and ``global`` (n_img, D), float16."""
        shown = part(self.run, name, split)
        recipe = self._pictures_recipe(shown)

        def see() -> dict[str, np.ndarray]:
            network, preparation = load_vision(self.folder("vision"))
            return see_pictures(network, corpus_pictures(shown, preparation))

        return self.run.store.arrays("features", f"{name}__{split}__tower", recipe, see)

    def regions(self, name: str, split: str) -> dict[str, np.ndarray]:
        """The cells of a split in fewer numbers, ``regions`` (n_img, 36, `REDUCED`), and ``global``, float16."""
        shown, learned = (self._pictures_recipe(part(self.run, name, s)).key for s in (split, "train"))

        def reduce() -> dict[str, np.ndarray]:
            axes, seen = fit_reduction(self.pictures(name, "train")["patches"]), self.pictures(name, split)
            return {"regions": reduce_cells(seen["patches"], *axes), "global": seen["global"]}

        recipe = Recipe("tower_regions", {"width": REDUCED}, 0, (shown, learned))
        return self.run.store.arrays("features", f"{name}__{split}__tower_regions", recipe, reduce)

    def words(self, name: str, split: str) -> np.ndarray:
        """What the text tower makes of the captions of a split: (n_txt, L, D) float16, see `read_words`."""
        read = part(self.run, name, split)

        recipe = Recipe("tower_words", {"longest": LONGEST}, 0, (read.key, files_key(self.folder("text"))))
        encode = lambda: {"words": self.read_captions(read.captions)}  # noqa: E731
        return self.run.store.arrays("features", f"{name}__{split}__tower_words", recipe, encode)["words"]

    def read_captions(self, captions: Sequence[str]) -> np.ndarray:
        """What the text tower makes of any captions: (n, L, D) float16, see `read_words`."""
        return read_words(*self._reader, captions)

    @cached_property
    def _reader(self) -> tuple[nn.Module, Any]:
        """The network of the text tower, and its tokenizer."""
        folder = self.folder("text")
        return load_network(AutoModel, folder, torch.float32), load_tokenizer(folder)

    def _pictures_recipe(self, shown: Corpus) -> Recipe:
        return Recipe(
            "tower_pictures", {"side": SIDE}, 0, (shown.key, shown.images.key, files_key(self.folder("vision")))
        )


def load_vision(folder: Path) -> tuple[nn.Module, Preparation]:
    """The network of a vision tower, and how its pictures are prepared; InputError where its files are not whole."""
    lite = read_config(folder).get("architectures") == [EfficientNetLite.__name__]
    network = load_network(EfficientNetLite if lite else AutoModel, folder, torch.float32)
    return network, Preparation(load_processor(folder))


@torch.inference_mode()
def see_pictures(network: nn.Module, pictures: Pictures) -> dict[str, np.ndarray]:
    """``patches`` (n_img, 36, D) and their mean before they became so few, ``global`` (n_img, D), float16.

    A picture stands whole on a white square.
    """
    from PIL import ImageOps

    preparation, network = pictures.preparation, network.to(memory_format=torch.channels_last)

    def see(start: int) -> tuple[np.ndarray, np.ndarray]:
        originals = pictures.read(np.arange(start, min(start + SEEN, len(pictures))))
        squares = [ImageOps.pad(p, (max(p.size),) * 2, color="white") for p in originals]
        pixels = preparation.pixels(torch.from_numpy(preparation.cut(squares)))
        grid = _as_map(network(**pixels).last_hidden_state)
        cells = F.adaptive_avg_pool2d(grid, SIDE).flatten(2).transpose(1, 2).contiguous()
        return cells.half().numpy(), grid.mean((2, 3)).half().numpy()

    starts = range(0, len(pictures), SEEN)
    seen = show_progress(side_by_side(see, starts), "seeing pictures", len(starts), unit="batch")
    cells, pooled = map(np.concatenate, zip(*seen, strict=True))
    return {"patches": cells, "global": pooled}


def _as_map(states: Tensor) -> Tensor:
    """A map (B, D, h, w) of what a vision tower gives: it has one, or tokens (B, T, D) whose last are a square."""
    if states.ndim == 4:
        return states
    side = int(states.shape[1] ** 0.5)
    return states[:, -side * side :].transpose(1, 2).unflatten(2, (side, side))


def fit_reduction(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and the first principal axes (D, at most `REDUCED`) of cells (n, R, D), float32."""
    rows = cells.reshape(-1, cells.shape[-1])
    mean = rows.mean(0, dtype=np.float64)
    spread = np.zeros((len(mean), len(mean)))
    for start in range(0, len(rows), 4096):
        block = rows[start : start + 4096] - mean
        spread += block.T @ block
    axes = np.linalg.eigh(spread)[1][:, ::-1][:, :REDUCED]
    axes = axes * np.where(axes[np.abs(axes).argmax(0), range(axes.shape[1])] < 0, -1, 1)  # a sign is not determined
    return mean.astype(np.float32), axes.astype(np.float32)


def reduce_cells(cells: np.ndarray, mean: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Cells (n, R, D) by the axes of `fit_reduction`: (n, R, axes) float16."""
    blocks = [(cells[i : i + BATCH] - mean) @ axes for i in range(0, len(cells), BATCH)]
    return np.concatenate(blocks).astype(np.float16)


@torch.inference_mode()
def read_words(network: nn.Module, tokenizer: Any, captions: Sequence[str]) -> np.ndarray:
    """The sentence vector of each caption and the states of its tokens, zero where padded: (n, 1 + L, D) float16.

    The sentence vector is the mean over the states, as sentence-transformers takes it.
    """
    order = np.argsort([len(caption) for caption in captions], kind="stable")
    made, longest = {}, 0
    for start in show_progress(range(0, len(order), BATCH), "reading captions", unit="batch"):
        rows = order[start : start + BATCH]
        given = [captions[row] for row in rows]
        read = tokenizer(given, truncation=True, max_length=LONGEST - 1, padding=True, return_tensors="pt")
        mask = read["attention_mask"][..., None]
        states = network(**read).last_hidden_state * mask
        both = torch.cat([states.sum(1, keepdim=True) / mask.sum(1, keepdim=True), states], 1).half().numpy()
        made |= dict(zip(rows.tolist(), both, strict=True))
        longest = max(longest, both.shape[1])
    out = np.zeros((len(captions), longest, both.shape[2]), np.float16)
    for row, states in made.items():
        out[row, : len(states)] = states
    return out
