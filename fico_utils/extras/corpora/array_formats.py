"""One function for each format in which people hold an array; what is declared is checked before it is allocated.

A reader may raise anything at all on a stranger's bytes, and `read_format` turns it into one sentence.
Nothing is unpickled.
"""

from __future__ import annotations

import io
import math
import re
import warnings
import zipfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from fico_utils.errors import InputError
from fico_utils.evaluation.embeddings import as_array
from fico_utils.extras.corpora.reading import first_line

#: Bytes of the longest header of a .npy file that is read; a plain array's has some 120.
NPY_HEADER = 2**14
#: Bytes that one byte of a deflate stream can become, by its definition.
EXPANSION = 1032
#: Bytes that an array may have on top of that where a format stores runs of equal values.
MARGIN = 2**25
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
#: What MATLAB calls its numbers in HDF5; its text and cells are stored as numbers, too, and are none.
MATLAB_NUMBERS = re.compile("double|single|logical|u?int(8|16|32|64)")
SAFETENSORS = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4", "U64": "<u8",
    "I64": "<i8", "F16": "<f2", "BF16": "<u2", "F32": "<f4", "F64": "<f8",
}  # fmt: skip


class Format(NamedTuple):
    """How a kind of file is read, and the library of native code that does it, if one does."""

    read: Callable[[Path, str | None], np.ndarray]
    library: str | None = None


def find_format(path: Path) -> Format | None:
    """The format of a file by its ending; a .mat file of version 7.3 is HDF5. None where no reader knows it."""
    suffix = path.suffix.lower()
    if suffix == ".mat":
        with path.open("rb") as file:
            start = file.read(520)
        suffix += " 7.3" if HDF5_SIGNATURE in (start[:8], start[512:]) or b"MATLAB 7.3" in start[:128] else ""
    return FORMATS.get(suffix)


def read_format(path: Path, name: str | None) -> np.ndarray:
    """The array `name` of a file, or its only one; whatever a library raises is one sentence, an InputError."""
    place = path if name is None else f"{path}:{name}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is odd in a header, and of what overflows in it
            array = find_format(path).read(path, name)
    except InputError:
        raise
    except ImportError as error:
        raise InputError(
            f"{place} is read by the package {error.name}, which is not installed: pip install {error.name}, or save "
            "the array with numpy.save"
        ) from None
    except MemoryError:
        raise InputError(f"{place} needs more memory than there is for it: save only what is needed of it") from None
    except Exception as error:
        if "WeightsUnpickler" in str(error):
            raise _holds_objects(place) from None
        raise InputError(
            f"{place} cannot be read ({first_line(error)}): it is truncated or no {path.suffix} file; get it again, "
            "or save the array with numpy.save"
        ) from None
    _require_plain(place, array.dtype)
    return array


def _holds_objects(place: str | Path) -> InputError:
    return InputError(f"{place} holds Python objects, which are never unpickled: save a plain numeric array")


def _require_plain(place: str | Path, dtype: np.dtype) -> None:
    """InputError where a type is neither of numbers nor of text."""
    if dtype.hasobject:
        raise _holds_objects(place)
    if dtype.kind not in "biufcSU" or not dtype.itemsize:
        raise InputError(f"{place} holds {dtype} values, expected numbers: save a plain numeric array")


def _require_size(place: str | Path, declared: int, held: int) -> None:
    """InputError where an array declares more bytes than its file can hold."""
    if declared > held:
        raise InputError(
            f"{place} cannot be read (it declares an array of {declared} bytes and can hold {held} of it): it is "
            "truncated or damaged; get it again"
        )


def _pick(path: Path, names: Iterable[str], name: str | None) -> str:
    """The asked name, or the only one."""
    names = sorted(names)
    listed = ", ".join(names) or "none"
    if name is None and len(names) == 1:
        return names[0]
    if name is None:
        raise InputError(f"{path} holds {len(names)} arrays ({listed}): pick one as {path}:NAME")
    if name not in names:
        raise InputError(f"{path} has no array {name!r}, only {listed}")
    return name


