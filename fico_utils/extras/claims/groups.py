"""The groups of systems that the claims speak of.

The paper prints ADV 2048-bit among the fine-grained rows of Tables 2 and 4 and among the coarse-grained rows of
Table 5. Claims name the group they mean, and `CG` are the three rows of 64 bits, coarse-grained in every table.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

from fico_utils import registry


def _family(family: str) -> tuple[str, ...]:
    return tuple(s.id for s in registry.SYSTEMS.values() if s.family == family and s.paper_names)


VLP, FG, CODES = _family("vlp"), _family("fg"), _family("cg")
CG = tuple(s for s in CODES if s != "adv_2048")
FINE = (*VLP, *FG)
ALL = (*FINE, *CODES)
#: A system with fusion, and the same without.
FUSION = (("blip2", "blip2_nf"), ("xvlm", "xvlm_nf"))
RERANK, CROSS = ("blip2", "xvlm"), ("imram", "scan")


def each_pair(upper: Iterable[str], lower: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Every system of `upper` with every one of `lower`."""
    return tuple(product(upper, lower))
