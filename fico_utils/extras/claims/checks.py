"""From comparisons of numbers to a verdict: what decides, what stays open, and how the evidence says it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fico_utils.extras.claims.numbers import Number, Side, exact_number, row_name

VERDICTS = HOLDS, PART, NOT, CANNOT = "holds", "holds in part", "does not hold", "cannot be tested here"
#: What a finding may rest on beside the systems themselves, and the verdict where it turns round without that.
FEATURES, TRAINING, LABELS = "features", "training", "labels"
DEPENDS = {cause: f"depends on {cause}" for cause in (FEATURES, TRAINING)}
FOR, AGAINST, OPEN = "for", "against", "open"


@dataclass(frozen=True)
class Check:
    """One comparison: its outcome, its numbers as text, and its lead over the limit, which orders the evidence.

    The outcome is ``open`` where the intervals overlap, or where the paper prints equal numbers.
    """

    outcome: str
    text: str
    lead: float = 0.0


#: None stands for a comparison that cannot be made.
Checks = Iterable[Check | None]


class Missing(Exception):
    """What a claim needs is not in the tables; the message says what."""


@dataclass(frozen=True)
class Claim:
    """A statement of the paper as data; ``check(side, **arguments)`` yields the comparisons that decide it."""

    id: str
    place: str  # where it stands in the paper: topic and table or figure
    check: Callable[..., Checks]
    arguments: Mapping[str, Any]
    text: str  # our paraphrase, with the limit that decides wherever the paper gives none
    needs: str = ""  # what the tables lack where no comparison can be made
    rests_on: tuple[str, ...] = ()  # `FEATURES`, `TRAINING`, `LABELS`: in what else its systems differ, or what leaks

    @property
    def causes(self) -> str:
        """What it rests on, in words."""
        return ", ".join(self.rests_on) or "nothing of the kind"


def check_above(
    a: Number | None, b: Number | None, where: str = "", by: float = 0.0, shown: Any = None
) -> Check | None:
    """Check that `a` exceeds `b` by `by` or more; None where one of them is missing. The text names them as `shown`."""
    if a is None or b is None:
        return None
    outcome = OPEN
    if round(a.low - b.high - by, 9) > 0:
        outcome = FOR
    elif round(a.high - b.low - by, 9) < 0:
        outcome = AGAINST
    numbers = ", ".join(filter(None, map(str, shown or (a, b))))
    return Check(outcome, f"{where}: {numbers}" if where else numbers, a.value - b.value - by)


def check_below(a: Number | None, b: Number | None, where: str = "", by: float = 0.0) -> Check | None:
    """Check that `a` falls short of `b` by `by` or more, with `a` named first."""
    return check_above(b, a, where, by, shown=(a, b))


def check_within(a: Number | None, low: float, high: float, where: str = "") -> Check | None:
    """Check that `a` lies between two limits that the claim states; either may be infinite."""
    if a is None:
        return None
    checks = check_above(a, exact_number(low), where), check_below(a, exact_number(high), where)
    outcomes = {check.outcome for check in checks}
    outcome = next(known for known in (AGAINST, OPEN, FOR) if known in outcomes)
    return Check(outcome, checks[0].text, min(check.lead for check in checks))


def system_names(systems: Iterable[str]) -> str:
    """Printed names of systems or indexes, in a row."""
    return ", ".join(map(row_name, systems))


def judge_claim(side: Side, claim: Claim) -> tuple[str, str]:
    """Verdict of a claim on one side, and the evidence.

    It holds where every comparison is decided in its favour, does not hold where more than half are decided
    against it, and otherwise holds in part; comparisons that the noise leaves open decide nothing.
    """
    try:
        checks = [check for check in claim.check(side, **claim.arguments) if check is not None]
    except Missing as missing:
        return CANNOT, f"{side.has} no {claim.needs}." if claim.needs else f"{missing}."
    if not checks:
        return CANNOT, f"{side.has} no {claim.needs or 'rows that it compares'}."
    n = len(checks)
    parts = {o: sorted((c for c in checks if c.outcome == o), key=lambda c: c.lead) for o in (FOR, AGAINST, OPEN)}
    verdict = HOLDS if len(parts[FOR]) == n else NOT if 2 * len(parts[AGAINST]) > n else PART
    undecided = "equal as printed" if side.paper else "within the intervals"
    if n == 1:
        return verdict, checks[0].text + (f" ({undecided})." if parts[OPEN] else ".")
    told = [f"{len(parts[FOR])} of {n} comparisons in favour"]
    for outcome, word, most in ((AGAINST, "against", 3), (OPEN, undecided, 2)):
        if some := parts[outcome]:
            examples = "; ".join(check.text for check in some[:most])
            told.append(f"{len(some)} of {n} {word}{', such as' if len(some) > most else ':'} {examples}")
    told += [f"closest: {check.text}" for check in parts[FOR][:1]]
    return verdict, "; ".join(told) + "."
