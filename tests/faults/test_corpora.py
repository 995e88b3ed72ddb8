"""The campaign on corpora, at a small budget; ``python -m tests.faults --only corpora`` runs it at a large one."""

from __future__ import annotations

import json

import pytest

from fico_utils.extras.corpora import reading
from tests.faults import corpora


def test_mutated_corpora_are_read_or_refused():
    said = corpora.campaign(6, seed=0)
    assert len(said.splitlines()) == len(corpora.READERS)


def test_a_reader_that_lets_an_exception_through_is_found(monkeypatch):
    monkeypatch.setattr(reading, "parse_json", lambda text, *_: json.loads(text))
    with pytest.raises(AssertionError, match=r"JSONDecodeError in decoder\.py"):
        corpora.campaign(0, seed=0)
