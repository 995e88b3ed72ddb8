"""Readers of corpora from files: which files below the data folder a corpus is made of, and how they are read.

=========== =====================================================================================================
corpus      below ``<data_dir>/``
=========== =====================================================================================================
flickr30k   ``flickr30k/dataset_flickr30k.json``, ``flickr30k/images/``; labels are a file of their own
mscoco      ``mscoco/dataset_coco.json``, ``mscoco/images/{train2014,val2014}/``, ``mscoco/annotations/``
any other   ``NAME/images/``, ``NAME/captions.csv`` and so on, see `folder`; openclipart is one of them
=========== =====================================================================================================

A file ``problems.csv`` (image, problem), which `fetching` writes, names pictures that cannot be read: those images are
left out. Precomputed regions in SCAN's layout lie in ``NAME/scan_arrays/``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from fico_utils.data.corpus import Corpus
from fico_utils.errors import InputError
from fico_utils.extras.corpora.folder import read_folder, read_table
from fico_utils.extras.corpora.published import DATASETS, read_instances, read_labels, read_published
from fico_utils.extras.corpora.scan_arrays import ScanArrays, read_scan_arrays
from fico_utils.provenance import PROJECT
from fico_utils.registry import CorpusInfo
from fico_utils.workspace import Run

#: Problems of a picture that leave no picture; a greyscale one is read.
FATAL = ("missing", "unreadable", "too_large")
#: Where image features of a corpus from files come from: the backbone, or arrays in SCAN's layout.
VISUAL = ("backbone", "scan_arrays")


@dataclass(frozen=True)
class FolderReader:
    """Reads a folder corpus; `read` and `regions` are what a run asks of every reader.

    Attributes
    ----------
    info : CorpusInfo
    """

    info: CorpusInfo

    def read(self, run: Run) -> Corpus:
        """The corpus, as the parameters of a run say; read again when one of its text files changed."""
        return self._read(run)[0]

    def regions(self, run: Run) -> dict[str, np.ndarray] | None:
        """With ``visual_features: scan_arrays``, the mapped regions of each split; else None."""
        return self._read(run)[1]

    def _read(self, run: Run) -> tuple[Corpus, dict[str, np.ndarray] | None]:
        source, data_dir = run["visual_features"], PROJECT / run["data_dir"]
        if source not in VISUAL:
            raise InputError(f"visual_features is {source!r}; expected one of {', '.join(VISUAL)}")
        stamps = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in self.files(data_dir)]
        given = self.label_files(run)
        if source == "scan_arrays":
            return _cached_regions(self, data_dir, given, tuple(stamps))
        return _cached_pictures(self, data_dir, run["image_size"], given, run["published_in_full"], tuple(stamps)), None

    def label_files(self, run: Run) -> tuple[str, str]:
        """Paths below the data folder of labels that are a file of their own, and of the ids of its rows; or empty."""
        names = f"{self.info.id}_labels", f"{self.info.id}_label_ids"
        return tuple(run.settings.get(name, "") for name in names)

    def place(self, data_dir: str | Path) -> Path:
        """The folder of the corpus."""
        return Path(self.info.folder or Path(data_dir) / self.info.id)

    def files(self, data_dir: str | Path) -> list[Path]:
        """The files that say what the corpus is, those that are there; pictures are not among them."""
        return [path for path in self._files(self.place(data_dir)) if path.is_file()]

    def _files(self, folder: Path) -> list[Path]:
        return [folder / name for name in ("captions.csv", "labels.csv", "splits.csv", "problems.csv")]

    def problems(self, data_dir: str | Path) -> list[tuple[str, str]]:
        """Image and problem of each row of ``problems.csv``; none where there is no such file."""
        path = self.place(data_dir) / "problems.csv"
        if not path.is_file():
            return []
        frame = read_table(path, ("image", "problem")).frame
        return list(zip(frame["image"], frame["problem"], strict=True))

    def read_pictures(
        self,
        data_dir: str | Path,
        *,
        size: int,
        labels: str = "",
        label_ids: str = "",
        whole: bool = False,
        in_full: bool = True,
    ) -> Corpus:
        """The corpus; pictures are read when asked for.

        Parameters
        ----------
        data_dir : path, the folder that holds all corpora.
        size : int, height and width that pictures are brought to.
        labels, label_ids : paths below `data_dir`, the labels of a corpus that has none of its own, see `read_labels`.
        whole : bool, keep the images whose file is missing or listed as a problem, to look at their files one by one.
        in_full : bool, refuse a published corpus with other counts than the published ones; False reads a part of it.

        Raises
        ------
        InputError
            The files are not there (it says how to get them), or something is wrong in them.
        """
        gone = None if whole else [image for image, problem in self.problems(data_dir) if problem in FATAL]
        self._require(self._files(self.place(data_dir))[0])
        return self._open(Path(data_dir), size, gone, (labels, label_ids), in_full)

    def _open(
        self, data_dir: Path, size: int, gone: list[str] | None, _labels: tuple[str, str], _in_full: bool
    ) -> Corpus:
        return read_folder(self.place(data_dir), self.info.id, size=size, leave_out=gone)

    def read_regions(self, data_dir: str | Path, labels: str = "", label_ids: str = "") -> ScanArrays:
        """The corpus from precomputed regions: captions and ids lie beside the arrays, labels as in `read_pictures`."""
        arrays = read_scan_arrays(self.info.id, self.place(data_dir) / "scan_arrays")
        ids, data_dir = arrays.corpus.image_ids, Path(data_dir)
        if labels:
            marks, names = read_labels(data_dir / labels, ids, data_dir / label_ids if label_ids else None)
        elif instances := self._instances(self.place(data_dir)):
            marks, names = read_instances(instances, ids)
        else:
            return arrays
        return replace(arrays, corpus=replace(arrays.corpus, labels=marks, label_names=names))

    def _instances(self, folder: Path) -> list[Path]:
        """COCO's files of annotated things, where the corpus has any."""
        return []

    def _require(self, path: Path) -> None:
        if not path.is_file():
            raise InputError(
                f"{self.info.name} is not here: there is no file {path}; get it with `python -m fico_utils fetch "
                f"{self.info.id}`, or say where it is with data_dir"
            )


