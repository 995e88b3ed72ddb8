"""What came out: the two tidy tables, their vocabularies, and the paper's numbers in the same shape."""

from __future__ import annotations

from fico_utils.results.schema import validate
from fico_utils.results.store import chance_rows, load, merge, paper_reference, score_rows, write_part

__all__ = ["chance_rows", "load", "merge", "paper_reference", "score_rows", "validate", "write_part"]
