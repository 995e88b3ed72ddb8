"""Files of ours: written atomically, read with one clear sentence where they are broken, noted for the runner."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import psutil

from fico_utils.errors import InputError
from fico_utils.provenance import PACKAGE, PROJECT, SHIPPED

#: Names the file to which reads and writes are noted for the runner of the notebooks, one JSON object a line: ``read``,
#: ``wrote``, or ``missed`` where nothing was there: the path; ``digest``: its content.
RECORD = "FICO_UTILS_RECORD"
#: Its name in the folder of a step; it lists what every execution read and wrote, and so tells `clean` what is ours.
RECORDED = "files.jsonl"
#: What `atomic_path` calls a file that is being written: number of its writer, 8 digits of its machine, 24 at random.
TEMPORARY = re.compile(r"\..+\.fico-unfinished-(\d+)-([0-9a-f]{8})[0-9a-f]{24}(\.[^.]*)?")
#: Seconds after which a file that another machine was writing has no writer any more.
ABANDONED = 86400
#: How the recorded names of files begin that lie in the package, such as weights that ship, or in the project.
PLACES = {"fico_utils:": PACKAGE, "project:": PROJECT}
#: Bytes of the largest file whose content is read to notice a change; a larger one goes by its size and time stamp.
LARGEST = 2**32
#: Path -> (size, time stamps and inode of the file when it was last read, digest of its content).
_CHECKED: dict[str, tuple[tuple[int, ...], str]] = {}


def key_of(*parts: Any) -> str:
    """A 16-digit key of JSON-able parts: equal parts, equal key.

    >>> key_of("a", {"b": 1, "c": 2}) == key_of("a", {"c": 2, "b": 1})
    True
    """
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


HOST = key_of(platform.node())[:8]  # eight digits for this machine


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


def seal_of(record: Mapping[str, Any]) -> str:
    """What a record that is kept says of all that stands in it but its ``seal``, as `write_record` writes it."""
    return key_of(json.loads(json.dumps({name: value for name, value in record.items() if name != "seal"})))


@contextmanager
def refuse_unwritable(path: str | Path | None = None) -> Iterator[None]:
    """InputError in place of the system's error where a file or a folder cannot be written, or, without one, used."""
    try:
        yield
    except BrokenPipeError:  # no file
        raise
    except OSError as error:
        problem = f"write {path}" if path else f"read or write {error.filename or 'a file'}"
        raise InputError(
            f"cannot {problem} ({error.strerror or error}); make room or choose another folder, for results with --out "
            "or out_dir, and give the same command again"
        ) from error


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, to be written in the block: renamed to `path` where that ends well, else removed.

    The content is on the disk before it has its name, so that a power cut leaves the old file or the new one.
    InputError where it cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.fico-unfinished-{os.getpid()}-{HOST}{uuid4().hex[8:]}{path.suffix}")
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
    """Remove the half-written files below a folder whose writers are not alive, as far as this machine can tell."""
    for folder, _, names in os.walk(root):
        for match in filter(None, map(TEMPORARY.fullmatch, names)):
            path, process = Path(folder, match.string), int(match[1])
            with suppress(OSError, OverflowError, psutil.Error):  # another user's, or one that just ended
                written = path.lstat().st_mtime
                if match[2] != HOST:
                    gone = time.time() - written > ABANDONED
                else:  # who has the writer's number may be its zombie, which writes no more, or have begun later
                    there = psutil.Process(process) if psutil.pid_exists(process) else None
                    gone = there is None or there.status() == psutil.STATUS_ZOMBIE or there.create_time() > written
                if gone:
                    path.unlink()


def note(what: str, path: Path, digest: str | None = None, record: str | Path | None = None) -> None:
    """Tell the runner, where there is one, that a file was read, written or missed; `record` is where it looks."""
    if record := record or os.environ.get(RECORD):
        with refuse_unwritable(record), open(record, "a", encoding="utf-8") as file:
            file.write(json.dumps({what: str(path.absolute()), "digest": digest}) + "\n")


def read_notes(record: Path) -> list[dict[str, Any]]:
    """What `note` wrote, in order; a line that is not whole, such as a full disk cut, is left out."""
    notes = []
    for line in record.read_text(encoding="utf-8", errors="replace").splitlines() if record.is_file() else []:
        with suppress(ValueError, RecursionError):
            notes.append(json.loads(line))
    named = [entry for entry in notes if isinstance(entry, dict) and isinstance(entry.get("digest", 0), str | None)]
    return [entry for entry in named if all(isinstance(v, str) for name, v in entry.items() if name != "digest")]


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON atomically, indented, keys in the order given; half a character, which no file can hold, escaped."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    write_text(path, text.encode("utf-8", "backslashreplace").decode("utf-8"))


