"""From measured sizes to those that somebody's gallery will have: the law of each kind of index, with an interval."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fico_utils.evaluation.summary import middle_95
from fico_utils.extras.deploy.candidates import ALL, EXACT, GRAPH, LISTS
from fico_utils.extras.deploy.measuring import DRAWS
from fico_utils.extras.deploy.timing import THREADS

Row = Mapping[str, Any]
#: What a search looks at, of n items; its time is a constant and so many steps.
STEPS: dict[str, Callable[[Any], Any]] = {ALL: np.asarray, LISTS: np.sqrt, GRAPH: np.log}
#: The same of building: each item is added once, and is compared with the lists or finds its place in the graph.
BUILD_STEPS: dict[str, Callable[[Any], Any]] = {
    ALL: np.asarray,
    LISTS: lambda n: n**1.5,
    GRAPH: lambda n: n * np.log(n),
}
#: The columns that are times, and their steps.
TIMES = {**dict.fromkeys(THREADS, STEPS), "build_s": BUILD_STEPS}


class TimeFit(NamedTuple):
    """Weighted least squares of ``a + b steps(n)``, neither negative, to the times at some sizes, relative to these."""

    steps: Callable[[Any], Any]
    coefficients: np.ndarray  # (2,)
    spread: np.ndarray  # (2, 2) covariance of the coefficients at a residual of 1
    residuals: float  # sum of the squared relative residuals, weighted
    freedom: int
    rose: bool

    def share(self, n: int) -> float:
        """The share of the time at a size that steps take."""
        once, step = self.coefficients * [1.0, float(self.steps(float(n)))]
        return step / (once + step)

    def predict(self, n: int, alike: Sequence[TimeFit]) -> tuple[float, float, float]:
        """The time at a size, and the ends of its 95 % interval, by the residuals of all fits that are `alike`."""
        from scipy.stats import t as student

        freedom, terms = sum(fit.freedom for fit in alike), np.array([1.0, float(self.steps(float(n)))])
        value = float(terms @ self.coefficients)
        if not freedom:
            return value, np.nan, np.nan
        relative = np.sqrt(sum(fit.residuals for fit in alike) / freedom)
        half = student.ppf(0.975, freedom) * relative * np.sqrt(value**2 + terms @ self.spread @ terms)
        return value, max(0.0, value - half), value + half


def fit_times(sizes: Sequence[int], times: Sequence[float], steps: Callable[[Any], Any], usual: float = 1.0) -> TimeFit:
    """The fit of some times (m,) at some sizes (m,), each of which counts in proportion to its items.

    Small galleries lie in the processor's caches and are faster than the law has it; the largest tells most.

    Where a time did not rise, its noise hides by how much it did: a step then takes as long as the noise allows (the
    end of the 95 % interval), but steps take no more of the time at the largest size than is `usual`, a share. So no
    search of many items is said to be as fast as one of few.

    >>> fit_times([100, 200, 400], [2.0, 3.0, 5.0], STEPS["n"]).coefficients.round(6).tolist()
    [1.0, 0.01]
    """
    from scipy.optimize import nnls
    from scipy.stats import t as student

    weight = np.asarray(sizes, np.float64) / max(sizes)
    terms = np.stack([np.ones(len(sizes)), steps(np.asarray(sizes, np.float64))], 1)
    terms *= (weight / times)[:, None]
    scale = terms.max(axis=0)
    coefficients = nnls(terms / scale, weight)[0] / scale
    rose = bool(coefficients[1] > 0)
    if not rose:
        noise = ((terms @ coefficients - weight) ** 2).sum() / (len(terms) - 1)
        step = student.ppf(0.975, len(terms) - 1) * np.sqrt(noise * np.linalg.pinv(terms.T @ terms)[1, 1])
        once = terms[:, 0] @ (weight - step * terms[:, 1]) / (terms[:, 0] ** 2).sum()
        like = np.array([1 - usual, usual / float(steps(float(max(sizes))))])  # a time of 1 at the largest size
        like *= terms @ like @ weight / ((terms @ like) ** 2).sum()
        coefficients = np.array([max(0.0, once), step]) if step < like[1] else like
    used, spread = coefficients > 0, np.zeros((2, 2))
    spread[np.ix_(used, used)] = np.linalg.pinv(terms[:, used].T @ terms[:, used])
    residuals = float(((terms @ coefficients - weight) ** 2).sum())
    return TimeFit(steps, coefficients, spread, residuals, max(0, len(terms) - int(used.sum())), rose)


def fit_alike(rows: Mapping[str, Sequence[Row]], column: str) -> dict[str, TimeFit]:
    """The fit of each name's times in its rows of growing size; where one did not rise, its law says what is usual.

    Usual is the median share that steps take in the times of the same law that rose.
    """
    steps = {name: TIMES[column][each[0]["law"]] for name, each in rows.items()}
    times = {name: ([row["items"] for row in each], [row[column] for row in each]) for name, each in rows.items()}
    fits, shares = {name: fit_times(*times[name], steps[name]) for name in rows}, {}
    for name, fit in fits.items():
        if fit.rose:
            shares.setdefault(fit.steps, []).append(fit.share(times[name][0][-1]))
    usual = {law: float(np.median(each)) for law, each in shares.items()}
    flat = [name for name, fit in fits.items() if not fit.rose]
    return fits | {name: fit_times(*times[name], steps[name], usual.get(steps[name], 1.0)) for name in flat}


def odds_line(sizes: Sequence[int], shares: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Log-odds (...) of shares (m, ...) in the middle of some sizes, on a logarithmic scale, and their slope (...).

    A share is kept `least` away from 0 and 1 before it becomes odds.
    """
    kept, x = np.clip(shares, least, 1 - least), np.log(np.asarray(sizes, np.float64))
    y, x = np.log(kept / (1 - kept)), x - x.mean()
    return y.mean(axis=0), np.tensordot(x, y, 1) / (x**2).sum()


