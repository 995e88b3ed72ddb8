"""What a pretrained encoder stores of a corpus: embeddings streamed to disk, and scores where a cosine is not all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fico_utils import registry
from fico_utils.artifacts import Recipe
from fico_utils.data.corpus import Corpus
from fico_utils.errors import InputError
from fico_utils.extras.pretrained.base import Pretrained
from fico_utils.extras.pretrained.batches import Side
from fico_utils.extras.pretrained.encoders import load
from fico_utils.extras.pretrained.rows import configured_rows
from fico_utils.extras.pretrained.streaming import stream
from fico_utils.files import key_of
from fico_utils.models import encoding
from fico_utils.models.training import Inputs
from fico_utils.workspace import Run

#: MiB that a batch may take on a CPU, where nothing says how much is free for us.
CPU_MIB = 512
#: Largest batch, beyond which no device is faster: on a GPU, and on a CPU.
LARGEST, LARGEST_CPU = 512, 64


def batch_size(model: Pretrained, tower: str, memory_mib: int = 0) -> int:
    """Pictures or captions that fit into some memory at once, by what the widest layer holds of one.

    Parameters
    ----------
    tower : str, ``image`` or ``text``.
    memory_mib : int, MiB; 0 for half of what is free on a GPU, `CPU_MIB` on a CPU.
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


def embeddings(
    model: Pretrained,
    corpus: Corpus,
    path: str | Path,
    *,
    store: str = "",
    memory_mib: int = 0,
    workers: int = 2,
    progress: bool = True,
    label: str = "",
    header: Mapping[str, Any] | None = None,
) -> dict[str, np.ndarray]:
    """``img`` (n_img, d) and ``txt`` (n_txt, d), unit vectors, memory-mapped from `path`; a killed run goes on there.

    Of BLIP-2, ``img`` is (n_img, n_queries, d). Pictures come in the corpus's order, captions by length, so that little
    of a batch is padding.

    Parameters
    ----------
    store : str, float32 or float16; as the network computes, if empty.
    memory_mib : int, see `batch_size`.
    workers : int, threads that read and cut pictures while the batch before is encoded.
    header : mapping, of a store's artefact; by default it says the key, the corpus and the network.
    """
    inputs, store = model.inputs(corpus), store or _half(model)
    sides = {
        "img": picture_side(model, inputs, memory_mib=memory_mib),
        "txt": caption_side(model, inputs, memory_mib=memory_mib),
    }
    header = header or {
        "key": key_of(inputs.key, store), "corpus": corpus.name, "network": type(model.network).__name__
    }  # fmt: skip
    label = label or f"encoding {corpus.name}"
    return stream(path, sides, header, dtype=store, label=label, workers=workers, progress=progress)


def _half(model: Pretrained) -> str:
    return "float32" if model.dtype == torch.float32 else "float16"


def picture_side(model: Pretrained, inputs: Inputs, *, context: bool = False, memory_mib: int = 0) -> Side:
    """How `stream` makes the embeddings of pictures; or, if asked to, what the matching head reads of them."""
    pictures = inputs.image[model.image_input]
    return Side(
        len(pictures),
        lambda rows: torch.from_numpy(pictures[rows]),
        model.image_context if context else model.encode_image,
        batch_size(model, "image", memory_mib),
    )


def caption_side(model: Pretrained, inputs: Inputs, *, memory_mib: int = 0) -> Side:
    """How `stream` makes the embeddings of captions: the longest first, so that what is too large fails soon."""
    tokens = inputs.text[model.text_input]
    return Side(
        len(tokens),
        lambda rows: torch.from_numpy(tokens[rows]),
        model.encode_text,
        batch_size(model, "text", memory_mib),
        np.argsort(-(tokens != 0).sum(1), kind="stable"),
    )


