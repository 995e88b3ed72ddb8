"""Readers of corpora from files: which files below the data folder a corpus is made of, and how they are read.

A folder corpus that somebody brought is known by its folder's name; a file ``corpus.yaml`` in it may say more. A file
``problems.csv`` (image, problem), which `fetching` writes, names pictures that cannot be read, and they are left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from fico_utils.data.corpus import Corpus
from fico_utils.errors import InputError
from fico_utils.extras.corpora.folder import FATAL, caption_file, read_folder, read_problems
from fico_utils.extras.corpora.published import DATASETS, read_instances, read_labels, read_published
from fico_utils.extras.corpora.reading import read_utf8, show_text
from fico_utils.extras.corpora.scan_arrays import read_scan_arrays
from fico_utils.profiles import read_yaml
from fico_utils.provenance import PROJECT
from fico_utils.registry import CORPORA, CorpusInfo
from fico_utils.workspace import Run

#: Where image features of a corpus from files come from: the backbone, arrays in SCAN's layout, a pretrained tower.
VISUAL = ("backbone", "scan_arrays", "towers")
#: What may stand in the ``corpus.yaml`` of a folder corpus, and of which type it is.
FOLDER_KEYS = {"name": str, "provenance": str, "photographs": bool, "beside": str}
#: Corpora whose names no folder may take: those that are drawn or published.
TAKEN = [c.id for c in CORPORA.values() if c.reader != CorpusInfo.reader]
Regions = dict[str, np.ndarray]
#: Paths below the data folder of a label file and of the ids of its rows; empty where there are none.
LabelPaths = tuple[str, str]
LabelFiles = dict[str, Path | None]


@dataclass(frozen=True)
class FolderReader:
    """Reads a folder corpus from ``<data_dir>/NAME``; `read` and `regions` are what a run asks of every reader."""

    info: CorpusInfo

    def read(self, run: Run) -> Corpus:
        """The corpus, as the parameters of a run say; read again when one of its text files changed."""
        return self._read(run)[0]

    def regions(self, run: Run) -> Regions | None:
        """With ``visual_features: scan_arrays``, the mapped regions of each split; else None."""
        return self._read(run)[1]

    def _read(self, run: Run) -> tuple[Corpus, Regions | None]:
        source, data_dir = run["visual_features"], PROJECT / run["data_dir"]
        if source not in VISUAL:
            raise InputError(f"visual_features is {source!r}; expected one of {', '.join(VISUAL)}")
        stamps = tuple((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in self.files(data_dir))
        labels = tuple(run.settings.get(f"{self.info.id}_{name}", "") for name in ("labels", "label_ids"))
        size = None if source == "scan_arrays" else run["image_size"]
        return _read_once(self, data_dir, size, labels, run["published_in_full"], stamps)

    def place(self, data_dir: str | Path) -> Path:
        """The folder of the corpus."""
        return Path(self.info.folder or Path(data_dir) / self.info.id)

    def files(self, data_dir: str | Path) -> list[Path]:
        """The files that say what the corpus is, those that are there; pictures are not among them."""
        return [path for path in self._files(self.place(data_dir)) if path.is_file()]

    def read_pictures(
        self,
        data_dir: str | Path,
        *,
        size: int,
        labels: LabelPaths = ("", ""),
        whole: bool = False,
        in_full: bool = True,
    ) -> Corpus:
        """The corpus, with pictures of `size` x `size` pixels that are read when asked for.

        `labels` are for a corpus that has none of its own, see `read_labels`. `whole` keeps the images whose file is
        missing or listed as a problem; `in_full` refuses a published corpus with other counts than the published ones.

        InputError where the files are not there (it says how to get them), or something is wrong in them.
        """
        folder = self.place(data_dir)
        first = self._files(folder)[0]
        if not first.is_file():
            get = f"get it with `python -m fico_utils fetch {self.info.id}`, or say where it is with data_dir"
            own = "a folder of your own holds captions.csv and the pictures in images/"
            raise InputError(
                f"{self.info.name} is not here: there is no file {first}; {own if self.info.folder else get}"
            )
        gone = None if whole else dict(read_problems(folder, FATAL))
        return self._open(folder, _label_files(data_dir, labels), in_full, size=size, leave_out=gone)

    def read_regions(self, data_dir: str | Path, labels: LabelPaths = ("", "")) -> tuple[Corpus, Regions]:
        """The corpus from precomputed regions in SCAN's layout below ``scan_arrays/``; labels as in `read_pictures`."""
        folder = self.place(data_dir)
        corpus, regions = read_scan_arrays(self.info.id, folder / "scan_arrays")
        if given := _label_files(data_dir, labels):
            marks, names = read_labels(given["labels"], corpus.image_ids, given["label_ids"])
        elif instances := self._instances(folder):
            marks, names = read_instances(instances, corpus.image_ids)
        else:
            return corpus, regions
        return replace(corpus, labels=marks, label_names=names), regions

    def _files(self, folder: Path) -> list[Path]:
        return [caption_file(folder), *(folder / name for name in ("labels.csv", "splits.csv", "problems.csv"))]

    def _open(self, folder: Path, _labels: LabelFiles, _in_full: bool, **options: Any) -> Corpus:
        return read_folder(folder, self.info.id, **options)

    def _instances(self, _folder: Path) -> list[Path]:
        """COCO's files of annotated things, where the corpus has any."""
        return []


