"""Files of arrays that once ended in a traceback, took all memory, crashed or were believed, each with its sentence."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
from scipy.io import savemat

from tests.faults.arrays import npy_bytes, saved, zipped


def npy_with(header: str, data: bytes = bytes(64), version: int = 1) -> bytes:
    """A .npy file with a header of one's own."""
    size = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + size + header.encode() + data


def npy_of(shape: str, descr: str = "'<f4'") -> bytes:
    """A .npy file that claims a shape and a type."""
    return npy_with(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}")


def safetensors_with(header: bytes, data: bytes = bytes(8)) -> bytes:
    """A .safetensors file with a header of one's own."""
    return struct.pack("<Q", len(header)) + header + data


def zip_with(offset: int, number: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A .npz file with some bytes of its directory changed."""
    data = zipped({"x.npy": npy_bytes(np.eye(4))}, method)
    at = data.index(b"PK\x01\x02") + offset
    return data[:at] + number + data[at + len(number) :]


def damaged_deflate() -> bytes:
    """A .npz file whose compressed bytes are none."""
    data = bytearray(zipped({"x.npy": npy_bytes(np.eye(40))}, zipfile.ZIP_DEFLATED))
    data[60:80] = b"\xff" * 20
    return bytes(data)


def mat_with(variables: dict[str, object], at: int, word: int) -> bytes:
    """A .mat file with one 32-bit word changed."""
    data = saved(savemat, variables, appendmat=False)
    return data[:at] + struct.pack("<I", word) + data[at + 4 :]


def deep_zip() -> bytes:
    """A member whose header is nested deeply."""
    return zipped({"x.npy": npy_with("(" * 9000)}, zipfile.ZIP_DEFLATED)


def pickled_dict() -> bytes:
    """What `np.save` makes of a dict."""
    file = io.BytesIO()
    np.save(file, {"npts": 4}, allow_pickle=True)  # type: ignore[arg-type]
    return file.getvalue()


DECLARES = "it declares an array of"
#: File name -> its bytes, and part of the sentence that refuses it.
FAILED: dict[str, tuple[bytes, str]] = {
    "token_error.npy": (npy_with("{'descr': '''"), "cannot be read"),
    "recursion.npy": (npy_with("-" * 5000 + "1"), "cannot be read"),
    "brackets.npy": (npy_with("(" * 9000), "cannot be read"),
    "long_header.npy": (npy_with("{}" + " " * 20_000), "cannot be read"),
    "header_of_4_gib.npy": (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}", "cannot be read"),
    "many_rows.npy": (npy_of("(1000000000, 4)"), DECLARES),
    "more_than_64_bits.npy": (npy_of(f"({10**30}, 4)"), DECLARES),
    "wraps_around.npy": (npy_of(f"({2**32}, {2**32})"), DECLARES),
    "negative.npy": (npy_of("(-4, -4)"), "its shape is (-4, -4)"),
    "text_of_4_gib.npy": (npy_of("(1,)", "'<U500000000'"), DECLARES),
    "nothing_of_4_gib.npy": (npy_of("(1000000000,)", "'|V0'"), "holds |V0 values"),
    "records.npy": (npy_of("(2,)", "[('a', '<f4'), ('b', '|O')]"), "never unpickled"),
    "dict.npy": (pickled_dict(), "never unpickled"),
    "many_rows.npz": (zipped({"x.npy": npy_of("(1000000000, 4)")}, zipfile.ZIP_DEFLATED), DECLARES),
    "claims_3_gib.npz": (zip_with(24, struct.pack("<I", 0xFFFFFFF0)), DECLARES),
    "bomb.npz": (zipped({"x.npy": npy_of("(99999999,)", "'|u1'") + bytes(10**6)}, zipfile.ZIP_BZIP2), "another way"),
    "damaged_deflate.npz": (damaged_deflate(), "cannot be read"),
    "encrypted.npz": (zip_with(8, b"\x01"), "cannot be read"),
    "unknown_method.npz": (zip_with(10, b"\x63"), "another way"),
    "deep.npz": (deep_zip(), "cannot be read"),
    "no_zip.npz": (b"PK\x03\x04" + bytes(40), "is no .npz file"),
    "negative.safetensors": (
        safetensors_with(b'{"x":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}}'), "cannot be read",
    ),
    "twice.safetensors": (
        safetensors_with(
            b'{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},'
            b'"x":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}}'
        ), "cannot be read",
    ),
    "overlap.safetensors": (
        safetensors_with(
            b'{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},'
            b'"y":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}'
        ), "cannot be read",
    ),
    "deep.safetensors": (safetensors_with(b"[" * 9000), "cannot be read"),
    "endless_header.safetensors": (b"\xff" * 8 + b"{}", "cannot be read"),
    "segfault.mat": ((Path(__file__).parent / "failed" / "segfault.mat").read_bytes(), "cannot be read"),
    "claims_4_gib.mat": (mat_with({"x": np.eye(4)}, 160, 2**28), "cannot be read"),
    "unknown_type.mat": (mat_with({"x": np.eye(4)}, 128, 0x77), "cannot be read"),
    "half.mat": (mat_with({"x": np.eye(4)}, 128, 14)[:200], ".mat"),
    "half.h5": (b"\x89HDF\r\n\x1a\n" + bytes(90), "cannot be read"),
    "half.mat 7.3.mat": (b"MATLAB 7.3 MAT-file".ljust(512) + b"\x89HDF\r\n\x1a\n", "cannot be read"),
    "half.pt": (b"\x80\x02" + b"K\x01." * 9, "cannot be read"),
    "half.parquet": (b"PAR1" + b"\xff" * 60 + b"\x40\0\0\0PAR1", "cannot be read"),
}  # fmt: skip
