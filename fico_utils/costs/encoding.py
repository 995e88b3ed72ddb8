"""Time to turn a collection of any size into embeddings, streamed in bounded memory (Table 5, left half).

One pass over unique scenes serves all systems: a block of scenes is drawn (outside the clock), its features are made
(phase ``features``), every system encodes them (phase ``encode``), and the block is dropped. What the paper did with
1 000 test images duplicated a thousand times is done with a million different ones, in the memory of one block.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fico_utils.costs.clock import Timing, native_threads, row, synchronise
from fico_utils.costs.codes import CodeFiles
from fico_utils.costs.growth import Cell, cell_rows, exponent_row, predictions
from fico_utils.costs.kept import Kept
from fico_utils.costs.memory import PeakMemory
from fico_utils.costs.stages import CAPTIONS, Stage
from fico_utils.errors import InputError
from fico_utils.workspace import key_of, source_key

VERSIONS = {"encoding_time": 1}
#: Seconds between two writings of the part files: what a killed run loses at most, and a block.
SAVE_EVERY_S = 5.0
#: The exponent of sizes that are not run: blocks follow each other, and none knows how many came before. The exponent
#: that is measured stands beside it, in its own row.
LINEAR = 1.0
#: Images of the untimed first run of a stage.
WARM_UP = 64


def encoding_rows(
    source: Callable[[int, int], dict[str, Any]],
    extractors: Sequence[Stage],
    encoders: Sequence[Stage],
    sizes: Sequence[int],
    *,
    block: int = 1000,
    limit_s: float | Mapping[str, float | None] | None = None,
    extrapolate_to: Sequence[int] = (),
    repeats: int = 5,
    budget_s: float | None = None,
    parts: Path | None = None,
    codes: Path | None = None,
    device: str = "cpu",
    corpus: str = "",
    **columns: Any,
) -> list[dict[str, Any]]:
    """Rows of what encoding takes at each size, of all systems in one pass, the extractors apart.

    Phase ``encode``: ``seconds_image``, ``seconds_text``, ``seconds`` (their sum) and ``peak_bytes`` (most memory the
    process held during the pass), and the ``exponent`` of growth. Phase ``features``: ``seconds``.

    Parameters
    ----------
    source : callable ``source(start, stop)`` giving ``pixels`` and ``captions`` of a block, five captions a scene,
        such as `Scenes`; its ``largest`` is how many scenes there are.
    extractors, encoders : lists of `Stage`; an extractor that no encoder reads does not run.
    sizes : numbers of images; with each go five captions an image.
    block : int, images held at once.
    limit_s : float or None, s, or a mapping from the encoders' names to it; from two measured sizes on, a size whose
        fitted ``seconds`` exceed it is not run for that system and has status ``extrapolated``.
    extrapolate_to : sizes that are only extrapolated.
    repeats, budget_s : every block is encoded again, at most `repeats` times, as often as the whole size then fits
        into `budget_s` seconds a stage and side; once in any case.
    parts : Path or None, folder of the part files: what was measured is kept there, and a call that was stopped goes
        on at the block where it was. None keeps nothing.
    codes : Path or None, folder for the packed codes of the hashing systems; None drops all embeddings.
    device, corpus, **columns : of `row`.

    Raises
    ------
    InputError
        Sizes, blocks, repeats, budgets or limits below what makes sense, a size beyond the source or the disk, fewer
        than two sizes to extrapolate from, or features that nobody makes.
    """
    limits = limit_s if isinstance(limit_s, Mapping) else {e.name: limit_s for e in encoders}
    _check(source, extractors, encoders, sizes, block, limits, extrapolate_to, repeats, budget_s)
    protocol = {"block": block, "repeats": repeats, "budget_s": budget_s, "device": device}
    cells: dict[str, list[Cell]] = {s.name: [] for s in (*extractors, *encoders)}
    for n in sorted(set(sizes)):
        running = [e for e in encoders if not _beyond(cells[e.name], n, limits[e.name])]
        read = {reads for e in running for reads, _ in e.sides.values()}
        stages = [*(x for x in extractors if read & set(x.makes)), *running]
        records = [_Record(s, n, parts, corpus, source, codes, protocol) for s in stages]
        _pass(source, n, records, **protocol)
        measured = {r.stage.name: Cell((n, CAPTIONS * n), *r.result()) for r in records}
        for name, done in cells.items():
            done.append(measured[name] if name in measured else _extrapolated(done, n))
    for n in sorted(set(extrapolate_to)):
        for done in cells.values():
            done.append(_extrapolated(done, n))
    columns |= {"device": device, "corpus": corpus}
    return [r for s in (*extractors, *encoders) for r in _rows(s, cells[s.name], columns)]


def _check(source, extractors, encoders, sizes, block, limits, extrapolate_to, repeats, budget_s) -> None:
    """Return if everything asked for can be done, before anything runs."""
    if not sizes or min((*sizes, *extrapolate_to)) < 1:
        raise InputError(f"sizes {[*sizes, *extrapolate_to]} were given; expected images, at least 1 each")
    largest = getattr(source, "largest", max(sizes))
    if max(sizes) > largest:
        raise InputError(f"{max(sizes)} images were asked for and {largest} can be had; extrapolate to that size")
    if extrapolate_to and len(set(sizes)) < 2:
        raise InputError(f"one size ({sizes[0]}) was given to extrapolate from; expected at least two different sizes")
    if block < 1 or repeats < 1:
        raise InputError(f"block={block} and repeats={repeats} were given; expected at least 1 of each")
    missing = [e.name for e in encoders if e.name not in limits]
    if missing:
        raise InputError(
            f"limits of {', '.join(limits)} were given; expected one for {missing[0]}, too, or one for all"
        )
    for what, value in (*(("limit", limits[e.name]) for e in encoders), ("budget", budget_s)):
        if value is not None and not value > 0:
            raise InputError(f"a {what} of {value} s was given; expected more than 0, or None for no limit")
    made = {"pixels", "captions"} | {name for x in extractors for name in x.makes}
    for stage in encoders:
        for reads, _ in stage.sides.values():
            if reads not in made:
                raise InputError(
                    f"{stage.name} reads {reads!r}, which nobody makes; add its extractor to {sorted(made)}"
                )


def _measured(cells: Sequence[Cell]) -> dict[str, tuple[list[int], list[float]]]:
    """Cost -> (sizes, seconds) of what was measured."""
    ok = [c for c in cells if c.status == "ok"]
    return {
        name: ([c.size[0] for c in ok], [c.costs[name].seconds for c in ok]) for name in (ok[0].costs if ok else ())
    }


def _beyond(cells: Sequence[Cell], n: int, limit_s: float | None) -> bool:
    """Whether the fit of at least two measured sizes puts size `n` above the limit."""
    measured = _measured(cells)
    enough = limit_s is not None and measured and len(measured["seconds"][0]) > 1
    return bool(enough) and predictions(measured, n, LINEAR)["seconds"].seconds > limit_s


def _extrapolated(cells: Sequence[Cell], n: int) -> Cell:
    """The cell of a size that was not run; without a value where fewer than two sizes finished."""
    measured = _measured(cells)
    if not measured or len(measured["seconds"][0]) < 2:
        return Cell((n, CAPTIONS * n), {}, "dnf" if any(c.status == "dnf" for c in cells) else "unavailable")
    return Cell((n, CAPTIONS * n), predictions(measured, n, LINEAR), "extrapolated")


def _rows(stage: Stage, cells: Sequence[Cell], columns: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of one stage."""
    columns = {**columns, "system": stage.name}
    cells = [c for c in cells if c.status != "unavailable"]  # an extractor that nobody needed
    if stage.makes:  # an extractor reads one side: the other has no scale
        only = "text" if "text" in stage.sides else "image"
        cells = [Cell((0, c.size[1]) if only == "text" else (c.size[0], 0), c.costs, c.status) for c in cells]
        return [r for c in cells for r in cell_rows(c, "features", ("seconds",), **columns)]
    rows = []
    for cell in cells:
        rows += cell_rows(cell, "encode", ("seconds_image", "seconds_text", "seconds"), **columns)
        if cell.status == "ok":
            place = {"scale_img": cell.size[0], "scale_txt": cell.size[1], "unit": "B"}
            rows.append(row("encode", "peak_bytes", cell.costs["seconds"].peak_bytes, **place, **columns))
    points = list(zip(*_measured(cells).get("seconds", ([], [])), strict=True))
    return [*rows, exponent_row(points, "encode", **columns)] if len(points) > 1 else rows


