"""Corpora from packages of Debian: fetched without root, compared with their sums, and made once into a folder corpus.

Nothing of a package is run. It is unpacked beside the corpus, the pictures that are kept are copied, and the rest is
removed.
"""

from __future__ import annotations

import math
import os
import shutil
import struct
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fico_utils.errors import InputError
from fico_utils.extras.corpora.folder import caption_file, stratified_split, write_folder, write_rows
from fico_utils.extras.corpora.pictures import PIXEL_LIMIT
from fico_utils.files import read_json, refuse_unwritable, sha256_file, write_json

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
    """A picture of the packages that a corpus keeps where its PNG is whole and no other picture's."""

    name: str  # path below ``images``, without ``.png``
    file: Path  # its PNG
    texts: list[str]
    categories: set[str]
    translations: dict[str, str] = field(default_factory=dict)  # its first text in other languages, by language


@dataclass(frozen=True)
class Source:
    """A corpus that packages hold, and which of their pictures it is made of."""

    corpus: str  # id of the corpus
    packages: tuple[Package, ...]
    tree: str  # where the packages have their pictures
    rules: int  # raised when `find_pictures` keeps other pictures or texts, so that an older corpus is noticed
    find_pictures: Callable[[Path], tuple[list[Picture], Counter[str]]]  # and how many were left out and why


def build_corpus(
    source: Source, tree: str | Path, folder: str | Path, seed: int = 0, **facts: object
) -> dict[str, object]:
    """Make the folder corpus (`folder.read_folder`) from an unpacked tree; returns what ``source.json`` then says.

    `seed` is that of the splits, `facts` are further lines for ``source.json``. Texts in other languages stand in
    ``translations.csv`` (image, language, caption). ``captions.csv`` is written last, so that a folder that has it is
    whole.

    InputError where nothing in the tree is a picture with a text.
    """
    tree, folder = Path(tree), Path(folder)
    found, left_out = source.find_pictures(tree)
    pictures = _keep_pictures(found, left_out)
    if not pictures:
        raise InputError(f"{tree} has no picture with a text of its own; expected {_list_names(source)}, unpacked")
    names = sorted({category for picture in pictures for category in picture.categories})
    marks = np.array([[name in picture.categories for name in names] for picture in pictures])
    split = stratified_split(marks.reshape(len(pictures), -1), FRACTIONS, seed)
    captions, labels, splits, translations = [], [], [], []
    for picture, part in zip(pictures, split.tolist(), strict=True):
        image = f"{picture.name}.png"
        target = folder / "images" / image
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(picture.file, target)
        captions += [(image, text) for text in picture.texts]
        labels += [(image, category) for category in sorted(picture.categories)]
        splits.append((image, part))
        translations += [(image, *pair) for pair in sorted(picture.translations.items())]
    counts = {"pictures": len(pictures), "texts": len(captions), "left_out": dict(left_out)}
    told = {**counts, "seed": seed, "rules": source.rules, **facts}
    write_json(folder / "source.json", told)
    if translations:
        write_rows(folder / "translations.csv", ("image", "language", "caption"), translations)
    write_folder(folder, captions, labels, splits)
    return told


def _keep_pictures(found: Sequence[Picture], left_out: Counter[str]) -> list[Picture]:
    """The pictures with a text and a PNG of their own; `left_out` counts the others. Of equal ones the first is kept,
    in the categories of all.
    """
    kept: dict[str, Picture] = {}
    for picture in found:
        with open(picture.file, "rb") as file:
            header = file.read(24)
        n_pixels = math.prod(struct.unpack(">II", header[16:].ljust(8, b"\0")))  # width and height
        content = sha256_file(picture.file)
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
    """The folder corpus below a cache folder: made from its packages if it is not there yet, without root.

    The packages stay in a folder beside it; files that lie there already are taken. The corpus appears when it is
    whole.

    InputError where this machine has no apt-get or dpkg-deb, a package cannot be downloaded or is another, or the
    corpus was made by other rules.
    """
    cache = Path(cache).resolve()
    folder = cache / source.corpus
    if caption_file(folder).is_file():
        _refuse_other_rules(source, folder)
        return folder
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder} holds files and no captions; move it away, and give the same command again")
    packages, unpacked = cache / f"{source.corpus}-packages", cache / f"{source.corpus}-unpacked"
    try:
        with refuse_unwritable():
            shutil.rmtree(unpacked, ignore_errors=True)  # of a run that was killed
            packages.mkdir(parents=True, exist_ok=True)
            files = {_get_package(source, package, packages): package.sha256 for package in source.packages}
            for file in files:
                _call(source, ["dpkg-deb", "-x", str(file), str(unpacked)], packages)
            sums = {file.name: digest for file, digest in files.items()}
            build_corpus(source, unpacked / source.tree, unpacked / "corpus", packages=sums)
            os.replace(unpacked / "corpus", folder)
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
    return folder


def _refuse_other_rules(source: Source, folder: Path) -> None:
    """InputError where the corpus says that it was made by other rules; the first ones did not say it."""
    path = folder / "source.json"
    made_by = read_json(path).get("rules", 1) if path.is_file() else source.rules
    if made_by != source.rules:
        raise InputError(
            f"{folder} was made by rules {made_by} of {source.corpus}, which are at {source.rules}: move it away, and "
            f"give `python -m fico_utils fetch {source.corpus}` again"
        )


def _get_package(source: Source, package: Package, folder: Path) -> Path:
    """The file of a package in a folder: one that is there, or else downloaded; its sum is the one that is known."""
    pattern = f"{package.name}_*.deb"
    if not [*folder.glob(pattern)]:
        _call(source, ["apt-get", "download", f"{package.name}={package.version}"], folder)
    for file in sorted(folder.glob(pattern)):
        if sha256_file(file) == package.sha256:
            return file
    raise InputError(
        f"no {pattern} in {folder} is version {package.version} of {package.name}, from which {source.corpus} is made "
        f"(its SHA-256 is {package.sha256}): delete what lies there, and give the same command again"
    )


def _list_names(source: Source) -> str:
    return " and ".join(package.name for package in source.packages)


def _call(source: Source, command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise InputError(
            f"{source.corpus} comes as packages of Debian, and there is no {command[0]} here; unpack "
            f"{_list_names(source)} on a machine that has it and call debian.build_corpus on them"
        ) from None
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise InputError(f"{' '.join(command[:2])} failed ({reason}); is there a network, and a Debian package list?")