def scores(
    model: Pretrained,
    corpus: Corpus,
    measure: str,
    embedded: dict[str, np.ndarray],
    path: str | Path,
    *,
    depth: int = 0,
    memory_mib: int = 0,
    workers: int = 2,
    progress: bool = True,
) -> dict[str, np.ndarray]:
    """``sim_i2t`` of ``late``; ``sim_i2t`` and ``sim_t2i`` of ``rerank``, as `encoding.rerank` returns them.

    Parameters
    ----------
    measure : str, ``late`` or ``rerank``.
    embedded : dict, from `embeddings`.
    path : where the vision tokens of all pictures are streamed to for a rerank, and deleted after it: they are
        thousands of times what an embedding is, and are read back as the pairs need them.
    depth : int, candidates that are read again with a query.
    """
    sim = encoding.late_scores(model, **{side: np.array(a, np.float32) for side, a in embedded.items()})
    if measure == "late":
        return {"sim_i2t": sim}
    if depth < 1:
        raise InputError(f"the depth of the rerank is {depth}; expected at least 1 candidate a query")
    inputs, path = model.inputs(corpus), Path(path)
    side = picture_side(model, inputs, context=True, memory_mib=memory_mib)
    mapped = stream(
        path,
        {"context": side},
        {"key": key_of(inputs.key, "context")},
        dtype=_half(model),
        label=f"vision tokens of {corpus.name}",
        workers=workers,
        progress=progress,
    )["context"]
    # copy on write: torch wants an array it may write to
    images = torch.from_numpy(np.memmap(path, mapped.dtype, "c", mapped.offset, mapped.shape))
    texts = torch.from_numpy(inputs.text[model.text_input])
    pairs = max(1, min(LARGEST, _memory(model, memory_mib) // (16 * images[0].numel())))
    found = encoding.rerank_contexts(model, images, texts, sim, depth, pairs, progress)
    path.unlink()
    return found


# --------------------------------------------------------------------------- rows of a configuration


def model_of(pretrained: Mapping[str, Mapping[str, Any]], system: str) -> Pretrained:
    """The encoder of a configured row, loaded once; rows that share weights share it.

    Raises
    ------
    InputError
        A row that is not configured, or whose measure its encoder cannot be compared by.
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
    """The run with one row more: a pretrained encoder, compared by cosine, or, of BLIP-2, by its best vector.

    Parameters
    ----------
    system : str, id of the row.
    path : str, folder or hub id of the checkpoint.
    name : str, as printed; by default the type of its architecture.
    """
    model = _loaded(path, "", "float32", "")
    given = {"path": path, "name": name or model.network.config.model_type.upper(), "measure": model.measures[0]}
    rows = {**run["pretrained"], system: given}
    registry.add_system(configured_rows(rows)[system])
    return replace(run, settings=run.settings | {"pretrained": rows})


@lru_cache(maxsize=1)
def _loaded(path: str, revision: str, dtype: str, device: str) -> Pretrained:
    return load(path, revision=revision, dtype=dtype, device=device)


class PretrainedRows:
    """What serves a row of a configuration: what it reads of a split, and what it stores.

    Parameters
    ----------
    run : Run
    system : str, id of the row.
    """

    def __init__(self, run: Run, system: str) -> None:
        self.run, self.row = run, registry.system(system)
        self.model = model_of(run["pretrained"], system)

    def inputs(self, part: Corpus) -> Inputs:
        """What the encoder reads of a split of a corpus."""
        return self.model.inputs(part)

    def embeddings(self, part: Corpus, split: str) -> dict[str, np.ndarray]:
        """What the row stores of a split of a corpus, below ``embeddings/``, as arguments of `comparable`."""
        run, row, model = self.run, self.row, self.model
        given = run["pretrained"][row.trained]
        dtype, memory = given.get("store", "") or _half(model), given.get("memory_mib", 0)
        recipe = Recipe("encoding", {"dtype": dtype}, 0, (model.inputs(part).key,))
        place = run.store.path("embeddings", f"{row.trained}__{part.name}__{split}", recipe)
        embedded = embeddings(
            model, part, place, store=dtype, memory_mib=memory, workers=run["threads"],
            label=f"{row.name} on {part.name}", header=run.store.header(recipe, None),
        )  # fmt: skip
        if row.measure == "cosine":
            return embedded
        depth = run["rerank_depth"] if row.measure == "rerank" else 0
        recipe = Recipe("encoding", {"measure": row.measure, "rerank_depth": depth}, 0, (model.key, part.key))

        def score() -> dict[str, np.ndarray]:
            context = place.with_suffix(".context.safetensors")
            given = {"depth": depth, "memory_mib": memory, "workers": run["threads"]}
            return scores(model, part, row.measure, embedded, context, **given)

        return run.store.arrays("embeddings", f"{row.id}__{part.name}__{split}__scores", recipe, score)