def pool_slopes(slopes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How much of each slope is its own (c,), from 0 to 1, and the slope of their kind (1 + draws,).

    `slopes` (c, 1 + draws) are those measured, and those of resampled queries, which say how noisy the first are. The
    less they differ beyond their noise, the less is their own: random effects of DerSimonian and Laird ("Meta-analysis
    in clinical trials", Controlled Clinical Trials 7, 1986). A slope without noise is one of shares that never changed:
    it tells nothing of the others.

    >>> own, kind = pool_slopes(np.array([[-1.0, -0.5, -1.5], [-1.2, -0.7, -1.7]]))
    >>> own.tolist(), kind.round(6).tolist()
    ([0.0, 0.0], [-1.1, -0.6, -1.6])
    """
    noise, value = slopes[:, 1:].var(axis=1), slopes[:, 0]
    known = np.ptp(slopes, axis=1) > 1e-9
    if not known.any():
        return np.ones(len(value)), np.zeros(slopes.shape[1])
    weight = 1 / noise[known]
    middle = weight @ value[known] / weight.sum()
    excess = weight @ (value[known] - middle) ** 2 - (known.sum() - 1)
    room = weight.sum() - (weight**2).sum() / weight.sum()
    between = max(0.0, excess / room) if room > 0 else 0.0
    weight = 1 / (noise[known] + between)
    own = np.where(known, between / np.where(known, noise + between, 1.0), 1.0)
    return own, weight @ slopes[known] / weight.sum()


def fit_share(
    sizes: Sequence[int], shares: np.ndarray, n: int, least: float, own: float = 1.0, like: float | np.ndarray = 0.0
) -> np.ndarray:
    """Shares (...) at `n` items from those (m, ...) at some sizes: a line of log-odds over log n that never rises.

    A share that was the same everywhere stays. So much of the slope is its `own`, the rest is that of those `like` it.

    >>> fit_share([10, 100], np.array([0.5, 0.5]), 1000, 0.01).tolist()
    0.5
    """
    middle, slope = odds_line(sizes, shares, least)
    slope = np.minimum(own * slope + (1 - own) * like, 0.0)
    odds = middle + slope * (np.log(n) - np.log(np.asarray(sizes, np.float64)).mean())
    carried = np.minimum(1 / (1 + np.exp(-odds)), shares[-1])  # items that are added can only stand before the right
    return np.where((shares == shares[-1]).all(axis=0), shares[-1], carried)


def carry_hits(beaten: np.ndarray, others: int, more: int, k: int, value: float) -> tuple[float, np.ndarray]:
    """A recall@k measured as `value`, when `others` items become `more`, and resamples of it (2 * DRAWS,).

    `beaten` (2, n_query) int is how many items stand before each query's right one: of those that queries ask for,
    which stay the same, and of the `others`. From it the recall with a random half of the others is known exactly
    (hypergeometric distribution), so that the slope at the largest size has little noise. Two lines of log-odds over
    the logarithm of the others go on from there: one of the recall, and one of its share of what would be found without
    the others, which takes what items that are asked for cost for fixed. The middle of both is given, and the resamples
    of queries are of both.

    >>> round(carry_hits(np.array([[0] * 6, [0, 0, 0, 1, 2, 3]]), 1000, 2000, 1, 0.5)[0], 2)
    0.35
    """
    from scipy.special import expit, logit
    from scipy.stats import hypergeom

    whole, half = (hypergeom.cdf(k - 1 - beaten[0], others, beaten[1], some) for some in (others, others // 2))
    n_query = beaten.shape[1]
    weights = np.random.default_rng(0).multinomial(n_query, np.full(n_query, 1 / n_query), DRAWS)
    weights = np.concatenate([np.ones((1, n_query)), weights]) / n_query  # the first is the measured sample
    least, scale = 0.5 / n_query, value / max(whole.mean(), 1e-12)
    now, before = weights @ whole, weights @ half
    steps, ends = np.log(more / others) / np.log(others / (others // 2)), []
    for most in (np.ones(len(weights)), np.maximum(weights @ (beaten[0] < k), least)):
        odds, earlier = (logit(np.clip(found / most, least, 1 - least)) for found in (now, before))
        grown = most * expit(odds + steps * (odds - earlier))
        ends.append(scale * np.where(odds < earlier, np.minimum(now, grown), now))
    return float(np.mean([end[0] for end in ends])), np.concatenate([end[1:] for end in ends])


def carry_rows(rows: Iterable[Row], n: int, factories: Mapping[str, str], n_query: int) -> list[dict[str, Any]]:
    """Rows of all that was measured at two sizes or more, at a size that it was not measured at.

    `rows` are as `measure_build` gives them, `factories` the factory string of each name at this size. The interval of
    a time is that of a new measurement, by the residuals of all indexes of one law. A metric is that of the exhaustive
    search, carried to this size (`carry_hits` for recall), times the share of it that the candidate keeps, carried by
    `fit_share` with a slope that is partly that of its law; its interval comes from doing so for resampled queries.
    """
    at: dict[str, dict[int, Row]] = {}
    for row in sorted(rows, key=lambda row: row["items"]):
        at.setdefault(row["name"], {})[row["items"]] = row
    carried = {name: [*sizes.values()] for name, sizes in at.items() if len(sizes) > 1 and n not in sizes}
    fits = {column: fit_alike(carried, column) for column in TIMES}
    least = 0.5 / n_query
    done, best = [], _carried_exact(at[EXACT], n)
    scores = [_carried_metric(carried, at[EXACT], metric, whole, n, least) for metric, whole in best.items()]
    for name, each in carried.items():
        last = each[-1]
        row = {key: last[key] for key in ("name", "bytes_per_item", "search", "codes", "depth", "law")}
        row |= {"factory": factories.get(name, last["factory"]), "items": n, "memory_bytes": last["bytes_per_item"] * n}
        for column in TIMES:
            mine = fits[column][name]
            alike = [fit for fit in fits[column].values() if fit.steps is mine.steps]
            value, low, high = mine.predict(n, alike)
            row |= {column: value, f"{column}_low": low, f"{column}_high": high}
        sizes = [measured["items"] for measured in each]
        for column in [column for column in last if column.startswith("neighbour")]:
            row[column] = float(fit_share(sizes, np.array([measured[column] for measured in each]), n, least))
        done.append(row | {key: value for score in scores for key, value in score.get(name, {}).items()})
    return done


def _carried_exact(exact: Mapping[int, Row], n: int) -> dict[str, tuple[float, np.ndarray]]:
    """The metrics of the exhaustive search at a size, and resamples of each, from its rows by size."""
    last, done = exact[max(exact)], {}
    for name in [name for name in last if f"{name}_draws" in last]:
        values, draws = (np.stack([row[column] for row in exact.values()]) for column in (name, f"{name}_draws"))
        if n in exact:
            done[name] = exact[n][name], np.asarray(exact[n][f"{name}_draws"])
        elif name.startswith("recall@"):
            more, k = last["others"] + n - last["items"], int(name.partition("@")[2])
            done[name] = carry_hits(np.asarray(last["beaten"]), last["others"], more, k, last[name])
        else:
            least = 0.5 / len(last["beaten"][0])
            done[name] = float(fit_share([*exact], values, n, least)), fit_share([*exact], draws, n, least)
    return done


def _shares(each: Sequence[Row], exact: Mapping[int, Row], metric: str) -> np.ndarray:
    """Shares (m, 1 + draws) of the exhaustive search's metric that a candidate keeps: measured, and for resamples."""
    rows = [np.hstack([row[metric], row[f"{metric}_draws"]]) for row in each]
    whole = [np.hstack([exact[row["items"]][column] for column in (metric, f"{metric}_draws")]) for row in each]
    return np.minimum(np.stack(rows) / np.maximum(np.stack(whole), 1e-12), 1.0)


def _carried_metric(
    carried: Mapping[str, Sequence[Row]], exact: Mapping[int, Row], metric: str, best: tuple[float, np.ndarray], n: int,
    least: float,
) -> dict[str, dict[str, float]]:  # fmt: skip
    """One metric of each candidate at a size, with its interval; `best` is the exhaustive search's, and its resamples.

    Candidates of one law share what is noise in the slopes of theirs (`pool_slopes`).
    """
    laws: dict[str, dict[str, tuple[list[int], np.ndarray]]] = {}
    for name, each in carried.items():
        if metric in each[-1]:
            kept = [row["items"] for row in each], _shares(each, exact, metric)
            laws.setdefault(each[0]["law"], {})[name] = kept
    done = {}
    for alike in laws.values():
        own, like = pool_slopes(np.stack([odds_line(*kept, least)[1] for kept in alike.values()]))
        for (name, kept), mine in zip(alike.items(), own, strict=True):
            share = fit_share(*kept, n, least, mine, like)
            value, draws = best[0] * share[0], best[1] * np.resize(share[1:], np.shape(best[1]))
            low, high = middle_95(draws)
            done[name] = {
                metric: float(value),
                f"{metric}_ci_low": min(low, value),
                f"{metric}_ci_high": max(high, value),
            }
    return done
