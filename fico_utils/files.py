"""Files of ours: written atomically, read with one clear sentence where they are broken, noted for the runner."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fico_utils.errors import InputError
from fico_utils.provenance import PACKAGE

#: Names the file to which reads and writes of artefacts are noted, one JSON object a line (``read`` or ``wrote``: the
#: path, ``digest``: its content), for the runner of the notebooks.
RECORD = "FICO_UTILS_RECORD"
#: What `atomic_path` calls a file that is being written.
TEMPORARY = re.compile(r"^\..+-[a-z0-9_]{8}(\.[^.]*)?$")
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
            f"cannot write {path} ({error.strerror}); choose a folder you may write to with --out or out_dir"
        ) from error


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it when the block ends well and removed when it does not.

    InputError where the folder cannot be written.
    """
    path = Path(path)
    with refuse_unwritable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
        os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _CHECKED.pop(str(path.absolute()), None)  # two writings may share a time stamp
    note("wrote", path)


def remove_unfinished(root: Path) -> None:
    """Remove the half-written files that a killed run left."""
    for path in root.rglob(".*"):
        if path.is_file() and TEMPORARY.match(path.name):
            path.unlink(missing_ok=True)


def note(what: str, path: Path, digest: str | None = None) -> None:
    """Tell the runner, where there is one, that a file was read or written."""
    if os.environ.get(RECORD):
        with open(os.environ[RECORD], "a", encoding="utf-8") as file:
            file.write(json.dumps({what: str(path.absolute()), "digest": digest}) + "\n")


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON atomically, indented, keys in the order given."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: str | Path) -> Any:
    """The content of a JSON file; InputError where it is missing or broken."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; expected a JSON file") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not readable as JSON ({error}); delete it and run the step again") from error


def write_arrays(path: str | Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any] | None = None) -> None:
    """Write named arrays as safetensors, atomically; metadata travels in the header as JSON values."""
    from safetensors.numpy import save_file

    header = {name: json.dumps(value) for name, value in (metadata or {}).items()}
    with atomic_path(path) as temporary:
        save_file({n: np.asarray(a, order="C") for n, a in arrays.items()}, temporary, metadata=header)


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
    """Files that a process read and did not write, and files that it wrote, as `note` recorded them.

    Each is a dict: ``path`` (below `root`), ``sha256`` of its content, ``bytes`` and ``changed_ns``. A file that is not
    there any more was in passing, such as a checkpoint of a training that has ended, and is left out.
    """
    lines = record.read_text(encoding="utf-8").splitlines() if record.is_file() else []
    entries = [json.loads(line) for line in lines]
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
