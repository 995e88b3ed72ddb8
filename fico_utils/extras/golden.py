"""Golden cases of extras: growing galleries, ways to search one collection, and the example of a pretrained encoder."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from fico_utils import registry
from fico_utils.costs.blocks import Stage
from fico_utils.costs.clock import Timing
from fico_utils.costs.indexes import Settings
from fico_utils.data.pictoscenes import make_corpus
from fico_utils.golden import golden
from fico_utils.golden.costs import rows_as_arrays


@golden("gallery", 1e-4)
def gallery() -> dict[str, np.ndarray]:
    """Recall and average precision in a growing gallery of drawn scenes, and the perfect retriever's."""
    from fico_utils.extras.galleries.growing import Growing, gallery_rows
    from fico_utils.extras.galleries.truth import Ceiling, Truth

    rng = np.random.default_rng(0)
    pixels = rng.integers(-3, 4, (12, 8)).astype(np.float32)
    captions = pixels.repeat(5, 0) + rng.integers(-3, 4, (60, 8)).astype(np.float32)

    def source(start: int, stop: int) -> dict[str, Any]:
        return {"pixels": pixels[start:stop], "captions": captions[5 * start : 5 * stop]}

    see = Stage("backbone", {"image": ("pixels", lambda x: {"regions": x})}, makes=("regions",))
    read = Stage("tokens", {"text": ("captions", lambda x: {"tokens": x})}, makes=("tokens",))
    sides = {"image": ("regions", lambda x: iter([x])), "text": ("tokens", lambda x: iter([x]))}
    truth = Truth("picto_people")
    serving = registry.system("beit3").serving
    growing = {"beit3": Growing(3, lambda images, texts: serving.compare(None, images, texts), truth)}
    groups = [([see, read], [Stage("beit3", sides)])]
    return rows_as_arrays(gallery_rows(source, groups, growing, truth, [6, 12], ceiling=Ceiling(3, truth), block=4))


@golden("deployment", 1e-2)
def deployment() -> dict[str, np.ndarray]:
    """Ways to search one collection: vectors, codes, and a screen of both."""
    from fico_utils.extras.galleries.setups import Searchable, setup_rows

    rng = np.random.default_rng(0)
    items = rng.standard_normal((120, 16)).astype(np.float32)
    asked = items[:30] + 0.5 * rng.standard_normal((30, 16)).astype(np.float32)
    codes = Searchable.of_arrays(*(np.packbits(x > 0, axis=1) for x in (items, asked)))
    dense, settings = Searchable.of_arrays(items, asked), Settings(bits=16, n_list=4, n_probe=2)
    options = {"depths": (20,), "settings": settings, "timing": Timing(repeats=1, threads=1)}
    return rows_as_arrays(
        setup_rows([60, 120], np.arange(30), dense={"beit3": dense}, codes={"ucch": codes}, **options)
    )


@golden("example_clip", 2e-2)
def example_clip() -> dict[str, np.ndarray]:
    """Projections of a small CLIP after one step on six drawn pictures."""
    from fico_utils.extras.pretrained.example_clip import save_example

    with tempfile.TemporaryDirectory() as folder:
        corpus = make_corpus("picto_people", {"train": 6}).subset("train")
        saved = save_example(Path(folder) / "clip", corpus, seed=0, epochs=1)
        arrays = load_file(saved / "model.safetensors")
    return {name: array[:8] for name, array in arrays.items() if name.endswith("projection.weight")}
