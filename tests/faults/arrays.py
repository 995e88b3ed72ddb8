"""Damaged and hostile files of arrays, through `read_array` and `evaluate`."""

from __future__ import annotations

import contextlib
import io
import json
import random
import struct
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fico_utils.cli import main
from fico_utils.errors import InputError
from fico_utils.extras.corpora import array_formats, isolated
from fico_utils.extras.corpora.arrays import read_array
from tests.faults.mutations import (
    NUMBERS,
    Forked,
    Hunt,
    conclude,
    measured_children,
    mutate_bytes,
    mutate_json,
    mutate_text,
)

IMAGES = np.random.default_rng(0).standard_normal((4, 6)).astype("f4")
TEXTS = np.random.default_rng(1).standard_normal((8, 6)).astype("f4")
#: Ways to compress, two of which numpy never takes.
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2)
#: Types that an array may claim to have.
TYPES = (
    "<f4",
    ">f8",
    "|b1",
    "|O",
    "<U5",
    "|S3",
    "|V8",
    "<c16",
    "<f2",
    "<M8[s]",
    "<U0",
    "|V0",
    "<U999999999",
    "<f16",
    "x",
)
TYPES += ("<i8", "|u1", ">u2", "('<f4',(9,))", "[('a','<f4')]", "[('a','|O')]", "<f4,<f4", "<f4" * 500, "<U536870911")


def saved(write: Callable[..., Any], *arguments: Any, **keywords: Any) -> bytes:
    """The bytes that a function writes into a file, given first."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        write(path, *arguments, **keywords)
        return path.read_bytes()


def npy_bytes(array: np.ndarray) -> bytes:
    """A .npy file."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def mutate_npy(rng: random.Random, _: bytes = b"") -> bytes:
    """A header with other types, shapes and words in front of some values."""
    data = IMAGES.tobytes() * rng.choice((0, 1, 1, 1, 20))
    descr = repr(rng.choice(TYPES)) if rng.random() < 0.3 else "'<f4'"
    shape = (
        [rng.choice((4, 6, *NUMBERS)) for _ in range(rng.choice((0, 1, 2, 2, 3, 40)))] if rng.random() < 0.5 else [4, 6]
    )
    fortran = rng.choice(("True", "False", "False", "False", "0", "None", "[]"))
    text = f"{{'descr': {descr.strip(chr(39)) if '(' in descr else descr}, 'fortran_order': {fortran}, 'shape': "
    text += f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''}), }}"
    if rng.random() < 0.3:
        text = mutate_text(
            rng, text, ("L", "-", "(" * 150, "-" * 5000, "'" * 3, "#", "\\", "0x", "1j", "lambda:0", "~" * 3000)
        )
    head = text.encode("utf-8", "surrogatepass")
    version = rng.choice((b"\x01\0", b"\x01\0", b"\x02\0", b"\x03\0", b"\x09\x09"))
    length = len(head) if rng.random() < 0.9 else rng.choice(NUMBERS)
    width = 2 if version == b"\x01\0" else 4
    return b"\x93NUMPY" + version + (length % 2 ** (8 * width)).to_bytes(width, "little") + head + data