def _npy_header(place: str | Path, file: IO[bytes], size: int) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Shape, whether in Fortran's order, type and offset of an array in `size` bytes, which can hold it."""
    head = io.BytesIO(file.read(NPY_HEADER))
    version = np.lib.format.read_magic(head)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"it is of version {version[0]}.{version[1]}")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(head)
    if min(shape, default=0) < 0:
        raise ValueError(f"its shape is {shape}")
    _require_plain(place, dtype)
    _require_size(place, math.prod(shape) * dtype.itemsize, size - head.tell())
    return shape, fortran, dtype, head.tell()


def _read_npy(path: Path, name: str | None) -> np.ndarray:
    if name is not None:
        raise InputError(f"{path} holds one array without a name: leave out :{name}")
    with path.open("rb") as file:
        shape, fortran, dtype, offset = _npy_header(path, file, path.stat().st_size)
    return _map_array(path, shape, dtype, offset, "F" if fortran else "C")


def _map_array(path: Path, shape: tuple[int, ...], dtype: np.dtype, offset: int, order: str = "C") -> np.ndarray:
    """An array in a file, read-only; an empty one cannot be mapped."""
    if not math.prod(shape):
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "r", offset, shape, order)


def _read_npz(path: Path, name: str | None) -> np.ndarray:
    if not zipfile.is_zipfile(path):
        raise InputError(
            f"{path} cannot be read: it is no .npz file, whatever its name says, or truncated; get it again"
        )
    with zipfile.ZipFile(path) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        picked = _pick(path, members, name)
        member, place = members[picked], f"{path}:{picked}"
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError("it is compressed in another way than numpy does it")
        held = min(member.compress_size, path.stat().st_size)
        _require_size(place, member.file_size, held if member.compress_type == zipfile.ZIP_STORED else EXPANSION * held)
        with archive.open(member) as file:
            _npy_header(place, file, member.file_size)
        with archive.open(member) as file:
            return np.lib.format.read_array(file, allow_pickle=False)


def _read_safetensors(path: Path, name: str | None) -> np.ndarray:
    from safetensors import safe_open

    with path.open("rb") as file:
        begin = 8 + int.from_bytes(file.read(8), "little")
    places: dict[str, tuple[str, list[int], int]] = {}
    with safe_open(path, "np") as file:  # which checks that the arrays fill the file, one behind the other
        for key in file.offset_keys():
            kind, shape = file.get_slice(key).get_dtype(), file.get_slice(key).get_shape()
            places[key] = kind, shape, begin
            bits = re.search(r"\d+", kind)
            begin += math.prod(shape) * (int(bits[0]) if bits else 8) // 8
    kind, shape, begin = places[_pick(path, places, name)]
    if kind not in SAFETENSORS:
        raise InputError(f"{path} holds {kind} values, expected one of {', '.join(SAFETENSORS)}")
    array = _map_array(path, tuple(shape), np.dtype(SAFETENSORS[kind]), begin)
    # bfloat16 is the upper half of float32
    return (array.astype(np.uint32) << 16).view(np.float32) if kind == "BF16" else array


def _filled_up(path: Path, array: Any) -> np.ndarray:
    """As numpy's, sparse matrices and tensors too, if a file of this size can mean so many numbers."""
    _require_size(path, 8 * math.prod(array.shape), MARGIN + EXPANSION * path.stat().st_size)
    if hasattr(array, "check_format"):
        array.check_format(full_check=True)  # an index beyond the shape would be written beyond the array
    return as_array(array, str(path))


def _read_mat(path: Path, name: str | None) -> np.ndarray:
    from scipy.io import loadmat, whosmat

    picked = _pick(path, [entry[0] for entry in whosmat(path, appendmat=False)], name)
    return _filled_up(path, loadmat(path, variable_names=[picked], appendmat=False)[picked])


