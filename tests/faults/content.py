"""Changes that keep a file's size and time stamp, and a record of every file that the kernels of a run open.

The campaign changes one number at a time in files of every kind that a run of the tiny profile keeps: by its lowest bit
or digit, to NaN, or by any bit of the file. `status` or `check --verify` must name the file.
"""

from __future__ import annotations

import os
import random
import re
import struct
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fico_utils.artifacts import KEYED, SUMS, damage_of, is_artefact, shipped_sums
from fico_utils.batch.pipeline import file_changes
from fico_utils.errors import InputError
from fico_utils.files import PLACES, RECORDED, read_record
from fico_utils.provenance import PROJECT, SHIPPED

#: What Python runs as it starts a kernel: each file that is opened to be read is written to a file named by the step.
#: safetensors opens its files itself, unseen by Python.
HOOK = """
import os, sys

if os.environ.get("FICO_UTILS_RECORD"):
    step = os.path.basename(os.path.dirname(os.environ["FICO_UTILS_RECORD"]))
    opened = os.open(os.path.join(os.environ["OPENED"], step), os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def record(event, arguments):
        if event == "open" and isinstance(arguments[0], (str, bytes)) and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
            os.write(opened, os.fsencode(os.path.abspath(arguments[0])) + b"\\n")

    sys.addaudithook(record)
    import safetensors

    open_file = safetensors.safe_open

    def safe_open(path, *arguments, **options):
        sys.audit("open", os.fspath(path), "r", 0)
        return open_file(path, *arguments, **options)

    safetensors.safe_open = safe_open
"""
#: What a step is made from without being one of its inputs: notebooks and its own parameters, by their values; and what
#: its inputs are compared with.
BY_VALUE = (
    *("project:notebooks/", "project:configs/base.yaml", "project:configs/mini.yaml", "project:pyproject.toml"),
    "project:fico_utils.egg-info/",
    "fico_utils:weights/SHA256SUMS",
)
#: What goes with the code: compiled modules, and kernels that Numba compiled, which it makes anew with their source.
CODE = (".py", ".pyc", ".nbi", ".nbc")


def change_in_place(path: Path, content: bytes) -> None:
    """Write other bytes under the time stamp of the old ones, as a failing disk or a careless tool does."""
    stamp = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))


def flip_bit(path: Path, place: int, bit: int = 0) -> None:
    """Turn one bit of a file; its size and time stamp stay."""
    raw = bytearray(path.read_bytes())
    raw[place % len(raw)] ^= 1 << bit
    change_in_place(path, bytes(raw))


def recording_environment(folder: Path) -> dict[str, str]:
    """Variables of a run whose kernels record in `folder`, a file a step, what they open."""
    (folder / "sitecustomize.py").write_text(HOOK)
    (folder / "opened").mkdir()
    path = os.pathsep.join([str(folder), str(PROJECT)])
    return {**os.environ, "PYTHONPATH": path, "OPENED": str(folder / "opened")}


def undeclared_reads(opened: Path, manifests: Iterable[Mapping[str, Any]], root: Path) -> dict[str, list[str]]:
    """Step -> files below the results, the package or the project that it opened and does not name.

    A file that is gone was in passing. Everything outside, and in the project's own environment, is of the libraries.
    """
    undeclared = {}
    for manifest in manifests:
        places = {"": root, **PLACES}
        named = {row["path"] for kind in ("inputs", "outputs") for row in manifest[kind]}
        named |= {f"fico_utils:{name}" for name in manifest["made_from"]["code of the package"]}
        found = set()
        for line in set((opened / manifest["notebook"]).read_text().splitlines()):
            path = Path(line)
            inside = next((name for name, folder in places.items() if path.is_relative_to(folder)), None)
            of_library = ".venv" in path.parts or path.suffix in (*CODE, ".lock")
            if inside is not None and path.is_file() and not of_library:
                found.add(inside + path.relative_to(places[inside]).as_posix())
        left = sorted(name for name in found - named if not name.startswith(BY_VALUE))
        undeclared |= {manifest["step"]: left} if left else {}
    return undeclared


