"""Golden cases of cost measurements: which rows there are, and all numbers in them that are no times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from fico_utils import registry
from fico_utils.costs.attention import Pairs, attention_rows
from fico_utils.costs.blocks import Stage
from fico_utils.costs.clock import Timing
from fico_utils.costs.encoding import encoding_rows
from fico_utils.costs.indexes import Settings
from fico_utils.costs.search import search_sweep
from fico_utils.costs.storage import code_bits, index_on_top, storage_rows, stored_sample
from fico_utils.golden import as_bytes, golden
from fico_utils.golden.models import tiny_inputs, tiny_model
from fico_utils.models import model_class
from fico_utils.models.training import Inputs

#: Quantities whose values are times, or depend on the machine.
MEASURED = ("seconds", "exponent", "peak_bytes")


def rows_as_arrays(rows: Iterable[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Rows of costs.csv by name, and the values of those that are the same on every machine."""
    names = ("system", "phase", "quantity", "scale_img", "scale_txt", "unit", "status")
    lines = sorted((" ".join(str(row[n]) for n in names), row["value"], row["quantity"]) for row in rows)
    fixed = [np.nan if value is None else value for _, value, q in lines if not q.startswith(MEASURED)]
    return {"rows": as_bytes(*(name for name, _, _ in lines)), "values": np.array(fixed, np.float64)}


def _with_five_captions(system: str) -> tuple[Any, Any, Any]:
    """A tiny model, and its inputs of images and of captions, five an image."""
    model, data = tiny_model(model_class(system)), tiny_inputs()
    order = np.arange(40) % len(data.caption_image)
    text = {name: array[order] for name, array in data.text.items()}
    data = Inputs(data.image, text, np.repeat(np.arange(8), 5), "golden")
    return model.eval(), data.image[model.image_input], data.text[model.text_input]


@golden("storage", 1e-4)
def storage() -> dict[str, np.ndarray]:
    """Bytes of one system of each way to be served."""
    rows = []
    for system in ("ucch", "scan", "beit3", "xvlm"):
        model, images, texts = _with_five_captions(system)
        sample = stored_sample(system, *registry.system(system).serving.encode(model, images[:4], texts[:20]))
        bits = code_bits(system, sample["img_emb"])
        on_top = tuple(index_on_top(sample[side], bits) for side in ("img_emb", "txt_emb"))
        rows += storage_rows(**sample, bits=bits, index=on_top, system=system)
    return rows_as_arrays(rows)


@golden("encoding_time", 1e-6)
def encoding_time() -> dict[str, np.ndarray]:
    """Rows of a pass over a stream, by an encoder that does next to nothing, with a size that is extrapolated."""

    def stream(start: int, stop: int) -> dict[str, Any]:
        pixels = np.arange(start, stop, dtype=np.float32)[:, None]
        return {"pixels": pixels, "captions": list(range(5 * start, 5 * stop))}

    see = Stage("backbone", {"image": ("pixels", lambda x: {"regions": 2 * x})}, makes=("regions",))
    read = Stage("tokens", {"text": ("captions", lambda c: {"tokens": np.array(c)[:, None]})}, makes=("tokens",))
    sides = {"image": ("regions", lambda x: iter([x])), "text": ("tokens", lambda x: iter([x]))}
    options = {"block": 3, "extrapolate_to": [100], "timing": Timing(repeats=1), "corpus": "golden"}
    return rows_as_arrays(encoding_rows(stream, [([see, read], [Stage("scan", sides)])], [4, 8], **options))


@golden("attention_time", 1e-6)
def attention_time() -> dict[str, np.ndarray]:
    """Rows of cross attention and of reranking."""
    rows, sizes = [], [(4, 20), (8, 40)]
    for system in ("scan", "xvlm"):
        model, images, texts = _with_five_captions(system)
        items = registry.system(system).serving.encode(model, images, texts)
        pairs = Pairs(system, model, lambda items=items: items, 2)
        options = {"timing": Timing(repeats=1), "extrapolate_to": [(100, 500)], "system": system}
        rows += attention_rows(pairs, sizes, **options)
    return rows_as_arrays(rows)


@golden("search_time", 1e-2)
def search_time() -> dict[str, np.ndarray]:
    """Rows of all indexes on synthetic vectors, recall included."""
    settings = Settings(bits=16, n_list=4, n_probe=2)
    options = {"ks": [1, 10], "settings": settings, "timing": Timing(repeats=1, threads=1)}
    return rows_as_arrays(search_sweep([(20, 200), (40, 400)], dim=32, n_train=300, **options))