# ---------------------------------------------------------------------------------------------------- the pass


class _Record:
    """What was measured of a stage at a size: for each side the seconds of every block, one a repeat."""

    def __init__(self, stage, n, parts, corpus, source, codes, protocol) -> None:
        self.stage, self.failed, self.warm = stage, False, set()
        made_by = ("costs/encoding.py", "costs/stages.py")
        key = key_of(stage.key, n, protocol, native_threads(), getattr(source, "seed", None), source_key(*made_by))
        self.kept = Kept(parts and parts / f"{stage.name}__{corpus}__{n}.json", key)
        places = {side: f"{stage.name}__{corpus}__{n}__{side}.npy" for side in stage.sides}
        self.files = CodeFiles(codes, places) if codes and stage.codes else None
        if self.files is not None and self.done and not self.files.there(self.done * protocol["block"] >= n):
            self.kept.content = {}  # the codes are gone: encode again
        for side in stage.sides:
            self.kept.content.setdefault(side, [])

    @property
    def done(self) -> int:
        """Blocks that are finished on every side."""
        return min(len(self.kept.content.get(side, ())) for side in self.stage.sides)

    def result(self) -> tuple[dict[str, Timing], str]:
        """The timings, and ``ok``, or ``dnf`` where memory ran out."""
        if self.failed:
            return {}, "dnf"
        content, totals = self.kept.content, {}
        for side in self.stage.sides:
            times = min(map(len, content[side]))
            samples = tuple(sum(block[j] for block in content[side]) for j in range(times))
            totals[side] = Timing(samples, threads=native_threads(), peak_bytes=content.get("peak_bytes"))
        both = list(totals.values())
        named = {f"seconds_{side}": timing for side, timing in totals.items()}
        return {**named, "seconds": together(*both) if len(both) == 2 else both[0]}, "ok"


