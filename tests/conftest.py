"""What all tests have in common."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from fico_utils.batch import pipeline
from tests.tiny_run import undisturbed_metrics

#: The same examples each time, however slow the machine.
settings.register_profile("repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("repeatable")


@pytest.fixture(scope="session", autouse=True)
def code_read_once() -> Iterator[None]:
    """The package's code is parsed once for all tests, not once for each pipeline: no test changes it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "package_digests", functools.cache(pipeline.package_digests))
        yield


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """metrics.csv of the tiny run, made once for all that are compared with it; these are of the group ``tiny run``."""
    return undisturbed_metrics(tmp_path_factory.mktemp("undisturbed"))