def read_json(path: str | Path) -> Any:
    """The content of a JSON file; InputError where it is missing or broken."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; expected a JSON file") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not readable as JSON ({error}); delete it and run the step again") from error


def write_record(path: str | Path, record: Mapping[str, Any]) -> None:
    """Write a dict as JSON, with its seal."""
    write_json(path, {**record, "seal": seal_of(record)})


def read_record(path: str | Path) -> dict[str, Any]:
    """What `write_record` wrote; InputError where it is missing, cut, or does not fit its seal."""
    record = read_json(path)
    with suppress(ValueError, RecursionError):  # half letters, or lists in lists, which have no seal
        if isinstance(record, dict) and record.get("seal") == seal_of(record):
            return record
    raise InputError(f"{path} was cut or changed after it was written; delete it and run the step again")


def write_arrays(path: str | Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any] | None = None) -> None:
    """Write named arrays as safetensors, atomically; equal arrays are equal bytes. Metadata travels as JSON.

    The library's own writer first makes a hidden file, which a killed run would leave.
    """
    ordered = {n: np.asarray(arrays[n], order="C") for n in sorted(arrays, key=lambda n: (-arrays[n].itemsize, n))}
    header: dict[str, Any] = {"__metadata__": {"header": json.dumps(metadata)}} if metadata else {}
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
            held = {name: json.loads(value) for name, value in (file.metadata() or {}).items()}
            return held.get("header", held)  # layout 1 had an entry for each name
    except (SafetensorError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path} is not a whole safetensors file of ours ({error}); delete it and run again"
        ) from error


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """All arrays of a safetensors file; InputError where it is missing, truncated or foreign."""
    from safetensors.numpy import load_file

    read_metadata(path)
    return load_file(path)


def digest_of(path: str | Path) -> str:
    """Digest of a file's content as it is now: of the arrays or records of an artefact, of the bytes of any other file.

    Bytes count in what ships, too, and where a header was changed; a file above `LARGEST` goes by size and time stamp.
    """
    path = Path(path)
    stat, name = path.stat(), str(path.absolute())
    stamp = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
    if name not in _CHECKED or _CHECKED[name][0] != stamp:
        content = list(stamp[:2]) if stat.st_size > LARGEST else _sealed_content(path)
        _CHECKED[name] = stamp, sha256_file(path) if content is None else content_digest(content)
    return _CHECKED[name][1]


def _sealed_content(path: Path) -> Any:
    """The arrays or records of an artefact whose header fits its seal; else None."""
    if path.suffix not in (".safetensors", ".json") or path.is_relative_to(SHIPPED):
        return None
    try:
        held = None if path.suffix == ".safetensors" else read_json(path)
        header, content = (held["header"], held["content"]) if held else (read_metadata(path), read_arrays(path))
        sealed = header["seal"] == seal_of(header) if "seal" in header else header["format"] == 1
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError):  # a header of somebody else
        return None
    return content if sealed else None


def recorded_files(record: Path, root: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Files that a process read and did not write, and files that it wrote, as `note` recorded them since it `began`.

    Each is a `file_row`; that of a file that was looked for and was not there has no ``sha256``. A file that is not
    there any more was in passing, such as a checkpoint of a training that has ended, and is left out.
    """
    entries = read_notes(record)
    entries = entries[max((i for i, entry in enumerate(entries) if "began" in entry), default=0) :]
    wrote = {entry["wrote"]: None for entry in entries if "wrote" in entry}
    read = {entry["read"]: entry["digest"] for entry in entries if "read" in entry and entry["read"] not in wrote}
    missed = {entry["missed"] for entry in entries if "missed" in entry} - wrote.keys() - read.keys()
    rows = (
        [file_row(Path(name), root, digest) for name, digest in files.items() if os.path.isfile(name)]
        for files in (read, wrote)
    )
    inputs, outputs = (sorted(kind, key=lambda row: row["path"]) for kind in rows)
    absent = [{"path": _recorded_name(Path(name), root), "sha256": None, "bytes": 0} for name in sorted(missed)]
    return inputs + absent, outputs


def file_row(path: Path, root: Path, digest: str | None = None) -> dict[str, Any]:
    """A file as records name it: its ``path`` (below `root`), ``sha256`` of its content, and ``bytes``."""
    return {"path": _recorded_name(path, root), "sha256": digest or digest_of(path), "bytes": path.stat().st_size}


def _recorded_name(path: Path, root: Path) -> str:
    places = {"": root, **PLACES}
    inside = [name + path.relative_to(place).as_posix() for name, place in places.items() if path.is_relative_to(place)]
    return (inside or [path.as_posix()])[0]


def file_difference(row: Mapping[str, Any], root: Path) -> str:
    """``missing``, ``changed`` or ``appeared`` where a file's content is not as its `file_row` says; else empty."""
    place = next((name for name in PLACES if row["path"].startswith(name)), "")
    path = PLACES.get(place, root) / row["path"].removeprefix(place)
    there = os.path.isfile(path)  # also of a name that no file can have
    if row["sha256"] is None:
        return "appeared" if there else ""
    return "missing" if not there else "" if digest_of(path) == row["sha256"] else "changed"