def zipped(files: dict[str, bytes], method: int) -> bytes:
    """A zip file, its checksums right."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def mutate_npz(rng: random.Random, data: bytes) -> bytes:
    """Members with odd headers and names, or bombs; or the sizes in the directory changed."""
    if rng.random() < 0.5:
        member = mutate_npy(rng)
        if rng.random() < 0.2:
            shape = (rng.choice((10**4, 10**6, 10**7)), 1)
            head = npy_bytes(np.empty((0, 1), "u1")).replace(
                b"(0, 1), }" + b" " * 10, f"{shape}, }}".encode().ljust(19)
            )
            member = head + b"\0" * min(shape[0], 10**7)
        names = rng.choice((["x.npy"], ["x"], ["../x.npy"], ["a\0.npy"], ["x.npy", "y.npy"], ["\u202e" * 2000], ["-"]))
        data = zipped(dict.fromkeys(names, member), rng.choice(METHODS))
    if rng.random() < 0.5:
        at = data.find(rng.choice((b"PK\x01\x02", b"PK\x05\x06", b"PK\x03\x04"))) + rng.randrange(4, 46)
        number = rng.choice(NUMBERS) % 2**32
        data = data[:at] + struct.pack("<I", number)[: rng.choice((1, 2, 4))] + data[at + 4 :]
    return data


def mutate_safetensors(rng: random.Random, data: bytes) -> bytes:
    """The header changed as JSON, its length right or wrong."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    kinds = (*array_formats.SAFETENSORS, "F8_E4M3", "F4", "C64", "X")
    if header and rng.random() < 0.3:
        rng.choice([v for k, v in header.items() if k[0] != "_"])["dtype"] = rng.choice(kinds)
    text = mutate_json(rng, header) if rng.random() < 0.8 else json.dumps(header)
    head = text.encode("utf-8", "surrogatepass")
    size = len(head) if rng.random() < 0.9 else rng.choice(NUMBERS) % 2**64
    return size.to_bytes(8, "little") + head + data[8 + length :] * rng.choice((0, 1, 1, 1, 1, 2))


def mutate_mat(rng: random.Random, data: bytes) -> bytes:
    """Elements of MATLAB 5 changed inside their compression, or their tags, types, classes and dimensions."""
    head, body, out = data[:128], data[128:], b""
    while len(body) >= 8:
        kind, size = struct.unpack("<II", body[:8])
        part, body = body[8 : 8 + size], body[8 + size :]
        if kind == 15:
            part = zlib.decompress(part)
            part = zlib.compress(mutate_element(rng, part) if rng.random() < 0.7 else part)
            size = len(part)
        else:
            part = mutate_element(rng, body=part) if rng.random() < 0.7 else part
        out += struct.pack("<II", kind, size) + part
    return head + out


