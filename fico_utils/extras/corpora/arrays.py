"""Reading one array from a file that somebody gives, memory-mapped where possible.

Nothing is ever unpickled.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from fico_utils.errors import InputError
from fico_utils.extras.corpora.array_formats import SUFFIXES, find_format, read_format
from fico_utils.extras.corpora.isolated import read_isolated
from fico_utils.extras.corpora.reading import check_name, find_file
from fico_utils.files import note


def read_array(place: str | Path) -> np.ndarray:
    """The array at ``FILE`` or ``FILE:NAME``, where ``:NAME`` picks one of several.

    FILE is .npy, .npz, .safetensors, .mat (of any version), .h5, .pt, .pth (a tensor or a dict of tensors) or .parquet
    (a list column, or columns of numbers). bfloat16 becomes float32, sparse matrices are filled up. Of .npy and
    .safetensors, the array is read-only and memory-mapped; what native code reads is read in a process of its own.

    InputError where there is no such file, or it is of another format, truncated, damaged, without an array of that
    name, or holds objects.
    """
    path, name = _split(str(place))
    if check_name(path).suffix.lower() not in SUFFIXES:
        raise InputError(f"{path} is not one of {', '.join(SUFFIXES)}: convert it, for example with numpy.save")
    if find_file(path).stat().st_size == 0:
        raise InputError(f"{path} is empty, expected an array: make it again")
    library = find_format(path).library
    array = read_format(path, name) if library is None else read_isolated(path, name, library)
    note("read", path)
    return array


def _split(place: str) -> tuple[Path, str | None]:
    """File and array name; a colon separates them only after a known ending."""
    file, colon, name = place.rpartition(":")
    if colon and Path(file).suffix.lower() in SUFFIXES and not os.path.exists(place):
        return Path(file), name
    return Path(place), None
