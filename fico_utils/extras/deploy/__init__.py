"""Whether to search one's own embeddings as they are or as codes, and in which index: measured, and carried on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from fico_utils.errors import InputError
from fico_utils.extras.deploy.deployment import Deployment
from fico_utils.extras.deploy.inputs import LEAST_TO_GROW, read_asked
from fico_utils.extras.deploy.lance import require_lancedb
from fico_utils.extras.deploy.records import Records
from fico_utils.extras.deploy.result import QUALITY, check_budget
from fico_utils.extras.deploy.sweep import Sweep
from fico_utils.extras.deploy.timing import twice_timed

__all__ = ["Deployment", "deploy"]

#: Queries that are asked, at most.
N_QUERY = 2000
#: Keywords of `evaluate` that say which caption belongs to which image.
NAMED = ("image_ids", "caption_image_ids", "caption_ids", "images_repeated", "relevance", "text_labels")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kKmMgGbB]?)")


def deploy(
    images: Any,
    texts: Any,
    *,
    caption_image: Any = None,
    labels: Any = None,
    codes: Any = None,
    direction: str = "t2i",
    memory_gib: float | None = None,
    latency_ms: float | None = None,
    grow_to: str | int | Iterable[int] = (),
    lance: bool = False,
    quick: bool = False,
    seed: int = 0,
    out: str | Path | None = None,
    **named: Any,
) -> Deployment:
    """Which index to deploy for one's own embeddings, float or codes, and what each loses of exhaustive float search.

    Parameters
    ----------
    images, texts : ndarray (n_img, d), (n_txt, d), compared by their cosine. A memory map is read in place.
    caption_image, labels : as in `fico_utils.evaluate`; images without a caption stand in the gallery alone.
    codes : pair of ndarray, one's own codes of images and texts: bits (n, bits) or packed uint8 (n, bits / 8).
    direction : "t2i", where texts ask and images are the gallery, or "i2t".
    memory_gib, latency_ms : budget for the whole index, and for one query on one thread; None is no limit.
    grow_to : sizes of the gallery to come, such as ``[10_000_000]`` or ``"10M,100M"``.
    lance : bool, measure tables of LanceDB on disk, too; needs the package lancedb (extra `lance`).
    quick : bool, fewer candidates and repeats.
    seed : int, of the sampled queries, the galleries and what is trained.
    out : path of a folder
        For table.csv, answer.md, and figure.png, figure.svg and figure.html. Each measurement is kept there, so that a
        run that was interrupted goes on.
    **named : keywords of `evaluate` that say what belongs together
        These are image_ids, caption_image_ids, caption_ids, images_repeated, relevance and text_labels.

    Returns
    -------
    Deployment
        ``.table`` has a row a candidate and size: name; factory; items; bytes_per_item and memory_bytes (of the index
        as it is written, and of stored vectors); build_s (s); query_ms (one query at a time, one thread) and
        query_ms_all_threads; batch_ms (100 at once, all threads) and batch_ms_one_thread; neighbour_recall@k (one of
        the k found scores as high as the exact best); recall@k of the right item and map@10 of the category (with
        labels), each with a 95 % interval (``_ci_low``, ``_ci_high``); share_of_exact, the share of the exhaustive
        search's recall@1; and status, ``measured`` or ``extrapolated``; search, the parameters of a search. Times
        are at one state of the machine (`extras.deploy.timing`). What the answer names is timed again at the end, and
        has the interval of 95 % of the rounds, ``_low`` and ``_high``; extrapolated times have one, too.
        ``.best(memory_gib, latency_ms, items)`` is the row to deploy, ``.answer`` says it in words, ``.figure()``
        draws it.

    Input that has no meaning is an InputError of one sentence.
    """
    for name in sorted(set(named) - set(NAMED)):
        raise TypeError(f"deploy() got an unexpected keyword argument {name!r}")
    if lance:
        require_lancedb()
    budget = {"memory_gib": memory_gib, "latency_ms": latency_ms}
    budget = {name: value if value is None else check_budget(name, value) for name, value in budget.items()}
    given = {"images": images, "texts": texts, "caption_image": caption_image, "labels": labels, **named}
    sizes, asked = read_sizes(grow_to), read_asked(given, codes, direction, seed, N_QUERY)
    if sizes and sizes[0] < asked.n_items:
        raise InputError(f"grow_to is {sizes[0]:,}, below the {asked.n_items:,} items that are given: name larger ones")
    if sizes and asked.n_items < LEAST_TO_GROW:
        raise InputError(f"grow_to is given with {asked.n_items} items, expected at least {LEAST_TO_GROW} to grow from")
    records = Records(out, {"inputs": asked.key, "direction": direction, "seed": seed, "quick": quick})
    sweep, again = Sweep(asked, records, quick, bool(sizes), lance), {}
    shape = asked.n_items, asked.dim, len(asked.queries)
    chance = float(asked.task.correct.sizes.mean() / asked.n_items)
    found = Deployment(sweep.measured, *shape, direction, quick, chance, sizes, **budget)
    sure = {row["name"] for row in sweep.measured if row["items"] == asked.n_items and "query_ms_low" in row}
    while names := found.named() - sure - again.keys():  # a time that is known better may change what is best
        again |= sweep.timed_again(names)
        rows = [twice_timed(row, again.get(row["name"]), asked.n_items) for row in sweep.measured]
        found = replace(found, records=rows)
    if out is not None:
        records.write_answer(found, QUALITY)
    return found


def read_sizes(grow_to: Any) -> tuple[int, ...]:
    """Sizes, ascending, from numbers or from text such as ``10M,100M``; InputError where one is none.

    >>> read_sizes("10M, 2.5k"), read_sizes(5000)
    ((2500, 10000000), (5000,))
    """
    parts = grow_to.split(",") if isinstance(grow_to, str) else grow_to if isinstance(grow_to, Iterable) else [grow_to]
    sizes = set()
    for part in parts:
        match = _SIZE.fullmatch(str(part).strip())
        size = match and float(match[1]) * 1000 ** {"": 0, "k": 1, "m": 2, "g": 3, "b": 3}[match[2].lower()]
        if not match or not 1 <= size <= 1e12:
            raise InputError(f"grow_to has {str(part)!r}, expected numbers of items such as 10M,100M")
        sizes.add(round(size))
    return tuple(sorted(sizes))
