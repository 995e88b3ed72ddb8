"""How long a query takes: rounds in which several ways to search take turns, each run beside a reference search.

Processors share their speed with what else runs on them and on their neighbours. So a short search of fixed vectors,
the reference, is timed before and after each run, and the run counts in multiples of it. `at_one_state` turns these
multiples into milliseconds at one state of the machine: the one in which the reference takes its median time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from fico_utils.costs.clock import Timing, measure_time
from fico_utils.costs.indexes import faiss_threads

#: Queries of a batch; vectors of the reference, of 256 dimensions, and how many queries it is asked, one at a time.
BATCH, REFERENCE, ASKED = 100, 1000, 20
#: Columns of the times, and the threads that they are of; None is all.
THREADS = {"query_ms": 1, "query_ms_all_threads": None, "batch_ms": None, "batch_ms_one_thread": 1}
#: Queries (n, d) float32 and their codes or None -> scores (n, k) float32, larger is closer, and ids (n, k).
Search = Callable[[np.ndarray, "np.ndarray | None"], tuple[np.ndarray, np.ndarray]]


class Rounds(NamedTuple):
    """How often each way is timed: rounds at most, and about how many seconds each column may take, if any."""

    n: int
    query_s: float  # of single queries on one thread
    other_s: float  # of each other column


class Times(NamedTuple):
    """Milliseconds of one query or batch, one a round, by column; the reference took `reference_ms` meanwhile."""

    samples: Mapping[str, np.ndarray]
    reference_ms: float

    def row(self) -> dict[str, float]:
        """The medians."""
        return {name: float(np.median(each)) for name, each in self.samples.items()} | {
            "reference_ms": self.reference_ms
        }

    def interval(self, column: str) -> dict[str, float]:
        """Between which times 95 % of the rounds lie."""
        low, high = np.quantile(self.samples[column], [0.025, 0.975])
        return {f"{column}_low": float(low), f"{column}_high": float(high)}


def time_searches(
    searches: Sequence[Search],
    queries: np.ndarray,
    codes: np.ndarray | None,
    rounds: Rounds,
    own_clock: Callable[[], float] = time.thread_time,
) -> list[Times]:
    """The times of each way to search, from rounds in which all take turns, in random order, on other queries each.

    What runs on one thread is by `own_clock`, in seconds of CPU, which are those of a machine that does nothing else;
    the others are by the clock on the wall. Each is warmed up. One that would use up more than its share of seconds
    sits out all rounds but the first.
    """
    rng, runs, samples = np.random.default_rng(0), [], {}
    refer = reference_clock()

    def time_run(search: Search, at: np.ndarray, size: int, threads: int | None) -> float:
        rows = [at[i : i + size] for i in range(0, len(at), size)]
        parts = [(queries[row], None if codes is None else codes[row]) for row in rows]
        clock: Callable[[], float] = time.perf_counter if threads is None else own_clock
        with faiss_threads(threads):
            run = measure_time(lambda: [search(*part) for part in parts], Timing(repeats=1, warmup=0), clock=clock)
        return 1e3 * run.seconds / len(parts)

    for way, search in enumerate(searches):
        one = min(time_run(search, np.zeros(1, int), 1, 1) for _ in range(2))
        for column, threads in THREADS.items():
            share = rounds.query_s if column == "query_ms" else rounds.other_s
            if not share:
                continue
            n, size = (int(np.clip(1e3 * share / rounds.n / max(one, 1e-3), 3, BATCH)), 1)
            if column.startswith("batch"):
                n, size = BATCH, BATCH
            elif threads is None:
                time_run(search, np.zeros(1, int), 1, None)
            runs.append((way, column, (n, size, threads), share))
    states = [refer()]
    for turn in range(rounds.n):
        for i in rng.permutation(len(runs)):
            way, column, (n, size, threads), share = runs[i]
            before = samples.setdefault((way, column), [])
            spent = [took * n / size for took, _ in before]
            if turn and sum(spent) + max(spent) > 1e3 * share:
                continue
            took = time_run(searches[way], (turn * n + np.arange(n)) % len(queries), size, threads)
            states.append(refer())
            before.append((took, (states[-2] + states[-1]) / 2))
    usual = float(np.median(states))
    done: list[dict[str, np.ndarray]] = [{} for _ in searches]
    for (way, column), taken in samples.items():
        done[way][column] = usual * np.divide(*np.transpose(taken))
    return [Times(each, usual) for each in done]


def at_one_state(rows: Iterable[Mapping[str, Any]], reference_ms: float | None = None) -> list[dict[str, Any]]:
    """Rows with their times as they are where the reference takes `reference_ms`, its median in the rows by default."""
    rows = list(rows)
    usual = float(np.median([row["reference_ms"] for row in rows])) if reference_ms is None else reference_ms
    columns = [f"{name}{end}" for name in THREADS for end in ("", "_low", "_high")]
    return [
        {**row, **{c: row[c] * usual / row["reference_ms"] for c in columns if c in row}, "reference_ms": usual}
        for row in rows
    ]


def twice_timed(row: Mapping[str, Any], again: Mapping[str, Any] | None, items: int) -> dict[str, Any]:
    """A row with the middle of its time and that of `again`, minutes later, where it is of so many items.

    The interval holds both, and 95 % of the later rounds.
    """
    if again is None or row["items"] != items:
        return dict(row)
    times = row["query_ms"], again["query_ms"]
    low, high = min(times[0], again["query_ms_low"]), max(times[0], again["query_ms_high"])
    return {**row, "query_ms": sum(times) / 2, "query_ms_low": low, "query_ms_high": high}


@cache
def reference_clock() -> Callable[[], float]:
    """Milliseconds of CPU that the reference takes now."""
    import faiss

    vectors = np.random.default_rng(0).normal(size=(REFERENCE, 256)).astype(np.float32)
    index = faiss.IndexFlatIP(256)
    index.add(vectors)

    def refer() -> float:
        with faiss_threads(1):
            index.search(vectors[:1], 1)  # what ran before has taken its place in the processor's caches
            start = time.thread_time()
            for i in range(ASKED):
                index.search(vectors[i : i + 1], 1)
            return 1e3 * (time.thread_time() - start) / ASKED

    return refer