class PublishedReader(FolderReader):
    """Reads Flickr30K or MS-COCO from Karpathy's file."""

    def _files(self, folder: Path) -> list[Path]:
        split_json = folder / f"dataset_{DATASETS[self.info.id]}.json"
        return [split_json, folder / "problems.csv", *self._instances(folder)]

    def _open(self, folder: Path, labels: LabelFiles, in_full: bool, **options: Any) -> Corpus:
        options |= labels or {"instances": self._instances(folder)}
        return read_published(self.info.id, self._files(folder)[0], folder / "images", complete=in_full, **options)

    def _instances(self, folder: Path) -> list[Path]:
        paths = [folder / "annotations" / f"instances_{part}2014.json" for part in ("train", "val")]
        return [path for path in paths if self.info.id == "mscoco" and path.is_file()]


def _label_files(data_dir: str | Path, labels: LabelPaths) -> LabelFiles:
    """A label file and, where it is given, the file of the ids of its rows; empty without a label file."""
    paths = (Path(data_dir) / path if path else None for path in labels)
    return dict(zip(("labels", "label_ids"), paths, strict=True)) if labels[0] else {}


@lru_cache(maxsize=8)
def _read_once(
    reader: FolderReader, data_dir: Path, size: int | None, labels: LabelPaths, in_full: bool, _stamps: tuple
) -> tuple[Corpus, Regions | None]:
    """The corpus with pictures of a size; without one, with regions instead."""
    if size is None:
        return reader.read_regions(data_dir, labels)
    return reader.read_pictures(data_dir, size=size, labels=labels, in_full=in_full), None


def folder_corpus(folder: str | Path) -> CorpusInfo:
    """The `CorpusInfo` of the folder corpus in `folder`.

    The id is the folder's name in small letters, what is no letter or digit an underscore. A file ``corpus.yaml`` in
    the folder may say ``name`` (as printed), ``provenance``, ``photographs`` (true or false) and ``beside`` (the
    paper's corpus whose columns of the tables it takes).

    InputError where the folder has no letters in its name or that of another kind of corpus, or ``corpus.yaml`` says
    anything else.
    """
    folder = Path(folder).resolve()
    corpus_id = re.sub("[^a-z0-9]+", "_", folder.name.lower()).strip("_")
    if not corpus_id or corpus_id in TAKEN:
        raise InputError(
            f"the folder {folder} cannot give a corpus its name {folder.name!r}; rename it, in letters and digits, "
            f"other than {', '.join(TAKEN)}"
        )
    known, described = CORPORA.get(corpus_id), folder / "corpus.yaml"
    if known is not None and not described.is_file():
        return replace(known, folder=str(folder))
    return CorpusInfo(
        corpus_id, **{"name": folder.name, "photographs": True, **_read_description(described)}, folder=str(folder)
    )


def find_corpora(data_dir: str | Path) -> dict[str, CorpusInfo]:
    """Every folder corpus right below `data_dir`, by id: a folder with ``images`` and a file of captions."""
    pictures = sorted(path for path in Path(data_dir).glob("*/images") if path.is_dir())
    folders = [p.parent for p in pictures if caption_file(p.parent).is_file() and p.parent.name not in TAKEN]
    return {info.id: info for info in map(folder_corpus, folders)}


def _read_description(path: Path) -> dict[str, Any]:
    """The content of a ``corpus.yaml``; empty where there is none."""
    if not path.is_file():
        return {}
    facts = read_yaml(read_utf8(path), f"{path} is no YAML; write lines such as `name: Mine`") or {}
    expected = ", ".join(f"{name} ({kind.__name__})" for name, kind in FOLDER_KEYS.items())
    if not isinstance(facts, dict) or any(type(v) is not FOLDER_KEYS.get(k) for k, v in facts.items()):
        raise InputError(f"{path} says {show_text(facts)}; expected any of {expected}")
    slots = [corpus_id for corpus_id in CORPORA if corpus_id in DATASETS]
    if facts.get("beside", slots[0]) not in slots:
        raise InputError(f"{path} says beside: {facts['beside']}; expected {' or '.join(slots)}, or leave it out")
    return facts
