"""The one store: everything that is kept is an artefact with a recipe, a key, and a digest of its own content.

The `Store` looks an artefact up by its `Recipe` or makes it, and writes it atomically. Long work is a sequence of
`Units`. Digests are checked when content is read, once for each process and state of the file; a damaged artefact is
named and made again.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fico_utils.errors import InputError
from fico_utils.files import (
    content_digest,
    digest_of,
    key_of,
    note,
    read_arrays,
    read_json,
    read_metadata,
    refuse_unwritable,
    seal_of,
    write_arrays,
    write_json,
)
from fico_utils.locks import open_lock
from fico_utils.producers import version_of
from fico_utils.provenance import SHIPPED, commit

#: Version of the layout of headers; the first had no seal. A file of a newer layout is refused and never overwritten.
FORMAT = 2
Arrays = dict[str, np.ndarray]
#: Under this name the JSON content of a unit travels among its arrays, so that its digest covers it, too.
CONTENT = "content.json"
#: In the name of an artefact, or of the folder of a unit: its seed and its key.
KEYED = re.compile(r"__s\d+__([0-9a-f]{16})\b")
#: What says the SHA-256 of every file that ships, as the tool sha256sum writes and reads it.
SUMS = "SHA256SUMS"


class NewerArtefact(InputError):
    """An artefact that a newer version of this package wrote: it is refused and never overwritten."""


@dataclass(frozen=True)
class Recipe:
    """What an artefact is made from: equal recipes give equal content, up to the rounding of another machine.

    `inputs` are keys of the artefacts it is made from. Of trained weights it is their content digest, since two
    trainings by one recipe end in different numbers on different machines, and what was trained on top of one cannot
    read the other.
    """

    producer: str  # its version is part of the key, and no source text is
    settings: Mapping[str, Any] = field(default_factory=dict)  # JSON-able, all that the content depends on besides
    seed: int = 0
    inputs: tuple[str, ...] = ()

    @property
    def described(self) -> dict[str, Any]:
        """The recipe as JSON: what the header of an artefact says."""
        described = {
            "producer": self.producer,
            "version": version_of(self.producer),
            "settings": dict(self.settings),
            "seed": self.seed,
            "inputs": list(self.inputs),
        }
        return json.loads(json.dumps(described))

    @property
    def key(self) -> str:
        """16 hex digits: equal recipes, equal keys."""
        return key_of(self.described)


def header_of(path: str | Path) -> dict[str, Any]:
    """The header of an artefact: ``recipe``, ``key``, ``digest``, ``about``, ``format``, ``seal``; or empty.

    InputError where the file is missing or broken, or was written by a newer version of this package.
    """
    path = Path(path)
    header = read_json(path).get("header", {}) if path.suffix == ".json" else read_metadata(path)
    if header.get("format", FORMAT) > FORMAT:
        raise NewerArtefact(
            f"{path} was written by a newer version of fico_utils (layout {header['format']}, this one reads up to "
            f"{FORMAT}); update the package, or choose another folder with --out"
        )
    return header


def damage_of(path: str | Path) -> str:
    """What is wrong with an artefact, in words: its content does not fit its digest, or it is not whole; else empty."""
    try:
        if path.is_relative_to(SHIPPED):  # its headers have no seal, so that all bytes count before any is believed
            stated = shipped_sums(SHIPPED).get(path.relative_to(SHIPPED).as_posix())
        else:
            stated = header_of(path).get("digest")
        if stated == digest_of(path):
            return ""
        changed = "was changed after it was written: its content does not fit its digest"
        return changed if stated else "has no digest of its content"
    except NewerArtefact:
        raise
    except (InputError, AttributeError, KeyError, TypeError):
        return "is not a whole file of ours"


def is_artefact(path: Path) -> bool:
    """Whether a file has a header of ours with the key that its name states, or the folder of its unit."""
    try:
        match = KEYED.search(path.name) or KEYED.search(path.parent.name)
        return match is not None and header_of(path).get("key") == match[1]
    except (InputError, AttributeError, KeyError, TypeError):
        return False


def shipped_sums(folder: Path) -> dict[str, str]:
    """Name of each file that ships, below its folder -> SHA-256 of its bytes, as the file `SUMS` says."""
    path = folder / SUMS
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def _files_below(*folders: Path) -> list[Path]:
    """Files below some folders that may be artefacts, sorted; locks and half-written files do not count."""
    paths = ((f, p) for f in folders for p in f.rglob("*") if p.suffix in (".safetensors", ".json"))
    return sorted(p for f, p in paths if not any(part.startswith(".") for part in p.relative_to(f).parts))


def damaged_artefacts(*folders: str | Path) -> tuple[int, dict[Path, str]]:
    """How many artefacts lie below some folders, and what is wrong with those that are damaged; all content is read.

    Files without a header of ours, such as the tables and figures of a run, are not counted.
    """
    paths = [p for p in _files_below(*map(Path, folders)) if p.suffix != ".json" or b'"header"' in p.read_bytes()[:200]]
    return len(paths), {path: damage for path in paths if (damage := damage_of(path))}


def read_artefact(path: Path) -> Any:
    """The arrays or records of an artefact that is whole; a runner that records what is read is told."""
    note("read", path, digest_of(path))
    return read_arrays(path) if path.suffix == ".safetensors" else read_json(path)["content"]


class Store:
    """The artefacts of one run, below the folder `root`; every header says `about`: the run, threads."""

    def __init__(self, root: str | Path, about: Mapping[str, Any] | None = None) -> None:
        self.root, self.about = Path(root), dict(about or {})

    def path(self, folder: str, name: str, recipe: Recipe, suffix: str = ".safetensors") -> Path:
        """Where an artefact lies: seed and key are in every path, so that seeds and settings never overwrite others."""
        return self.root / folder / f"{name}__s{recipe.seed}__{recipe.key}{suffix}"

    def arrays(
        self, folder: str, name: str, recipe: Recipe, build: Callable[[], Mapping[str, np.ndarray]], **about: Any
    ) -> Arrays:
        """Named arrays by their recipe; made by `build` and written where they are missing or damaged."""
        return self._made(self.path(folder, name, recipe), recipe, build, about)

    def records(
        self, folder: str, name: str, recipe: Recipe, build: Callable[[], list[dict[str, Any]]], **about: Any
    ) -> list[dict[str, Any]]:
        """A small table, one dict a row, by its recipe; made by `build` and written where it is missing or damaged."""
        return self._made(self.path(folder, name, recipe, ".json"), recipe, build, about)

    def _made(self, path: Path, recipe: Recipe, build: Callable, about: Mapping[str, Any]) -> Any:
        if not self.holds(path, recipe):
            with self.locked(path):
                if damage_of(path) or not self.holds(path, recipe):  # nobody else has made it meanwhile
                    content = build()
                    self.write(path, recipe, content, **about)
                    if path.suffix == ".safetensors":
                        return content  # records are read again, so that they are the same in every run
        return read_artefact(path)

    def holds(self, path: Path, recipe: Recipe) -> bool:
        """Whether an artefact is there, of this recipe and undamaged; one that is damaged is named on stderr."""
        damage = path.is_file() and damage_of(path)
        if damage:
            print(f"{path} {damage}; it is made again", file=sys.stderr)
        return path.is_file() and not damage and header_of(path).get("key") == recipe.key

    def write(self, path: Path, recipe: Recipe, content: Any, **about: Any) -> None:
        """Write named arrays, or records, as the artefact of a recipe; `path` is where it lies."""
        header = self.header(recipe, content, **about)
        if path.suffix == ".safetensors":
            write_arrays(path, content, header)
        else:
            write_json(path, {"header": header, "content": content})

    def header(self, recipe: Recipe, content: Any, **about: Any) -> dict[str, Any]:
        """The header of an artefact of some content."""
        header = {
            "format": FORMAT,
            "recipe": recipe.described,
            "key": recipe.key,
            "digest": content_digest(content),
            "about": {**self.about, "commit": commit(), **about},
        }
        return header | {"seal": seal_of(header)}

    @contextmanager
    def locked(self, path: Path) -> Iterator[None]:
        """Hold the right to make one artefact: a second maker would waste work, so it waits, and soon says so."""
        from filelock import Timeout

        from fico_utils.progress import INTERVAL

        place = self.root / ".locks" / f"{key_of(path.relative_to(self.root).as_posix())}.lock"
        with refuse_unwritable(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            lock = open_lock(place)
            try:
                held = lock.acquire(INTERVAL)
            except Timeout:
                print(f"another process is making {path}, which this one waits for", file=sys.stderr, flush=True)
                held = lock.acquire()
        with held:
            yield

    def files(self, *folders: str) -> list[Path]:
        """All artefacts below some folders, or below all, sorted; locks and half-written files do not count."""
        return _files_below(*(self.root / folder for folder in folders or [""]))

    def units(self, folder: str, name: str, recipe: Recipe) -> Units:
        """The units of a long work, in a folder of its recipe."""
        return Units(self, self.path(folder, name, recipe, ""), recipe)


class Units:
    """Long work as a sequence of numbered units, each an artefact of its own: a killed run loses at most one."""

    def __init__(self, store: Store, folder: Path, recipe: Recipe) -> None:
        self.store, self.folder, self.recipe = store, folder, recipe

    def path(self, number: int) -> Path:
        """File of a unit."""
        return self.folder / f"unit_{number:06d}.safetensors"

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob("unit_*.safetensors"))

    def numbers(self) -> list[int]:
        """Numbers of the units that are there and whole, in order; damaged ones are named on stderr and left out."""
        numbers = []
        for path in self._paths():
            if damage := damage_of(path):
                print(f"{path} {damage}; this unit is made again", file=sys.stderr)
            else:
                numbers.append(int(path.stem.removeprefix("unit_")))
        return numbers

    def read(self, number: int) -> tuple[Arrays, Any]:
        """Arrays of a unit, and the JSON-able content that was written with them."""
        arrays = read_artefact(self.path(number))
        return arrays, json.loads(arrays.pop(CONTENT).tobytes())

    def write(
        self, number: int, arrays: Mapping[str, np.ndarray], content: Any = None, keep: int | None = None
    ) -> None:
        """Write a unit; with `keep`, only the last so many units stay."""
        held = {**arrays, CONTENT: np.frombuffer(json.dumps(content).encode(), np.uint8)}
        write_arrays(self.path(number), held, self.store.header(self.recipe, held))
        if keep is not None:
            for path in self._paths()[:-keep]:
                path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete all units, and their folder where nothing else lies in it: the whole is kept elsewhere."""
        with suppress(OSError):
            for path in self._paths():
                path.unlink()
            self.folder.rmdir()
