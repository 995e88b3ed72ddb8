"""What all tests have in common."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest

from fico_utils.batch import pipeline


@pytest.fixture(scope="session", autouse=True)
def code_read_once() -> Iterator[None]:
    """The package's code is parsed once for all tests, not once for each pipeline: no test changes it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "package_digests", functools.cache(pipeline.package_digests))
        yield