def _read_hdf5(path: Path, name: str | None, matlab: bool = False) -> np.ndarray:
    """A dataset of this very file: links to and storage in others are not followed. MATLAB's are transposed."""
    import h5py

    with h5py.File(path, "r") as file:
        found: dict[str, Any] = {}
        file.visititems(lambda key, item: found.update({key: item} if isinstance(item, h5py.Dataset) else {}))
        # what cells point to is no variable
        array = found[_pick(path, [key for key in found if not key.startswith("#refs#/")], name)]
        kind = str(np.asarray(array.attrs.get("MATLAB_class", "double")).astype(str))
        if not MATLAB_NUMBERS.fullmatch(kind) or "MATLAB_empty" in array.attrs:
            raise InputError(f"{path} holds {kind} or nothing in {array.name}, expected numbers")
        if array.is_virtual or array.external:
            raise InputError(f"{path} keeps the values of {array.name} in other files, expected them in this one")
        _require_plain(path, array.dtype)
        _require_size(path, array.dtype.itemsize * array.size, MARGIN + EXPANSION * path.stat().st_size)
        return array[()].T if matlab else array[()]


def _read_torch(path: Path, name: str | None) -> np.ndarray:
    import torch

    content = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(content, torch.Tensor) and name is not None:
        raise InputError(f"{path} holds one tensor without a name: leave out :{name}")
    if isinstance(content, dict):
        tensors = {str(key): value for key, value in content.items() if isinstance(value, torch.Tensor)}
        content = tensors[_pick(path, tensors, name)]
    if not isinstance(content, torch.Tensor):
        raise InputError(f"{path} holds a {type(content).__name__}, expected a tensor or a dict of tensors")
    return _filled_up(path, content)


def _read_parquet(path: Path, name: str | None) -> np.ndarray:
    """A list column (n, width); without one all columns (n, n_columns); or, by its name, a column of numbers (n,)."""
    from pyarrow import parquet, types

    with parquet.ParquetFile(path, pre_buffer=False) as file:
        fields = [field for field in file.schema_arrow if not field.name.startswith("__index_level_")]
        lists = [field.name for field in fields if types.is_nested(field.type)]
        names = [field.name for field in fields]
        if lists or name is not None:
            names = [_pick(path, lists if name is None else names, name)]
        _require_size(path, 8 * file.metadata.num_rows * len(names), MARGIN + EXPANSION * path.stat().st_size)
        table = file.read(columns=names, use_threads=False)
    columns = [_read_column(f"{path}:{n}", table[n].combine_chunks()) for n in names]
    return columns[0] if lists or name is not None else np.stack(columns, axis=1)


def _read_column(place: str, column: Any) -> np.ndarray:
    from pyarrow import types
    from pyarrow.compute import list_value_length

    values, lengths = column, ()
    if types.is_nested(column.type) and hasattr(column.type, "value_type"):
        values, lengths = column.flatten(), np.unique(list_value_length(column))
    if column.null_count or values.null_count or len(lengths) > 1:
        raise InputError(f"{place} has rows without a value or of several lengths, expected numbers, as many in each")
    if not any(test(values.type) for test in (types.is_integer, types.is_floating, types.is_boolean)):
        raise InputError(f"{place} holds {values.type} values, expected numbers: pick a column of numbers")
    array = values.to_numpy(zero_copy_only=False)
    return array.reshape(len(column), -1) if len(lengths) else array


FORMATS = {
    ".npy": Format(_read_npy),
    ".npz": Format(_read_npz),
    ".safetensors": Format(_read_safetensors),
    ".mat": Format(_read_mat, "scipy.io"),
    ".mat 7.3": Format(partial(_read_hdf5, matlab=True), "h5py"),
    ".h5": Format(_read_hdf5, "h5py"),
    ".hdf5": Format(_read_hdf5, "h5py"),
    ".pt": Format(_read_torch, "torch"),
    ".pth": Format(_read_torch, "torch"),
    ".parquet": Format(_read_parquet, "pyarrow.parquet"),
}
SUFFIXES = tuple(suffix for suffix in FORMATS if " " not in suffix)