class PublishedReader(FolderReader):
    """Reads Flickr30K or MS-COCO from Karpathy's file."""

    def _files(self, folder: Path) -> list[Path]:
        split_json = folder / f"dataset_{DATASETS[self.info.id]}.json"
        return [split_json, folder / "problems.csv", *self._instances(folder)]

    def _open(
        self, data_dir: Path, size: int, gone: list[str] | None, labels: tuple[str, str], in_full: bool
    ) -> Corpus:
        folder = self.place(data_dir)
        label_file, label_ids = (data_dir / path if path else None for path in labels)
        return read_published(
            self.info.id,
            self._files(folder)[0],
            folder / "images",
            size=size,
            leave_out=gone,
            complete=in_full,
            instances=() if label_file else self._instances(folder),
            labels=label_file,
            label_ids=label_ids if label_file else None,
        )

    def _instances(self, folder: Path) -> list[Path]:
        if self.info.id != "mscoco":
            return []
        paths = [folder / "annotations" / f"instances_{part}2014.json" for part in ("train", "val")]
        return [path for path in paths if path.is_file()]


@lru_cache(maxsize=8)
def _cached_pictures(
    reader: FolderReader, data_dir: Path, size: int, labels: tuple[str, str], in_full: bool, _stamps: tuple
) -> Corpus:
    return reader.read_pictures(data_dir, size=size, labels=labels[0], label_ids=labels[1], in_full=in_full)


@lru_cache(maxsize=8)
def _cached_regions(
    reader: FolderReader, data_dir: Path, labels: tuple[str, str], _stamps: tuple
) -> tuple[Corpus, dict[str, np.ndarray]]:
    arrays = reader.read_regions(data_dir, *labels)
    return arrays.corpus, arrays.regions
