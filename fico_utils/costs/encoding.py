"""Time to turn a collection of any size into embeddings, streamed in bounded memory (Table 5, left half).

One pass over unique scenes serves all systems: a block of scenes is drawn (outside the clock), its features are made
(phase ``features``), every system encodes them (phase ``encode``), and the block is dropped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from fico_utils.costs.blocks import CAPTIONS, Block, Observer, Source, Stage, block_spans, walk_blocks
from fico_utils.costs.clock import Measurement, PeakMemory, Timing, measure_time, native_threads
from fico_utils.costs.rows import Size, Sweep, exponent_row, kept_units, recipe_of, sweep_sizes
from fico_utils.errors import InputError

#: Raised when the meaning of what is measured here changes.
VERSIONS = {"encoding_time": 1}
#: The exponent of sizes that are not run: blocks follow each other, and none knows how many came before. The exponent
#: that is measured stands beside it, in its own row.
LINEAR = 1.0
#: Images of the untimed first run of a stage.
WARM_UP = 64
#: What is measured of an encoder.
QUANTITIES = ("seconds_image", "seconds_text", "seconds")
#: Blocks that a stage has done which ran out of memory: it sees none from then on.
FAILED = -1
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
    groups : an extractor that no encoder reads does not run, and of those with one name the first is timed.
    sizes, extrapolate_to : numbers of images, with five captions each; InputError for sizes below 1 or beyond the
        source, or fewer than two to extrapolate from.
    block : images held at once.
    timing : every block is encoded again, as often as the whole size fits into the budget a stage and side. From two
        measured sizes on, a size whose fitted ``seconds`` exceed the limit is extrapolated and not run.
    limits : limits of single encoders, by name.
    **columns : of `cost_row`: corpus, and run, by whose store a stopped call goes on at the block where it was.
    """
    timing, largest = timing or Timing(), getattr(source, "largest", None)
    if largest is not None and max(sizes, default=0) > largest:
        raise InputError(f"{max(sizes)} images were asked for and {largest} can be had; extrapolate to that size")
    columns, limits = {**columns, "device": timing.device}, limits or {}
    sweeps: dict[str, Sweep] = {}
    for extractors, encoders in groups:
        for stage in (*extractors, *encoders):
            about = {**columns, "system": stage.name}
            if stage.makes:
                sweeps[stage.name] = Sweep("features", ("seconds",), about, exponent=LINEAR, sides=stage.sides)
            else:
                limit_s = limits.get(stage.name, timing.limit_s)
                sweeps[stage.name] = Sweep("encode", QUANTITIES, about, limit_s, LINEAR, has_peak=True)
    run, beyond = ([(n, CAPTIONS * n) for n in numbers] for numbers in (sizes, extrapolate_to))
    sweep_sizes(sweeps, run, partial(_measure_size, source, groups, block, timing, columns), beyond)
    rows = []
    for sweep in sweeps.values():
        rows += sweep.rows
        if sweep.phase == "encode" and len(sweep.measured()[0]) > 1:
            rows.append(exponent_row(*sweep.measured(), "encode", **sweep.columns))
    return rows


def _measure_size(
    source: Source,
    groups: Groups,
    block: int,
    timing: Timing,
    columns: Mapping[str, Any],
    size: Size,
    names: Sequence[str],
) -> dict[str, dict[str, Measurement]]:
    """Measurements of the named encoders and of what they read in one pass; none of one where memory ran out."""
    n, spans, memory = size[0], block_spans([size[0]], block), PeakMemory()
    clocks: dict[str, _StageClock] = {}
    observed = []
    for extractors, encoders in groups:
        running = [e for e in encoders if e.name in names]
        read = set().union(*(e.reads for e in running))
        observers = []
        for stage in (*(x for x in extractors if read & set(x.makes)), *running):
            if stage.name not in clocks:
                about = {"stage": stage.name, "settings": dict(stage.settings), "images": n, "block": block}
                recipe = recipe_of("encoding_time", columns, about | {"timing": timing.described})
                name = f"{stage.name}__{columns.get('corpus', '')}__{n}"
                units = kept_units(columns, "encoding", name, recipe)
                clocks[stage.name] = _StageClock(stage, units, len(spans), timing, memory)
                observers.append(clocks[stage.name])
        observed.append((extractors, observers))
    with memory:
        walk_blocks(source, spans, observed)
    return {name: clock.result() for name, clock in clocks.items()}


class _StageClock(Observer):
    """The seconds that a stage takes for every block on each side, one a repeat."""

    def __init__(self, stage: Stage, units: Any, n_blocks: int, timing: Timing, memory: PeakMemory) -> None:
        super().__init__(units)
        self.stage, self.memory, self._warm = stage, memory, set()
        self.timing = replace(timing, warmup=0, budget_s=timing.budget_s and timing.budget_s / n_blocks)
        self.content = self.content or {"peak_bytes": 0, "samples": {side: [] for side in stage.sides}}

    def see(self, block: Block) -> None:
        """Do the stage's work on a block, against the clock; out of memory, the stage did not finish."""
        try:
            samples = {side: self._time_side(block, side) for side in self.stage.sides}
        except MemoryError:
            self.save()
            self.done = FAILED
            return
        for side, seconds in samples.items():
            self.content["samples"][side].append(seconds)
        self.done += 1

    def _time_side(self, block: Block, side: str) -> list[float]:
        """Seconds of a block on one side, one a repeat; an extractor's features join the block."""
        reads, work = self.stage.sides[side]
        items = block[reads]

        def run(items: Any = items) -> Any:  # an encoder's batches are made and dropped
            return work(items) if self.stage.makes else deque(work(items), maxlen=0)

        if side not in self._warm:  # the first run of anything is slow: caches are cold, threads start
            run(items[:WARM_UP])
            self._warm.add(side)
        measured = measure_time(run, self.timing)
        if self.stage.makes:
            block.hold(measured.result)
        return list(measured.samples)

    def known(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The samples of all blocks so far, and the peak of the memory."""
        self.memory.look()
        self.content["peak_bytes"] = max(self.memory.peak_bytes, self.content["peak_bytes"])
        return self.content, {}

    def result(self) -> dict[str, Measurement]:
        """The measurements; none where memory ran out."""
        if self.done == FAILED:
            return {}
        totals, about = {}, {"threads": native_threads(), "device": self.timing.device}
        for side, blocks in self.content["samples"].items():
            repeats = min(map(len, blocks))
            totals[f"seconds_{side}"] = tuple(sum(block[j] for block in blocks) for j in range(repeats))
        totals["seconds"] = tuple(sum(each) for each in zip(*totals.values(), strict=False))
        peak = self.content["peak_bytes"]
        return {name: Measurement(samples, peak_bytes=peak, **about) for name, samples in totals.items()}