def mutate_element(rng: random.Random, body: bytes) -> bytes:
    """One 32-bit word changed: a type, a size, a dimension or a class."""
    at = 4 * rng.randrange(max(1, min(len(body) // 4, 30)))
    odd = (*range(20), 0x10001, 0x40001, 0x7FFF0001, *NUMBERS)
    return body[:at] + struct.pack("<I", rng.choice(odd) % 2**32) + body[at + 4 :]


def mutate_torch(rng: random.Random, data: bytes) -> bytes:
    """The pickle inside a .pt file changed: sizes, strides, types, names, instructions."""
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return mutate_bytes(rng, data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice([n for n in files if n.endswith(("data.pkl", "data/0", "version", "byteorder"))])
    if name.endswith("data.pkl") and rng.random() < 0.6:
        text = files[name]
        for old in rng.sample((b"K\x04", b"K\x06", b"K\x01", b"K\x00", b"FloatStorage", b"_rebuild_tensor_v2"), 2):
            new = rng.choice(
                (b"J\xff\xff\xff\x7f", b"K\x00", b"J\xff\xff\xff\xff", b"\x8a\x08" + b"\xff" * 7 + b"\x7f", b"N", b"]")
            )
            text = text.replace(old, new if old[:1] == b"K" else rng.choice((b"BFloat16Storage", b"set", b"eval")), 1)
        files[name] = text
    else:
        files[name] = mutate_bytes(rng, files[name])
    return zipped(files, zipfile.ZIP_STORED)


def mutate_parquet(rng: random.Random, data: bytes) -> bytes:
    """The description at the end changed, its length right."""
    length = int.from_bytes(data[-8:-4], "little")
    footer = mutate_bytes(rng, data[-8 - length : -8])
    body = data[4 : -8 - length] if rng.random() < 0.6 else mutate_bytes(rng, data[4 : -8 - length])
    return b"PAR1" + body + footer + struct.pack("<I", len(footer)) + b"PAR1"


def mat_seeds() -> list[bytes]:
    """MATLAB's files, of all kinds of variables."""
    from scipy.io import savemat
    from scipy.sparse import csc_array

    odd = {"c": np.array([{}, "a"], object), "t": "text", "s": {"a": IMAGES, "b": "x"}, "z": IMAGES * 1j}
    plain = {"x": IMAGES}
    return [
        *(saved(savemat, plain, appendmat=False, do_compression=packed) for packed in (False, True)),
        saved(savemat, plain, appendmat=False, format="4"),
        saved(savemat, {"x": csc_array(IMAGES > 0)}, appendmat=False),
        saved(savemat, {"x": IMAGES > 0}, appendmat=False, do_compression=True),
        *(saved(savemat, {"x": value}, appendmat=False) for value in odd.values()),
    ]


def hdf5_seeds(matlab: bool) -> list[bytes]:
    """HDF5 files: contiguous, in compressed pieces, with text, groups, links, types of their own."""
    h5py = pytest.importorskip("h5py")

    def write(path: Path, **how: Any) -> None:
        with h5py.File(path, "w", userblock_size=512 if matlab else 0, libver=how.pop("libver", None)) as file:
            one = file.create_dataset("x", data=how.pop("data", IMAGES.T), **how)
            if matlab:
                one.attrs["MATLAB_class"] = np.bytes_("single")
        if matlab:
            with path.open("r+b") as raw:
                raw.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")

    kinds: list[dict[str, Any]] = [{}, {"compression": "gzip", "shuffle": True, "chunks": (2, 2)}, {"libver": "latest"}]
    kinds += [{"fletcher32": True, "chunks": (3, 2)}, {"scaleoffset": 2, "chunks": (3, 2)}, {"compression": "lzf"}]
    kinds += [{"data": np.array([(1, 2.0)], "i4,f8")}, {"data": np.array(["a"], object), "dtype": h5py.string_dtype()}]
    kinds += [{"data": np.array([1, 2]), "dtype": h5py.enum_dtype({"A": 1, "B": 2})}, {"data": IMAGES > 0}]
    return [saved(write, **kind) for kind in kinds]


def torch_seeds() -> list[bytes]:
    """What `torch.save` writes of tensors."""
    import torch

    def write(path: Path, content: Any, **how: Any) -> None:
        torch.save(content, path, **how)

    x = torch.tensor(IMAGES)
    return [
        *(
            saved(write, content)
            for content in (x, x.bfloat16(), {"x": x}, {"x": x, "n": 3}, x.to_sparse(), x.double().T)
        ),
        saved(write, torch.nn.Parameter(x)),
        saved(write, x, _use_new_zipfile_serialization=False),
    ]


def parquet_seeds() -> list[bytes]:
    """Parquet files with lists, plain columns, compression and runs."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = pa.array(IMAGES.tolist(), pa.list_(pa.float32()))
    tables = [{"x": rows}, {"x": rows.cast(pa.list_(pa.float32(), 6))}, {f"c{i}": IMAGES[:, i] for i in range(6)}]
    tables += [{"x": rows, "id": list("abcd")}, {"x": [1, 2, 3, 4]}, {"x": np.zeros(4000)}]

    def write(path: Path, table: dict[str, Any], **how: Any) -> None:
        parquet.write_table(pa.table(table), path, **how)

    how = [{"compression": c} for c in ("none", "snappy", "gzip", "zstd")] + [{"use_dictionary": False}]
    return [saved(write, table, **way) for table in tables for way in how]


def safetensors_seeds() -> list[bytes]:
    """Files of one, three and no arrays."""
    from safetensors.numpy import save

    empty = {"x": IMAGES, "e": np.empty((0, 3), "f4"), "b": np.uint8([1])}
    return [save({"x": IMAGES}), save(empty, {"meta": "data"}), save({})]


def npz_seeds() -> list[bytes]:
    """Stored and compressed."""
    return [
        saved(lambda path: np.savez(path.open("wb"), x=IMAGES)),
        saved(lambda path: np.savez_compressed(path.open("wb"), x=IMAGES, y=IMAGES)),
    ]


Mutate = Callable[[random.Random, bytes], bytes]
#: Reader -> its ending, good files to begin with, and changes that know the format.
READERS: dict[str, tuple[str, Callable[[], list[bytes]], Mutate]] = {
    "mat": (".mat", mat_seeds, mutate_mat),
    "parquet": (".parquet", parquet_seeds, mutate_parquet),
    "npy": (".npy", lambda: [npy_bytes(IMAGES), npy_bytes(np.asfortranarray(IMAGES))], mutate_npy),
    "npz": (".npz", npz_seeds, mutate_npz),
    "safetensors": (".safetensors", safetensors_seeds, mutate_safetensors),
    "mat 7.3": (".mat", lambda: hdf5_seeds(True), mutate_bytes),
    "h5": (".h5", lambda: hdf5_seeds(False), mutate_bytes),
    "pt": (".pt", torch_seeds, mutate_torch),
}  # fmt: skip


def run_evaluate(*words: object) -> None:
    """`evaluate` as a command; its sentence as an `InputError`, and no line besides."""
    said, out = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(out):
        code = main(["evaluate", *map(str, words)])
    if code == 2 and said.getvalue().count("\n") == 1:
        raise InputError(said.getvalue().strip())
    assert code == 0, f"exit code {code}: {said.getvalue()}"
    assert not said.getvalue(), f"said {said.getvalue()}"


@contextlib.contextmanager
def forked_readers():
    """`read_isolated` starts a fork of this process, which has the libraries already, in place of a new one."""

    def start(request: dict[str, Any]) -> Forked:
        return Forked(lambda out: isolated.answer_request(request, out))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(isolated, "start_reader", start)
        yield


def warm_up(folder: Path) -> None:
    """Compile and import what scoring takes, so that it counts as nobody's time."""
    for kind in ("f4", "f8"):
        np.save(folder / "i.npy", TEXTS.astype(kind))
        np.save(folder / "l.npy", np.eye(8, dtype="u1"))
        run_evaluate("--images", folder / "i.npy", "--texts", folder / "i.npy", "--labels", folder / "l.npy")
        run_evaluate("--similarity", folder / "l.npy")


def hunt_reader(reader: str, folder: Path, rng: random.Random, until: Callable[[Hunt], bool]) -> Hunt:
    """Mutations of one format, read, and every tenth scored, until enough."""
    ending, make_seeds, mutate = READERS[reader]
    seeds, hunt, path, texts = make_seeds(), Hunt(reader), folder / f"x{ending}", folder / "texts.npy"
    np.save(texts, TEXTS)
    with forked_readers(), measured_children(hunt):
        while not until(hunt):
            data = rng.choice(seeds)
            data = mutate(rng, data) if rng.random() < 0.6 else mutate_bytes(rng, data)
            place = rng.choice(
                (f"{path}:x", path) if ending not in (".npy", ".pt") else (path, path, path, f"{path}:x")
            )
            flags = (
                rng.choice(("--images", "--labels", "--caption-image", "--similarity"))
                if hunt.tried % 10 == 0
                else None
            )
            if flags is None:
                hunt.judge({path: data}, lambda place=place: read_array(place))
            else:
                given = {"--similarity": [flags, place]}.get(flags, ["--texts", texts, flags, place])
                given += ["--images", texts] if flags in ("--labels", "--caption-image") else []
                hunt.judge({path: data}, lambda given=given: run_evaluate(*given))
    return hunt


def campaign(seconds: float, seed: int, readers: tuple[str, ...] = tuple(READERS), least: int = 0) -> str:
    """Mutations of each reader for its share of the time, or until at least so many are tried."""
    hunts = []
    with tempfile.TemporaryDirectory() as folder:
        warm_up(Path(folder))
    for reader in readers:
        rng, end = random.Random(f"{seed} {reader}"), time.monotonic() + seconds / len(readers)
        with tempfile.TemporaryDirectory() as folder:
            hunts.append(
                hunt_reader(reader, Path(folder), rng, lambda h, end=end: h.tried >= least and time.monotonic() > end)
            )
    return conclude(hunts)
