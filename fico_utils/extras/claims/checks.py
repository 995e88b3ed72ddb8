"""From comparisons of numbers to a verdict: what decides, what stays open, and how the evidence says it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from fico_utils import registry
from fico_utils.evaluation import Metric
from fico_utils.extras.claims.numbers import Number, Side, limit

HOLDS, PART, NOT, CANNOT = "holds", "holds in part", "does not hold", "cannot be tested here"
VERDICTS = (HOLDS, PART, NOT, CANNOT)
FOR, AGAINST, OPEN = "for", "against", "open"


@dataclass(frozen=True)
class Check:
    """One comparison: how it came out, its numbers, and how clear it was.

    Attributes
    ----------
    outcome : str, ``for``, ``against``, or ``open`` where the intervals overlap (or the paper prints equal numbers).
    text : str
    lead : float, value over limit, in the claim's direction; orders the examples of the evidence.
    """

    outcome: str
    text: str
    lead: float = 0.0


class Missing(Exception):
    """What a claim needs is not in the tables; the message says what."""


@dataclass(frozen=True)
class Claim:
    """A statement of the paper as data.

    Attributes
    ----------
    id : str
    place : str, where in the paper: topic and table or figure.
    text : str, our paraphrase, with the limit that decides wherever the paper gives none.
    test : function of a `Side` that yields its checks; a None among them is a comparison that cannot be made.
    """

    id: str
    place: str
    text: str
    test: Callable[[Side], Iterable[Check | None]]


def above(a: Number | None, b: Number | None, where: str = "", by: float = 0.0) -> Check | None:
    """Check that `a` exceeds `b` (by `by` or more); None where one of them is missing."""
    if a is None or b is None:
        return None
    if round(a.low - b.high - by, 9) > 0:
        outcome = FOR
    elif round(a.high - b.low - by, 9) < 0:
        outcome = AGAINST
    else:
        outcome = OPEN
    numbers = ", ".join(filter(None, (str(a), str(b))))
    return Check(outcome, f"{where}: {numbers}" if where else numbers, a.value - b.value - by)


def below(a: Number | None, b: Number | None, where: str = "", by: float = 0.0) -> Check | None:
    """Check that `a` falls short of `b` (by `by` or more), with `a` named first."""
    check = above(b, a, where, by)
    if check is None:
        return None
    numbers = ", ".join(filter(None, (str(a), str(b))))
    return Check(check.outcome, f"{where}: {numbers}" if where else numbers, check.lead)


def within(a: Number | None, low: float, high: float, where: str = "") -> Check | None:
    """Check that `a` lies between two limits that the claim states."""
    if a is None:
        return None
    sides = above(a, limit(low), where), below(a, limit(high), where)
    outcomes = {check.outcome for check in sides}
    outcome = AGAINST if AGAINST in outcomes else OPEN if OPEN in outcomes else FOR
    return Check(outcome, sides[0].text, min(check.lead for check in sides))


def names(systems: Iterable[str]) -> str:
    """Printed names of systems or indexes, in a row."""
    return ", ".join((registry.INDEXES.get(s) or registry.system(s)).name for s in systems)


def judge(side: Side, claim: Claim) -> tuple[str, str]:
    """Verdict of a claim on one side, and the evidence.

    It holds where every comparison is decided in its favour, does not hold where more than half are decided
    against it, and otherwise holds in part; comparisons that the noise leaves open decide nothing.
    """
    try:
        checks = [check for check in claim.test(side) if check is not None]
    except Missing as missing:
        return CANNOT, f"{missing}."
    if not checks:
        return CANNOT, f"{_subject(side)} no rows that it compares."
    parts = {outcome: [c for c in checks if c.outcome == outcome] for outcome in (FOR, AGAINST, OPEN)}
    if len(parts[FOR]) == len(checks):
        verdict = HOLDS
    else:
        verdict = NOT if 2 * len(parts[AGAINST]) > len(checks) else PART
    if len(checks) == 1:
        return verdict, checks[0].text + (f" ({_open(side)})." if parts[OPEN] else ".")
    said = [f"{len(parts[FOR])} of {len(checks)} comparisons in favour"]
    said += _examples("against", parts[AGAINST], 3, len(checks))
    said += _examples(_open(side), parts[OPEN], 2, len(checks))
    closest = min(parts[FOR], key=lambda c: c.lead, default=None)
    if closest:
        said.append(f"closest: {closest.text}")
    return verdict, "; ".join(said) + "."


def _examples(word: str, checks: Sequence[Check], most: int, total: int) -> list[str]:
    if not checks:
        return []
    shown = sorted(checks, key=lambda c: c.lead)[:most]
    head = f"{len(checks)} of {total} {word}"
    return [f"{head}{', such as' if len(checks) > most else ':'} " + "; ".join(c.text for c in shown)]


def _open(side: Side) -> str:
    return "equal as printed" if side.paper else "within the intervals"


def _subject(side: Side) -> str:
    return "the paper prints" if side.paper else "this run has"


def need(side: Side, what: str, found: bool) -> None:
    """`Missing` unless `found`; `what` names what is wanted."""
    if not found:
        raise Missing(f"{_subject(side)} no {what}")


# ------------------------------------------------------------------------------------- kinds of comparison

Test = Callable[[Side], Iterable[Check | None]]


def every(
    upper: Sequence[str],
    lower: Sequence[str],
    metric: str,
    ks: Sequence[str],
    by: float = 0.0,
    slots: Sequence[str] | None = None,
) -> Test:
    """Every system of `upper` exceeds every one of `lower`, in each corpus, direction and k."""

    def test(side: Side) -> Iterable[Check | None]:
        checks = [
            _compare(side, a, b, (slot, d, metric, k), by)
            for slot, d in _panels(side, slots)
            for k in ks
            for a in upper
            for b in lower
        ]
        _pairs(side, checks, upper, lower, metric, ks)
        return checks

    return test


def leads(
    upper: Sequence[str], lower: Sequence[str], metric: str, k: str, by: float = 0.0, slots: Sequence[str] | None = None
) -> Test:
    """The best of `upper` exceeds the best of `lower`, in each corpus and direction."""

    def test(side: Side) -> Iterable[Check | None]:
        checks = []
        for slot, d in _panels(side, slots):
            first, second = (side.best(group, slot, d, metric, k) for group in (upper, lower))
            checks.append(above(first, second, at(side, slot, d, metric, k), by))
        _pairs(side, checks, upper, lower, metric, (k,))
        return checks

    return test


def same(
    pairs: Sequence[tuple[str, str]],
    metric: str,
    ks: Sequence[str],
    by: float = 0.0,
    slots: Sequence[str] | None = None,
) -> Test:
    """The first of each pair exceeds the second, in each corpus, direction and k."""

    def test(side: Side) -> Iterable[Check | None]:
        checks = [
            _compare(side, a, b, (slot, d, metric, k), by)
            for a, b in pairs
            for slot, d in _panels(side, slots)
            for k in ks
        ]
        _pairs(side, checks, [a for a, _ in pairs], [b for _, b in pairs], metric, ks)
        return checks

    return test


def _panels(side: Side, slots: Sequence[str] | None) -> list[tuple[str, str]]:
    return [(slot, direction) for slot, direction in side.cells() if slots is None or slot in slots]


def _compare(side: Side, a: str, b: str, cell: tuple[str, str, str, str], by: float) -> Check | None:
    return above(side.quality(a, *cell), side.quality(b, *cell), at(side, *cell), by)


def at(side: Side, slot: str, direction: str, metric: str, k: str) -> str:
    """Corpus, direction and metric, for the evidence."""
    return f"{side.where(slot, direction)} {Metric(metric, k).label}"


def _pairs(
    side: Side,
    checks: Sequence[Check | None],
    upper: Sequence[str],
    lower: Sequence[str],
    metric: str,
    ks: Sequence[str],
) -> None:
    """`Missing`, with the systems that lack, where no comparison could be made."""
    if any(checks):
        return
    wanted = dict.fromkeys((*upper, *lower))
    lacking = [
        s for s in wanted
        if not any(side.quality(s, slot, d, metric, k) for slot, d in side.cells() for k in ks)
    ]  # fmt: skip
    letter = {"recall": "R", "map": "mAP", "precision": "precision"}[metric]
    raise Missing(f"{_subject(side)} no {letter} at {', '.join(ks)} of {names(lacking or wanted)}")
