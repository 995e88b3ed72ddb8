"""Overrides: literals of the declared type, and one sentence for everything else."""

from __future__ import annotations

import pytest

from fico_utils.errors import InputError
from fico_utils.profiles import read_overrides

KNOWN = {
    "profile": "mini",
    "out_dir": "results",
    "seed": 0,
    "rate": 0.1,
    "verbose": False,
    "name": "x",
    "recall_at": [1, 5],
    "map_at": ["10", "N"],
    "epochs": {"scan": 4, "ucch": 20},
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("seed=3", 3),
        ("seed = 3", 3),
        ("rate=1", 1.0),
        ("rate=1e-3", 1e-3),
        ("verbose=true", True),
        ("name=10", "10"),
        ("name=a=b", "a=b"),
        ("recall_at=1,10", [1, 10]),
        ("recall_at=[1, 10]", [1, 10]),
        ("recall_at=7", [7]),
        ("map_at=100,N", ["100", "N"]),
        ("epochs={scan: 1}", {"scan": 1, "ucch": 20}),
    ],
)
def test_good(text: str, value: object) -> None:
    (found,) = read_overrides([text], KNOWN).values()
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("sede=3", "unknown parameter 'sede'; did you mean 'seed'"),
        ("qqqq=3", "expected one of epochs, map_at"),
        ("seed", "expected NAME=VALUE"),
        ("=3", "expected NAME=VALUE"),
        ("seed=three", "parameter seed was given 'three'"),
        ("seed=1.5", "expected int"),
        ("seed=true", "expected int"),
        ("seed=", "parameter seed was given"),
        ("verbose=1", "expected bool"),
        ("rate=fast", "expected float"),
        ("recall_at=one", "expected a list of int"),
        ("recall_at={a: 1}", "expected"),
        ("recall_at=[1", "expected a literal"),
        ("epochs={skan: 1}", "no entry 'skan'; did you mean 'scan'"),
        ("epochs=3", "expected dict"),
        ("profile=full", "use --profile"),
        ("out_dir=x", "use --out"),
    ],
)
def test_bad(text: str, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        read_overrides([text], KNOWN)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