def change_number(content: bytes, rng: random.Random) -> bytes:
    """The content of a file after one change: of a float by its lowest bit or of a digit, to NaN, or of any one bit."""
    raw, kind = bytearray(content), rng.randrange(3)
    start = 8 + int.from_bytes(raw[:8], "little") if raw[8:9] == b"{" else 0  # of safetensors
    numbers = [] if start or b"\0" in content else [match.span() for match in re.finditer(rb"\d+(\.\d+)?", content)]
    if kind == 0:
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    elif numbers:
        at, end = rng.choice(numbers)
        raw[at:end] = (
            b"nan" if kind == 1 else bytes([rng.choice([d for d in b"0123456789" if d != raw[at]])]) + raw[at + 1 : end]
        )
    elif start < len(raw):
        at = rng.randrange(start, len(raw)) // 4 * 4
        raw[at : at + 4] = struct.pack("<f", float("nan")) if kind == 1 else bytes([raw[at] ^ 1]) + raw[at + 1 : at + 4]
    return bytes(raw) if raw != content else content[:-1] + bytes([content[-1] ^ 1])


def kind_of(path: Path, root: Path) -> str:
    """What stands for all files that are kept alike, such as ``features/*.safetensors``."""
    folder, name = path.parent.relative_to(root).as_posix(), path.name
    keyed = KEYED.search(folder)
    folder = folder.rpartition("/")[0] + "/*" if keyed else re.sub(r"(?<=^runs/).+", "*", folder)
    return f"{folder}/{name if name in ('manifest.json', 'log.txt', SUMS) else '*' + path.suffix}"


def is_noticed(path: Path, root: Path) -> bool:
    """Whether a file that was changed is named by its digest, by the manifest of a step, or by the report."""
    if path.name == SUMS:
        shipped = [SHIPPED / name for name in shipped_sums(SHIPPED)]
        return any(not place.is_file() or damage_of(place) for place in shipped)
    if (path.is_relative_to(SHIPPED) or is_artefact(path)) and damage_of(path):
        return True
    place = next((n + path.relative_to(p).as_posix() for n, p in PLACES.items() if path.is_relative_to(p)), None)
    name = place or path.relative_to(root).as_posix()
    for record in (*root.glob("runs/*/manifest.json"), *root.glob("report/*.json")):
        try:
            rows = {kind: read_record(record).get(kind, []) for kind in ("outputs", "inputs")}
            about = {kind: [row for row in found if row["path"] == name] for kind, found in rows.items()}
            if any(file_changes(about, root)):
                return True
        except InputError:
            return True
    return False


def tally_changes(folder: Path, root: Path, rng: random.Random, each: int) -> dict[str, tuple[int, int]]:
    """Kind of file in a folder -> how many numbers were changed, one at a time, and how many of these are noticed."""
    tried, noticed = Counter(), Counter()
    paths = [p for p in folder.rglob("*") if p.is_file() and p.stat().st_size and p.suffix != ".lock"]
    rng.shuffle(paths)
    # without what was written, which only `clean` reads, and the cards of weights, which people read
    for path in (p for p in paths if p.name != RECORDED and (p.suffix != ".md" or folder != SHIPPED)):
        kind, content = kind_of(path, folder), path.read_bytes()
        assert not is_noticed(path, root), f"{path} counts as changed before it is"
        for _ in range(min(each, each - tried[kind])):
            change_in_place(path, change_number(content, rng))
            tried[kind] += 1
            noticed[kind] += is_noticed(path, root)
            change_in_place(path, content)
    return {kind: (tried[kind], noticed[kind]) for kind in sorted(tried)}


def campaign(seconds: float, seed: int) -> str:
    """Kinds of files, and how many changes of each were noticed; AssertionError where one was not."""
    from tests.faults.writes import run_tiny

    end, rng, told = time.monotonic() + seconds, random.Random(seed), {}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name, "results/mini")
        done = run_tiny(root.parent)
        assert done.returncode == 0, done.stderr
        while not told or time.monotonic() < end:
            for kind, counts in tally_changes(root, root, rng, 20).items():
                told[kind] = [a + b for a, b in zip(told.get(kind, (0, 0)), counts, strict=True)]
    text = "\n".join(f"{kind}: {tried} changed, {noticed} noticed" for kind, (tried, noticed) in told.items())
    assert all(tried == noticed for tried, noticed in told.values()), text
    return text
