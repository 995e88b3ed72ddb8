"""What a pretrained encoder stores of a corpus: embeddings in the store, and scores where a cosine is not all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from fico_utils import registry
from fico_utils.artifacts import Recipe, Store
from fico_utils.data.corpus import Corpus
from fico_utils.errors import InputError
from fico_utils.extras.pretrained.base import Pretrained
from fico_utils.extras.pretrained.batches import Effort, MappedUnits, Side, encode_units, gather_units
from fico_utils.extras.pretrained.encoders import load_encoder
from fico_utils.extras.pretrained.rows import configured_rows
from fico_utils.models import encoding
from fico_utils.models.training import Inputs
from fico_utils.workspace import Run

#: MiB that a batch may take on a CPU, where nothing says how much is free for us.
CPU_MIB = 512
#: Largest batch, beyond which no device is faster: on a GPU, and on a CPU.
LARGEST, LARGEST_CPU = 512, 64
#: Rows of a unit of vision tokens, which are thousands of times what an embedding is.
CONTEXT_UNIT = 64


def batch_size(model: Pretrained, tower: str, memory_mib: int = 0) -> int:
    """Pictures (`tower` is ``image``) or captions (``text``) that fit into memory, by what the widest layer holds.

    ``memory_mib`` is in MiB; 0 stands for half of what is free on a GPU, `CPU_MIB` on a CPU.
    """
    if memory_mib < 0:
        raise InputError(f"memory_mib is {memory_mib}; expected a number of MiB, or 0 for what the device has")
    if tower == "image":
        config = model.network.config.vision_config
        tokens = getattr(config, "num_patches", 0) or 1 + (config.image_size // config.patch_size) ** 2
    else:
        config, tokens = model.text_config, model.max_words
    held = tokens * (6 * config.hidden_size + 2 * config.intermediate_size)  # states, keys, values; the wide layer
    attention = tokens * tokens * config.num_attention_heads
    largest = LARGEST if model.device.type == "cuda" else LARGEST_CPU
    return max(1, min(largest, _memory(model, memory_mib) // (4 * (held + attention))))


def _memory(model: Pretrained, memory_mib: int) -> int:
    """Bytes that a batch may take."""
    if not memory_mib and model.device.type == "cuda":
        return torch.cuda.mem_get_info(model.device)[0] // 2
    return (memory_mib or CPU_MIB) << 20


def _half(model: Pretrained) -> str:
    return "float32" if model.dtype == torch.float32 else "float16"


def encoding_side(model: Pretrained, inputs: Inputs, tower: str, memory_mib: int = 0) -> Side:
    """How the embeddings of pictures (`tower` is ``image``) or captions (``text``) are made.

    The longest captions come first, so that what is too large fails soon.
    """
    if tower == "image":
        features, encode, order = inputs.image[model.image_input], model.encode_image, None
    else:
        features, encode = inputs.text[model.text_input], model.encode_text
        order = np.argsort(-(features != 0).sum(1), kind="stable")
    size = batch_size(model, tower, memory_mib)
    return Side(len(features), lambda rows: torch.from_numpy(features[rows]), encode, size, order)


def embed_inputs(
    model: Pretrained,
    inputs: Inputs,
    store: Store,
    name: str,
    *,
    dtype: str = "",
    unit: int = Side.unit,
    effort: Effort,
) -> dict[str, np.ndarray]:
    """``img`` (n_img, d) and ``txt`` (n_txt, d), unit vectors, from the store; a killed run goes on at its last unit.

    Of BLIP-2, ``img`` is (n_img, n_queries, d). They are stored as `dtype`, float32 or float16, or as the network
    computes if it is empty; `unit` is the rows of a unit.
    """
    dtype = dtype or _half(model)
    if dtype not in ("float16", "float32"):
        raise InputError(f"embeddings cannot be stored as {dtype!r}; expected one of float16, float32")
    recipe = Recipe("encoding", {"dtype": dtype}, 0, (inputs.key,))
    units = {kind: store.units("embeddings", f"{name}__{kind}", recipe) for kind in ("img", "txt")}

    def encode() -> dict[str, np.ndarray]:
        arrays = {}
        for kind, tower in (("img", "image"), ("txt", "text")):
            side = replace(encoding_side(model, inputs, tower, effort.memory_mib), unit=unit)
            encode_units(side, units[kind], dtype=dtype, label=f"{name}: {kind}", effort=effort)
            arrays[kind] = gather_units(side, units[kind])
        return arrays

    arrays = store.arrays("embeddings", name, recipe, encode)
    for finished in units.values():
        finished.remove()
    return arrays


def score_corpus(
    model: Pretrained,
    corpus: Corpus,
    measure: str,
    embedded: dict[str, np.ndarray],
    store: Store,
    name: str,
    *,
    effort: Effort,
    depth: int = 0,
) -> dict[str, np.ndarray]:
    """``sim_i2t`` of ``late``; ``sim_i2t`` and ``sim_t2i`` of ``rerank``, as `encoding.rerank` returns them; stored.

    `embedded` is what `embed_inputs` returned. With a query, `depth` candidates are read again; the vision tokens of
    all pictures go to the disk for that, and are deleted afterwards.
    """
    if measure == "rerank" and depth < 1:
        raise InputError(f"the depth of the rerank is {depth}; expected at least 1 candidate a query")
    settings = {"measure": measure, "rerank_depth": depth if measure == "rerank" else 0}
    inputs, dtype = model.inputs(corpus), _half(model)
    context = store.units("embeddings", f"{name}__context", Recipe("encoding", {"context": dtype}, 0, (inputs.key,)))

    def score() -> dict[str, np.ndarray]:
        sim = encoding.late_scores(model, **{side: np.array(a, np.float32) for side, a in embedded.items()})
        if measure == "late":
            return {"sim_i2t": sim}
        side = encoding_side(model, inputs, "image", effort.memory_mib)
        side = replace(side, encode=model.image_context, unit=CONTEXT_UNIT)
        encode_units(side, context, dtype=dtype, label=f"{name}: vision tokens", effort=effort)
        images, texts = MappedUnits(side, context), torch.from_numpy(inputs.text[model.text_input])
        pairs = max(1, min(LARGEST, _memory(model, effort.memory_mib) // (16 * images.parts[0][0].size)))
        return encoding.rerank_contexts(model, images, texts, sim, depth, pairs, effort.progress)

    scores = store.arrays("embeddings", name, Recipe("encoding", settings, 0, (model.key, corpus.key)), score)
    context.remove()
    return scores


def model_of(pretrained: Mapping[str, Mapping[str, Any]], system: str) -> Pretrained:
    """The encoder of a configured row, loaded once; rows that share weights share it.

    InputError where a row is not configured, or its encoder cannot be compared by its measure.
    """
    row = registry.system(system)
    if row.trained not in pretrained:
        raise InputError(f"system {system!r} is no pretrained one; expected one of {', '.join(pretrained) or 'none'}")
    given = pretrained[row.trained]
    model = _loaded(given["path"], given.get("revision", ""), given.get("dtype", "float32"), given.get("device", ""))
    if row.measure not in model.measures:
        raise InputError(
            f"system {system!r} has measure {row.measure}, and a {type(model.network).__name__} is compared by "
            f"{' or '.join(model.measures)}; set measure under pretrained"
        )
    return model


def add_checkpoint(run: Run, system: str, path: str, name: str = "") -> Run:
    """The run with a row `system` more: the encoder at `path` (folder or hub id), compared by its first measure.

    It is printed as `name`; by default as the type of its architecture.
    """
    model = _loaded(path, "", "float32", "")
    given = {"path": path, "name": name or model.network.config.model_type.upper(), "measure": model.measures[0]}
    rows = {**run["pretrained"], system: given}
    registry.add_system(configured_rows(rows)[system])
    return replace(run, settings=run.settings | {"pretrained": rows})


@lru_cache(maxsize=1)
def _loaded(path: str, revision: str, dtype: str, device: str) -> Pretrained:
    return load_encoder(path, revision=revision, dtype=dtype, device=device)


class PretrainedRows:
    """What serves a row of a configuration: what its encoder reads of a split (``inputs``), and what it stores."""

    def __init__(self, run: Run, system: str) -> None:
        self.run, self.row = run, registry.system(system)
        self.model = model_of(run["pretrained"], system)
        self.inputs = self.model.inputs

    def embeddings(self, part: Corpus, split: str) -> dict[str, np.ndarray]:
        """What the row stores of a split of a corpus, below ``embeddings/``, as arguments of `comparable`."""
        run, row = self.run, self.row
        given = run["pretrained"][row.trained]
        effort = Effort(given.get("memory_mib", 0), run["threads"])
        name, dtype = f"{row.trained}__{part.name}__{split}", given.get("store", "")
        embedded = embed_inputs(self.model, self.inputs(part), run.store, name, dtype=dtype, effort=effort)
        if row.measure == "cosine":
            return embedded
        name, depth = f"{row.id}__{part.name}__{split}__scores", run["rerank_depth"]
        return score_corpus(self.model, part, row.measure, embedded, run.store, name, depth=depth, effort=effort)
