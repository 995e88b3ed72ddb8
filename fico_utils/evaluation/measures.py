"""The measures: how two embeddings, or two hash codes, are compared. Systems, `evaluate` and the release use these."""

from __future__ import annotations

from fico_utils.errors import InputError
from fico_utils.evaluation.codes import Hamming
from fico_utils.evaluation.embeddings import (
    VectorMeasure,
    prepare_cosine,
    prepare_euclidean,
    prepare_inner_product,
)

Measure = VectorMeasure | Hamming
MEASURES: dict[str, Measure] = {
    measure.name: measure
    for measure in (
        VectorMeasure("cosine", prepare_cosine, refuses_zero=True),
        VectorMeasure("inner_product", prepare_inner_product),
        VectorMeasure("euclidean", prepare_euclidean, takes_squares=True),
        Hamming(),
    )
}


def find_measure(name: str) -> Measure:
    """The measure of a name.

    Raises
    ------
    InputError
        There is none.

    >>> find_measure("hamming").has_codes
    True
    """
    if name not in MEASURES:
        raise InputError(f"measure is {name!r}, expected one of {', '.join(MEASURES)}")
    return MEASURES[name]