def together(first: Timing, second: Timing) -> Timing:
    """The `Timing` of both, one after the other: samples added pairwise."""
    peaks = [t.peak_bytes for t in (first, second) if t.peak_bytes is not None]
    extras = [t.extra_bytes for t in (first, second) if t.extra_bytes is not None]
    return Timing(
        samples=tuple(a + b for a, b in zip(first.samples, second.samples, strict=False)),
        warm=first.warm and second.warm,
        threads=max(first.threads, second.threads),
        device=first.device,
        peak_bytes=max(peaks, default=None),
        extra_bytes=max(extras, default=None),
    )


def _pass(source, n: int, records: Sequence[_Record], block: int, repeats: int, budget_s, device: str) -> None:
    """Stream `n` images past the stages, and keep their times, block by block."""
    blocks = -(-n // block)
    saved, memory = time.monotonic(), PeakMemory()
    first = min((r.done for r in records), default=blocks)
    if first == blocks:
        return
    try:
        with memory:
            for b in range(first, blocks):
                given = None  # the block before must not stand beside this one
                given = source(b * block, min(n, (b + 1) * block))
                for record in (r for r in records if not r.failed):
                    try:
                        _work(record, given, b, b * block, n, repeats, budget_s and budget_s / blocks, device)
                    except MemoryError:
                        record.failed = True
                if time.monotonic() - saved > SAVE_EVERY_S:
                    saved = time.monotonic()
                    _save(records, memory)
    finally:
        _save(records, memory)
    for record in records:
        if record.files is not None and not record.failed:
            record.files.finish()


def _save(records: Sequence[_Record], memory: PeakMemory) -> None:
    for record in records:
        content = record.kept.content
        content["peak_bytes"] = max(memory.peak_bytes, content.get("peak_bytes", 0))
        if record.files is not None:
            record.files.flush()
        record.kept.save()


def _work(record: _Record, given: dict, b: int, first: int, n: int, repeats: int, budget_s, device: str) -> None:
    """Let one stage do block `b`, timed where that is still to be measured; an extractor's features join `given`."""
    stage, content = record.stage, record.kept.content
    for side, (reads, work) in stage.sides.items():
        if reads not in given:
            raise MemoryError  # its extractor ran out of it
        items, pending = given[reads], len(content[side]) <= b
        if not pending and not stage.makes:
            continue
        if side not in record.warm:  # the first run of anything is slow: caches are cold, threads start
            _drain(work(items[:WARM_UP]), False)
            record.warm.add(side)
        samples: list[float] = []
        while not samples or (pending and len(samples) < _affordable(samples, repeats, budget_s)):
            synchronise(device)
            start = time.perf_counter()
            result = _drain(work(items), record.files is not None)
            synchronise(device)
            samples.append(time.perf_counter() - start)
        if stage.makes:
            given |= result
        elif record.files is not None:
            each = CAPTIONS if side == "text" else 1
            record.files.write(side, first * each, n * each, result)
        if pending:
            content[side].append(samples)


def _affordable(samples: Sequence[float], repeats: int, budget_s: float | None) -> int:
    """How often a block may run: the slowest run so far, times that, fits into its share of the budget."""
    return repeats if budget_s is None else min(repeats, int(budget_s / max(samples)))


def _drain(result: Any, keep: bool) -> Any:
    """An extractor's features as they are; an encoder's batches as one array where they are kept, else dropped."""
    if isinstance(result, dict):
        return result
    parts = [batch for batch in result if keep]
    return np.concatenate(parts) if keep else None
