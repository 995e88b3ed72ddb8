"""Time to turn a collection of any size into embeddings, streamed in bounded memory (Table 5, left half).

One pass over unique scenes serves all systems: a block of scenes is drawn (outside the clock), its features are made
(phase ``features``), every system encodes them (phase ``encode``), and the block is dropped.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from fico_utils.costs.blocks import CAPTIONS, Block, Progress, Source, Stage, block_spans, walk_blocks
from fico_utils.costs.clock import Measurement, Timing, cost_row, kept_units, native_threads, recipe_of, wait_for_device
from fico_utils.costs.growth import Cell, Sweep, check_sizes
from fico_utils.costs.memory import PeakMemory
from fico_utils.errors import InputError

#: Raised when the meaning of what is measured here changes.
VERSIONS = {"encoding_time": 1}
#: The exponent of sizes that are not run: blocks follow each other, and none knows how many came before. The exponent
#: that is measured stands beside it, in its own row.
LINEAR = 1.0
#: Images of the untimed first run of a stage.
WARM_UP = 64
#: Systems that read the same features: (extractors, encoders).
Groups = Sequence[tuple[Sequence[Stage], Sequence[Stage]]]


def encoding_rows(
    source: Source,
    groups: Groups,
    sizes: Sequence[int],
    *,
    block: int = 1000,
    timing: Timing | None = None,
    limits: Mapping[str, float | None] | None = None,
    extrapolate_to: Sequence[int] = (),
    **columns: Any,
) -> list[dict[str, Any]]:
    """Rows of what encoding takes at each size, of all systems in one pass, the extractors apart.

    Phase ``encode``: ``seconds_image``, ``seconds_text``, ``seconds`` (their sum) and ``peak_bytes`` (most memory the
    process held during the pass), and the ``exponent`` of growth. Phase ``features``: ``seconds``.

    Parameters
    ----------
    source : see `blocks.Source`; its ``largest`` is how many scenes there are.
    groups : (extractors, encoders) that read the same features; an extractor that no encoder reads does not run, and of
        those with the same name the first that is read is timed.
    sizes, extrapolate_to : numbers of images, to run and to extrapolate to; with each go five captions an image.
    block : images held at once.
    timing : Timing. Every block is encoded again, as often as the whole size fits into the budget a stage and side.
        From two measured sizes on, a size whose fitted ``seconds`` exceed the limit is extrapolated and not run.
    limits : limits of single encoders, by name.
    **columns : of `cost_row`: corpus, and run, in whose store is kept what was measured, so that a call that was
        stopped goes on at the block where it was.

    Raises
    ------
    InputError
        Sizes below 1 or beyond the source, or fewer than two sizes to extrapolate from.
    """
    timing, source_size = timing or Timing(), getattr(source, "largest", None)
    check_sizes([(n, CAPTIONS * n) for n in sizes], [(n, CAPTIONS * n) for n in extrapolate_to])
    if source_size is not None and max(sizes) > source_size:
        raise InputError(f"{max(sizes)} images were asked for and {source_size} can be had; extrapolate to that size")
    limits = {e.name: timing.limit_s for _, encoders in groups for e in encoders} | dict(limits or {})
    stages = {stage.name: stage for extractors, encoders in groups for stage in (*extractors, *encoders)}
    sweeps = {name: Sweep(LINEAR) for name in stages}
    columns |= {"device": timing.device}
    for n in sorted(set(sizes)):
        beyond = {name for name, limit in limits.items() if sweeps[name].exceeds(n, limit)}
        running = [(extractors, [e for e in encoders if e.name not in beyond]) for extractors, encoders in groups]
        clocks = _measure_size(source, running, n, block, timing, columns)
        for name, sweep in sweeps.items():
            if name in clocks:
                sweep.cells.append(Cell((n, CAPTIONS * n), *clocks[name].result()))
            else:
                sweep.extrapolate((n, CAPTIONS * n))
    for n in sorted(set(extrapolate_to)):
        for sweep in sweeps.values():
            sweep.extrapolate((n, CAPTIONS * n))
    return [r for name, stage in stages.items() for r in _stage_rows(stage, sweeps[name], columns)]


def _measure_size(
    source: Source, groups: Groups, n: int, block: int, timing: Timing, columns: Mapping[str, Any]
) -> dict[str, _StageClock]:
    """The clocks of all stages after a pass over `n` images, by name."""
    spans, memory = block_spans([n], block), PeakMemory()
    clocks: dict[str, _StageClock] = {}
    timed = []
    for extractors, encoders in groups:
        wanted = set().union(*(e.reads for e in encoders))
        watching = []
        for stage in (*(x for x in extractors if wanted & set(x.makes)), *encoders):
            if stage.name not in clocks:
                about = {"stage": stage.name, "settings": dict(stage.settings), "images": n, "block": block}
                recipe = recipe_of("encoding_time", columns, about | {"timing": timing.described})
                name = f"{stage.name}__{columns.get('corpus', '')}__{n}"
                units = kept_units(columns, "encoding", name, recipe)
                clocks[stage.name] = _StageClock(stage, units, len(spans), timing, memory)
                watching.append(clocks[stage.name])
        timed.append((extractors, watching))
    with memory:
        walk_blocks(source, spans, timed)
    return clocks


class _StageClock:
    """Observes a stage at a size: for each side the seconds of every block, one a repeat."""

    def __init__(self, stage: Stage, units: Any, n_blocks: int, timing: Timing, memory: PeakMemory) -> None:
        self.stage, self.timing, self.memory, self.failed, self._warm = stage, timing, memory, False, set()
        self.budget_s = timing.budget_s and timing.budget_s / n_blocks
        self.progress = Progress(units)
        self.content = self.progress.content or {"peak_bytes": 0, "samples": {side: [] for side in stage.sides}}

    @property
    def done(self) -> int:
        """Blocks that are finished on every side."""
        return -1 if self.failed else self.progress.done

    def see(self, block: Block) -> None:
        """Do the stage's work on a block, against the clock; out of memory, the stage did not finish."""
        try:
            samples = {side: self._time_side(block, side) for side in self.stage.sides}
        except MemoryError:
            self.failed = True
            return
        for side, seconds in samples.items():
            self.content["samples"][side].append(seconds)
        self.progress.done += 1

    def _time_side(self, block: Block, side: str) -> list[float]:
        """Seconds of a block on one side, one a repeat; an extractor's features join the block."""
        reads, work = self.stage.sides[side]
        items = block[reads]
        if side not in self._warm:  # the first run of anything is slow: caches are cold, threads start
            _drain(work(items[:WARM_UP]))
            self._warm.add(side)
        samples: list[float] = []
        # a block runs again while the slowest run so far, times the number of runs, fits into its share of the budget
        while len(samples) < (self.timing.repeats if self._affords(samples) else 1):
            wait_for_device(self.timing.device)
            start = time.perf_counter()
            result = _drain(work(items))
            wait_for_device(self.timing.device)
            samples.append(time.perf_counter() - start)
        if self.stage.makes:
            block.hold(result)
        return samples

    def _affords(self, samples: Sequence[float]) -> bool:
        return self.budget_s is None or not samples or int(self.budget_s / max(samples)) > len(samples)

    def save(self) -> None:
        """Write what was measured so far."""
        if self.progress.grew:
            self.memory.look()
            self.content["peak_bytes"] = max(self.memory.peak_bytes, self.content["peak_bytes"])
            self.progress.save(self.content)

    def result(self) -> tuple[dict[str, Measurement], str]:
        """The measurements, and ``ok``, or ``dnf`` where memory ran out."""
        if self.failed:
            return {}, "dnf"
        totals, about = {}, {"threads": native_threads(), "device": self.timing.device}
        for side, blocks in self.content["samples"].items():
            repeats = min(map(len, blocks))
            totals[f"seconds_{side}"] = tuple(sum(block[j] for block in blocks) for j in range(repeats))
        totals["seconds"] = tuple(sum(each) for each in zip(*totals.values(), strict=False))
        peak = self.content["peak_bytes"]
        return {name: Measurement(samples, peak_bytes=peak, **about) for name, samples in totals.items()}, "ok"


def _drain(result: Any) -> Any:
    """An extractor's features as they are; an encoder's batches are made and dropped."""
    if isinstance(result, Mapping):
        return result
    for _ in result:
        pass
    return None


def _stage_rows(stage: Stage, sweep: Sweep, columns: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of one stage."""
    columns = {**columns, "system": stage.name}
    cells = [c for c in sweep.cells if c.status != "unavailable"]  # an extractor that nobody needed
    if stage.makes:  # an extractor reads one side: the other has no scale
        only_text = "text" in stage.sides
        cells = [Cell((0, c.size[1]) if only_text else (c.size[0], 0), c.costs, c.status) for c in cells]
        return [row for cell in cells for row in cell.rows("features", ("seconds",), **columns)]
    rows = []
    for cell in cells:
        rows += cell.rows("encode", ("seconds_image", "seconds_text", "seconds"), **columns)
        if cell.status == "ok":
            place = {"scale_img": cell.size[0], "scale_txt": cell.size[1], "unit": "B"}
            rows.append(cost_row("encode", "peak_bytes", cell.costs["seconds"].peak_bytes, **place, **columns))
    return [*rows, sweep.exponent_row("encode", **columns)] if len(sweep.measured()[0]) > 1 else rows
