"""Files of ours: written atomically, read with one clear sentence where they are broken, noted for the runner."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import psutil

from fico_utils.errors import InputError
from fico_utils.provenance import PACKAGE

#: Names the file to which reads and writes of artefacts are noted, one JSON object a line (``read`` or ``wrote``: the
#: path, ``digest``: its content), for the runner of the notebooks.
RECORD = "FICO_UTILS_RECORD"
#: Its name in the folder of a step; it lists what every execution read and wrote, and so tells `clean` what is ours.
RECORDED = "files.jsonl"
#: What `atomic_path` calls a file that is being written; the number is that of the process that writes it.
TEMPORARY = re.compile(r"\..+\.fico-unfinished-(\d+)-[0-9a-f]{32}(\.[^.]*)?")
#: How the recorded names of files begin that lie in the package, such as weights that ship.
IN_PACKAGE = "fico_utils:"
#: Path -> (size and time stamp of the file when it was last read, digest of its content).
_CHECKED: dict[str, tuple[tuple[int, int], str]] = {}


def key_of(*parts: Any) -> str:
    """A 16-digit key of JSON-able parts: equal parts, equal key.

    >>> key_of("a", {"b": 1, "c": 2}) == key_of("a", {"c": 2, "b": 1})
    True
    """
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def sha256_file(path: str | Path) -> str:
    """SHA-256 of a file's bytes, hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_digest(content: Mapping[str, np.ndarray] | Any) -> str:
    """SHA-256 of named arrays (names, dtypes, shapes, bytes), or of anything JSON-able.

    >>> content_digest({"a": np.zeros(2, np.uint8)}) == content_digest({"a": np.zeros((1, 2), np.uint8)})
    False
    """
    digest = hashlib.sha256()
    if isinstance(content, Mapping) and content and all(isinstance(a, np.ndarray) for a in content.values()):
        for name in sorted(content):
            array = np.ascontiguousarray(content[name])
            digest.update(f"{name} {array.dtype.str} {content[name].shape}\n".encode())
            digest.update(array.reshape(-1).view(np.uint8))
    else:
        digest.update(json.dumps(content, sort_keys=True, ensure_ascii=False).encode())
    return digest.hexdigest()


