"""One system under one or several protocols: the passes that are needed, and the numbers of each protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fico_utils.errors import InputError
from fico_utils.evaluation.given import Given
from fico_utils.evaluation.metrics import TOGETHER
from fico_utils.evaluation.observations import Observations
from fico_utils.evaluation.observe import observe
from fico_utils.evaluation.plan import Plan, Request
from fico_utils.evaluation.protocols import Protocol
from fico_utils.evaluation.summary import summarise
from fico_utils.evaluation.tasks import DIRECTIONS, INSTANCE
from fico_utils.registry import SCORED_FORMS, load_entry


class Scoring:
    """What was given, scored once for each number of folds that the protocols ask for."""

    def __init__(self, given: Given, block_mib: int, curve: bool) -> None:
        self.given, self.block_mib, self.curve = load_entry(SCORED_FORMS)(given), block_mib, curve
        self.levels = self.given.tasks[0].levels  # those that have relevance

    def missing(self, protocol: Protocol) -> str:
        """Which argument a protocol would need besides what was given; empty where it has all."""
        bits, both = self.given.source.bits, len(self.given.tasks) == len(DIRECTIONS)
        together = [str(m) for m in protocol.parsed if m.name in TOGETHER]
        if protocol.level and protocol.level not in self.levels:
            return "caption_image or relevance" if protocol.level == INSTANCE else "labels"
        if not self.requested(protocol).found_at(self.levels):
            return "labels"
        if protocol.radii and max(protocol.radii) > (bits or 0):
            return f"hash codes (measure hamming) of at least {max(protocol.radii)} bits"
        if together and not (both and INSTANCE in self.levels):
            return f"both directions with caption_image, over which {together[0]} is a sum"
        if protocol.folds > 1 and not both:
            return "images and texts, of which folds are parts"
        return ""

    def allows(self, protocol: Protocol) -> bool:
        """Whether a protocol has all that it needs, images that divide into its folds among it."""
        try:
            self.given.folds(protocol.folds)
        except InputError:
            return False
        return not self.missing(protocol)

    def requested(self, protocol: Protocol) -> Request:
        """The metrics of a protocol at the levels of its relevance."""
        levels = (protocol.level,) if protocol.level else self.levels if protocol.every_level else ()
        return Request(protocol.parsed, protocol.rules, levels)

    def observe(self, protocols: Sequence[Protocol]) -> list[Observations]:
        """The observations of each fold, of protocols with the same number of folds."""
        first, *others = map(self.requested, protocols)
        plan = Plan(first.metrics, first.rules, self.curve, levels=first.levels, others=tuple(others))
        parts = self.given.folds(protocols[0].folds)
        return [observe(part.source, plan=plan, tasks=part.tasks, block_mib=self.block_mib) for part in parts]

    def rows(self, protocols: Sequence[Protocol], intervals: bool) -> list[dict[str, Any]]:
        """The numbers of all protocols, one below the other, a dict each."""
        rows: dict[str, list[dict[str, Any]]] = {}
        for folds in dict.fromkeys(protocol.folds for protocol in protocols):
            alike = [protocol for protocol in protocols if protocol.folds == folds]
            seen = self.observe(alike)
            self.latest = seen[-1]  # of the whole gallery, where there are no folds
            for protocol in alike:
                asked = self.requested(protocol)
                how = {"rules": asked.rules, "levels": asked.levels, "intervals": intervals and folds == 1}
                scores = mean_of_folds([summarise(part, asked.metrics, **how) for part in seen])
                rows[protocol.name] = [{**row, "protocol": protocol.name, "folds": folds} for row in scores]
        return [row for protocol in protocols for row in rows[protocol.name]]


def mean_of_folds(folds: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Each number as the mean over the folds, of which it has one row each; the queries of all folds are counted."""
    if len(folds) == 1:
        return folds[0]
    rows = []
    for parts in zip(*folds, strict=True):
        means = {name: np.mean([part[name] for part in parts]) for name in ("value", "chance")}
        status = "ok" if all(part["status"] == "ok" for part in parts) else "undefined"
        rows.append(parts[0] | means | {"n_query": sum(part["n_query"] for part in parts), "status": status})
    return rows
