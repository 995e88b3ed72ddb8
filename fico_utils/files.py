"""Files of ours: written atomically, read with one clear sentence where they are broken, noted for the runner."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fico_utils.errors import InputError

#: Names the file to which reads and writes of artefacts are noted, one JSON object a line (``read`` or ``wrote``: the
#: path, ``digest``: its content), for the runner of the notebooks.
RECORD = "FICO_UTILS_RECORD"
#: What `atomic_path` calls a file that is being written.
TEMPORARY = re.compile(r"^\..+-[a-z0-9_]{8}(\.[^.]*)?$")
#: Path -> how often this process has written it: two writings may share a time stamp.
WRITTEN: Counter[str] = Counter()


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
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it when the block ends well and removed when it does not.

    InputError where the folder cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise InputError(
            f"cannot write {path} ({error.strerror}); choose a folder you may write to with --out or out_dir"
        ) from error
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    WRITTEN[str(path.absolute())] += 1
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
