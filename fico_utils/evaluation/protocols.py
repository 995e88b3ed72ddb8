"""A protocol: which numbers the code of a field prints, and by which rules it computes them.

The companion's own is the default; the published ones are extras: ``evaluate(protocol="all")`` gives a system in all
dialects, and `python -m fico_utils protocols` lists them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

from fico_utils.errors import InputError
from fico_utils.evaluation.metrics import DEFAULT_METRICS, Metric, parse_metrics
from fico_utils.evaluation.observations import Rules
from fico_utils.evaluation.plan import radii_of
from fico_utils.registry import PUBLISHED_PROTOCOLS, load_entry

ALL = "all"


@dataclass(frozen=True)
class Protocol:
    """Which numbers one code base prints, and by which rules."""

    name: str
    source: str  # repository and file
    metrics: str | tuple[Metric, ...]
    level: str = ""  # of its relevance; empty: each metric where the paper has it
    rules: Rules = field(default_factory=Rules)
    folds: int = 1
    every_level: bool = False  # each metric at each level that is given
    unranked: float | None = None  # what stands in its similarity matrices for a pair that was not ranked
    note: str = ""  # what else is particular to it

    def changed(self, rules: Mapping[str, str | None], **fields: Any) -> Protocol:
        """The protocol with what a user says himself put before it, of its rules and other fields; None is nothing."""
        said = {name: value for name, value in rules.items() if value is not None}
        fields = {name: value for name, value in fields.items() if value is not None}
        return replace(self, rules=replace(self.rules, **said), **fields)

    @property
    def parsed(self) -> tuple[Metric, ...]:
        """Its metrics."""
        return parse_metrics(self.metrics)

    @property
    def radii(self) -> tuple[int, ...]:
        """The Hamming radii among the k."""
        return radii_of(self.parsed)


FICO = Protocol("fico", "MikelWL/FiCo-ITR src/fico_itr/tasks.py", DEFAULT_METRICS, note="ties by exact expectation")


def find_protocols(name: str) -> list[Protocol]:
    """The protocol of a name, or all of them; InputError where there is none."""
    if name == FICO.name:
        return [FICO]
    known = load_entry(PUBLISHED_PROTOCOLS)
    if name == ALL:
        return list(known.values())
    if name not in known:
        near = get_close_matches(str(name), [*known, ALL], 1)
        way = f"did you mean {near[0]}?" if near else f"expected one of {', '.join([*known, ALL])}"
        raise InputError(f"protocol is {name!r}; {way}")
    return [known[name]]
