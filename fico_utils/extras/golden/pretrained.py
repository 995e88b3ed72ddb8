"""Golden case of the example of a pretrained encoder, which notebook 07 trains."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from fico_utils.golden import golden


@golden("example_clip", 2e-2)
def example_clip() -> dict[str, np.ndarray]:
    """Projections of a small CLIP after one step on six drawn pictures."""
    from safetensors.numpy import load_file

    from fico_utils.data.pictoscenes import make_corpus
    from fico_utils.extras.pretrained.example_clip import save_example

    with tempfile.TemporaryDirectory() as folder:
        corpus = make_corpus("picto_people", {"train": 6}).subset("train")
        arrays = load_file(save_example(Path(folder) / "clip", corpus, seed=0, epochs=1) / "model.safetensors")
    return {name: array[:8] for name, array in arrays.items() if name.endswith("projection.weight")}
