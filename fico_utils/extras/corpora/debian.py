"""Corpora from packages of Debian: fetched without root, compared with their sums, and made into a folder corpus.

Nothing of a package is run: what it holds is unpacked, what is kept of it is copied, and the rest is removed.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import struct
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fico_utils.errors import InputError
from fico_utils.extras.corpora.folder import caption_file, stratified_split, write_folder
from fico_utils.extras.corpora.pictures import PIXEL_LIMIT
from fico_utils.extras.corpora.reading import read_json_object
from fico_utils.files import refuse_unwritable, sha256_file, write_json

#: The splits, stratified by category.
FRACTIONS = {"train": 0.7, "val": 0.1, "test": 0.2}


@dataclass(frozen=True)
class Package:
    """A package of Debian, and the SHA-256 of the file of this version."""

    name: str
    version: str
    sha256: str


@dataclass
class Picture:
    """A picture of the packages that a corpus may keep."""

    image: str  # path below ``images``
    file: Path  # its PNG
    texts: list[str]
    categories: set[str]


@dataclass(frozen=True)
class Source:
    """A corpus that packages hold, and which of their pictures it is made of."""

    corpus: str  # its id
    packages: tuple[Package, ...]
    tree: str  # where the packages have their pictures
    rules: int  # raised when other pictures or texts are kept, so that an older corpus is noticed
    find_pictures: Callable[[Path], tuple[list[Picture], Counter[str]]]  # and how many were left out and why


def build_corpus(source: Source, tree: str | Path, folder: str | Path, seed: int = 0) -> dict[str, object]:
    """Make the folder corpus (`folder.read_folder`) from an unpacked tree; returns what ``source.json`` then says.

    `seed` is that of the splits. ``captions.csv`` is written last, so that a folder that has it is whole.

    InputError where no picture of the tree has a text.
    """
    folder = Path(folder)
    found, left_out = source.find_pictures(Path(tree))
    pictures = _keep_pictures(found, left_out)
    if not pictures:
        raise InputError(f"{tree} has no picture with a text; expected the unpacked packages of {source.corpus}")
    names = sorted({category for picture in pictures for category in picture.categories})
    marks = np.array([[name in picture.categories for name in names] for picture in pictures])
    split = stratified_split(marks.reshape(len(pictures), -1), FRACTIONS, seed).tolist()
    for picture in pictures:
        target = folder / "images" / picture.image
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(picture.file, target)
    captions = [(picture.image, text) for picture in pictures for text in picture.texts]
    labels = [(picture.image, category) for picture in pictures for category in sorted(picture.categories)]
    splits = [(picture.image, part) for picture, part in zip(pictures, split, strict=True)]
    counts = {"pictures": len(pictures), "texts": len(captions), "left_out": dict(left_out)}
    sums = {f"{package.name} {package.version}": package.sha256 for package in source.packages}
    told = {**counts, "seed": seed, "rules": source.rules, "packages": sums}
    write_json(folder / "source.json", told)
    write_folder(folder, captions, labels, splits)
    return told


def _keep_pictures(found: Sequence[Picture], left_out: Counter[str]) -> list[Picture]:
    """Those with a text and a PNG; `left_out` counts the others. Of equal ones the first has the categories of all."""
    kept: dict[str, Picture] = {}
    for picture in found:
        png = picture.file.read_bytes()
        content = hashlib.sha256(png).hexdigest()
        n_pixels = math.prod(struct.unpack(">II", png[16:24].ljust(8, b"\0")))  # width and height, from its header
        if not picture.texts:
            left_out["without a text of its own"] += 1
        elif not 0 < n_pixels <= PIXEL_LIMIT:
            left_out["too large or no PNG"] += 1
        elif content in kept:
            left_out["same picture twice"] += 1
            kept[content].categories |= picture.categories
        else:
            kept[content] = picture
    return [*kept.values()]


def fetch_source(source: Source, cache: str | Path) -> Path:
    """The folder corpus below a cache folder, made from its packages if it is not there yet; it appears when whole.

    The packages stay in a folder beside it; those that lie there already are taken.

    InputError where this machine has no apt-get or dpkg-deb, a package cannot be downloaded or is another, or what is
    there was made by other rules or is no corpus.
    """
    cache = Path(cache).resolve()
    folder, packages, unpacked = (cache / f"{source.corpus}{what}" for what in ("", "-packages", "-unpacked"))
    again = f"move it away, and give `python -m fico_utils fetch {source.corpus}` again"
    if caption_file(folder).is_file():
        said = folder / "source.json"
        rules = (
            read_json_object(said).get("rules", 1) if said.is_file() else source.rules
        )  # the first rules were not told
        if rules != source.rules:
            raise InputError(f"{folder} was made by version {rules} of its rules, which are at {source.rules}: {again}")
        return folder
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder} holds files and no captions: {again}")
    try:
        with refuse_unwritable():
            shutil.rmtree(unpacked, ignore_errors=True)  # of a run that was killed
            packages.mkdir(parents=True, exist_ok=True)
            for file in [_get_package(package, packages) for package in source.packages]:
                _call(["dpkg-deb", "-x", str(file), str(unpacked)], packages)
            build_corpus(source, unpacked / source.tree, unpacked / "corpus")
            os.replace(unpacked / "corpus", folder)
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
    return folder


def _get_package(package: Package, folder: Path) -> Path:
    """The file of a package in a folder: one that is there, or else downloaded; its sum is the one that is known."""
    pattern = f"{package.name}_*.deb"
    if not [*folder.glob(pattern)]:
        _call(["apt-get", "download", f"{package.name}={package.version}"], folder)
    for file in sorted(folder.glob(pattern)):
        if sha256_file(file) == package.sha256:
            return file
    raise InputError(
        f"no {pattern} in {folder} is version {package.version} of {package.name}, whose SHA-256 is {package.sha256}: "
        "delete what lies there, and give the same command again"
    )


def _call(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise InputError(
            f"this corpus comes as packages of Debian, and there is no {command[0]} here; fetch it on a machine that "
            f"has it, and copy the folder {folder.name.removesuffix('-packages')} to {folder.parent}"
        ) from None
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise InputError(f"{' '.join(command[:2])} failed ({reason}); is there a network, and a Debian package list?")
