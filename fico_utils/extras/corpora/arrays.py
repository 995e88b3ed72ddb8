"""Reading one array from a file that somebody gives: .npy, .npz, .safetensors or .mat, memory-mapped where possible.

Nothing is ever unpickled.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from fico_utils.errors import InputError
from fico_utils.extras.corpora.reading import first_line
from fico_utils.files import note

SUFFIXES = (".npy", ".npz", ".safetensors", ".mat")
#: A .npy file of so many bytes is read at once: an empty array cannot be mapped.
SMALL = 4096
#: Numbers of stored copies that are compared at a time.
COMPARED = 2**24
_SAFETENSORS = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4", "U64": "<u8",
    "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8",
}  # fmt: skip


def read_array(place: str | Path) -> np.ndarray:
    """The array at ``FILE`` or ``FILE:NAME``: .npy, .npz, .safetensors or .mat (up to version 7).

    ``:NAME`` picks one of several arrays. Of .npy and .safetensors, the array is read-only and memory-mapped.

    InputError where there is no such file, or it is of another format, truncated, without an array of that name, or
    holds objects.
    """
    path, name = _split(str(place))
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path} is not one of {', '.join(SUFFIXES)}: convert it, for example with numpy.save")
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty, expected an array: make it again")
    reader = {".npy": _npy, ".npz": _npz, ".safetensors": _safetensors, ".mat": _mat}[path.suffix]
    objects = InputError(f"{path} holds Python objects, which are never unpickled: save a plain numeric array")
    try:
        array = reader(path, name)
    except InputError:
        raise
    except Exception as error:  # whatever the parser makes of a stranger's file
        if any(word in str(error) for word in ("Object arrays", "Python objects")):
            raise objects from None
        raise InputError(
            f"{path} cannot be read ({first_line(error)}): it is truncated or no {path.suffix} file"
        ) from None
    if array.dtype.hasobject:
        raise objects
    note("read", path)
    return array


def _split(place: str) -> tuple[Path, str | None]:
    """File and array name; a colon separates them only after a known ending."""
    file, colon, name = place.rpartition(":")
    if colon and Path(file).suffix in SUFFIXES and not Path(place).exists():
        return Path(file), name
    return Path(place), None


def _pick(path: Path, names: list[str], name: str | None) -> str:
    """The asked name, or the only one."""
    listed = ", ".join(sorted(names)) or "none"
    if name is None and len(names) == 1:
        return names[0]
    if name is None:
        raise InputError(f"{path} holds {len(names)} arrays ({listed}): pick one as {path}:NAME")
    if name not in names:
        raise InputError(f"{path} has no array {name!r}, only {listed}")
    return name


def each_image_once(array: np.ndarray, copies: int, path: Path) -> np.ndarray:
    """Each image once, of an array (n, ...) that stores it `copies` times in a row; InputError where they differ."""
    if copies == 1:
        return array
    step = max(1, COMPARED // (copies * math.prod(array.shape[1:]))) * copies
    for start in range(0, len(array), step):
        part = np.asarray(array[start : start + step])
        part = part.reshape(-1, copies, math.prod(array.shape[1:]))
        for image in np.flatnonzero((part != part[:, :1]).any((1, 2)))[:1]:
            first = start + int(image) * copies
            raise InputError(
                f"{path}: rows {first} to {first + copies - 1} differ, expected one image stored {copies} times"
            )
    return array[::copies]


def _npy(path: Path, name: str | None) -> np.ndarray:
    if name is not None:
        raise InputError(f"{path} holds one array without a name: leave out :{name}")
    if path.stat().st_size > SMALL:
        return np.lib.format.open_memmap(path, mode="r")
    with path.open("rb") as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _npz(path: Path, name: str | None) -> np.ndarray:
    arrays = np.load(path, allow_pickle=False)
    if isinstance(arrays, np.ndarray):
        raise InputError(f"{path} is no .npz file, whatever its name says")
    with arrays:
        return arrays[_pick(path, arrays.files, name)]


def _safetensors(path: Path, name: str | None) -> np.ndarray:
    from safetensors import safe_open

    with safe_open(path, "np") as tensors:  # which checks that header and length fit together
        name = _pick(path, list(tensors.keys()), name)
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(length))[name]
    if entry["dtype"] not in _SAFETENSORS:
        raise InputError(f"{path} holds {entry['dtype']} values, expected one of {', '.join(_SAFETENSORS)}")
    dtype, shape = np.dtype(_SAFETENSORS[entry["dtype"]]), tuple(entry["shape"])
    if not math.prod(shape):
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "r", offset=8 + length + entry["data_offsets"][0], shape=shape)


def _mat(path: Path, name: str | None) -> np.ndarray:
    from scipy.io import loadmat, whosmat

    with path.open("rb") as file:
        start = file.read(128)
    if b"MATLAB 7.3" in start or start[:8] == b"\x89HDF\r\n\x1a\n":
        raise InputError(f"{path} is a .mat file of version 7.3: save it in MATLAB with -v7, or as .npy")
    asked = _pick(path, [entry[0] for entry in whosmat(path)], name)
    array = loadmat(path, variable_names=[asked], appendmat=False)[asked]
    return array.toarray() if hasattr(array, "toarray") else array