@contextmanager
def refuse_unwritable(path: str | Path) -> Iterator[None]:
    """InputError in place of the system's error where a file or a folder cannot be written."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"cannot write {path} ({error.strerror or error}); make room there or choose another folder, for results with "
            "--out or out_dir"
        ) from error


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, to be written in the block: renamed to `path` where that ends well, else removed.

    The content is on the disk before it has its name, so that a power cut leaves the old file or the new one. InputError
    where it cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.fico-unfinished-{os.getpid()}-{uuid4().hex}{path.suffix}")
    with refuse_unwritable(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
    _CHECKED.pop(str(path.absolute()), None)  # two writings may share a time stamp
    note("wrote", path)


def remove_unfinished(root: Path) -> None:
    """Remove the half-written files below a folder that processes left which are not alive any more."""
    for folder, _, names in os.walk(root):
        for match in filter(None, map(TEMPORARY.fullmatch, names)):
            with suppress(OSError):  # such as that of another user, which is in nobody's way
                if not _writer_lives(path := Path(folder, match.string), int(match[1])):
                    path.unlink()


def _writer_lives(path: Path, process: int) -> bool:
    """Whether a process runs that began before a file was written."""
    try:
        return psutil.Process(process).create_time() <= path.lstat().st_mtime
    except (psutil.Error, OverflowError):
        return False


def note(what: str, path: Path, digest: str | None = None) -> None:
    """Tell the runner, where there is one, that a file was read or written."""
    if record := os.environ.get(RECORD):
        append_line(record, {what: str(path.absolute()), "digest": digest})


def append_line(path: str | Path, value: Mapping[str, Any]) -> None:
    """Append a line of JSON to a file; InputError where it cannot be written."""
    with refuse_unwritable(path), open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(value) + "\n")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a file, where there is one; one that is no object of JSON, such as a full disk cut, is left out."""
    values = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []:
        with suppress(ValueError):
            values.append(json.loads(line))
    return [value for value in values if isinstance(value, dict)]


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON atomically, indented, keys in the order given."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: str | Path) -> Any:
    """The content of a JSON file; InputError where it is missing or broken."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; expected a JSON file") from error
    except ValueError as error:
        raise InputError(f"{path} is not readable as JSON ({error}); delete it and run the step again") from error


def write_arrays(path: str | Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any] | None = None) -> None:
    """Write named arrays as safetensors, atomically; metadata travels in the header as JSON values.

    Equal arrays and metadata are equal bytes. The library's writer gives metadata a random order, and writes to a hidden
    file of its own, which a killed run would leave.
    """
    ordered = {n: np.asarray(arrays[n], order="C") for n in sorted(arrays, key=lambda n: (-arrays[n].itemsize, n))}
    header: dict[str, Any] = {"__metadata__": {n: json.dumps(value) for n, value in sorted((metadata or {}).items())}}
    end = 0
    for name, array in ordered.items():
        assert array.dtype.kind in "biuf", "what safetensors holds"
        kind = "BOOL" if array.dtype.kind == "b" else f"{array.dtype.kind.upper()}{8 * array.itemsize}"
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [end, end := end + array.nbytes]}
    text = json.dumps(header, ensure_ascii=False).encode()
    text = text.ljust(-(-len(text) // 8) * 8)  # so that the arrays begin at a multiple of 8 B
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in ordered.values():
            file.write(array.astype(array.dtype.newbyteorder("<"), copy=False).reshape(-1).view(np.uint8))


def read_metadata(path: str | Path) -> dict[str, Any]:
    """Metadata of a safetensors file; InputError where it is missing, truncated, or not written by `write_arrays`."""
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist; expected a safetensors file")
    try:
        with safe_open(path, "np") as file:
            return {name: json.loads(value) for name, value in (file.metadata() or {}).items()}
    except (SafetensorError, ValueError) as error:
        raise InputError(
            f"{path} is not a whole safetensors file of ours ({error}); delete it and run again"
        ) from error


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """All arrays of a safetensors file; InputError where it is missing, truncated or foreign."""
    from safetensors.numpy import load_file

    read_metadata(path)
    return load_file(path)


def digest_of(path: str | Path) -> str:
    """Digest of a file's content as it is now: of its arrays, its records, or its bytes where it is no artefact."""
    path = Path(path)
    stat, name = path.stat(), str(path.absolute())
    stamp = (stat.st_size, stat.st_mtime_ns)
    if name not in _CHECKED or _CHECKED[name][0] != stamp:
        if path.suffix == ".safetensors":
            digest = content_digest(read_arrays(path))
        elif path.suffix == ".json" and "header" in (content := read_json(path)):
            digest = content_digest(content["content"])
        else:
            digest = sha256_file(path)
        _CHECKED[name] = stamp, digest
    return _CHECKED[name][1]


def recorded_files(record: Path, root: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Files that a process read and did not write, and files that it wrote, as `note` recorded them since it `began`.

    Each is a dict: ``path`` (below `root`), ``sha256`` of its content, ``bytes`` and ``changed_ns``. A file that is not
    there any more was in passing, such as a checkpoint of a training that has ended, and is left out.
    """
    entries = read_lines(record)
    entries = entries[max((i for i, entry in enumerate(entries) if "began" in entry), default=0) :]
    wrote = {entry["wrote"]: None for entry in entries if "wrote" in entry}
    read = {entry["read"]: entry["digest"] for entry in entries if "read" in entry and entry["read"] not in wrote}
    rows = (
        [_file_row(Path(name), digest, root) for name, digest in files.items() if Path(name).is_file()]
        for files in (read, wrote)
    )
    inputs, outputs = (sorted(kind, key=lambda row: row["path"]) for kind in rows)
    return inputs, outputs


def _file_row(path: Path, digest: str | None, root: Path) -> dict[str, Any]:
    name = path.relative_to(root) if path.is_relative_to(root) else path
    if path.is_relative_to(PACKAGE):
        name = Path(IN_PACKAGE + path.relative_to(PACKAGE).as_posix())
    if digest is None and path.suffix == ".safetensors":
        digest = read_metadata(path).get("digest")  # of what was just written
    size, changed = path.stat().st_size, path.stat().st_mtime_ns
    return {"path": name.as_posix(), "sha256": digest or digest_of(path), "bytes": size, "changed_ns": changed}


def file_difference(row: Mapping[str, Any], root: Path) -> str:
    """``missing`` or ``changed`` where a file is no more as `recorded_files` says, else empty.

    A file of the same size and time stamp is not read again.
    """
    inside = row["path"].startswith(IN_PACKAGE)
    path = (PACKAGE if inside else root) / row["path"].removeprefix(IN_PACKAGE)
    if not path.is_file():
        return "missing"
    same = (path.stat().st_size, path.stat().st_mtime_ns) == (row["bytes"], row["changed_ns"])
    return "" if same or digest_of(path) == row["sha256"] else "changed"
