"""Which corpus a name stands for, in which size; read from its files where it is not drawn."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from fico_utils import registry
from fico_utils.data.corpus import SPLITS, Corpus
from fico_utils.errors import InputError
from fico_utils.extras.corpora.library import files_of
from fico_utils.workspace import PROJECT, Run

#: Where image features of a corpus that is not drawn come from: the backbone, or arrays in SCAN's layout.
VISUAL = ("backbone", "scan_arrays")


def corpus(run: Run, name: str) -> Corpus:
    """A corpus, all splits: an embedded one in the sizes of the run's profile, any other whole, from files.

    Parameters
    ----------
    name : str, an id of the registry; the name of a folder corpus below the run's ``data_dir``; or the path of one,
        which all functions here then know by the `name` of the corpus returned.

    Raises
    ------
    InputError
        Unknown corpus, one the profile gives no sizes for, or files that are missing or wrong.
    """
    info = info_of(run, name)
    if info.kind != "drawn":
        return from_files(run, info)[0]
    sizes = tuple((split, run[f"n_{split}"].get(name)) for split in SPLITS)
    if any(n is None for _, n in sizes):
        raise InputError(
            f"profile {run.profile} gives no size for corpus {name!r}; add it to n_train, n_val and n_test"
        )
    return _corpus(name, sizes)


@lru_cache(maxsize=8)
def _corpus(name: str, sizes: tuple[tuple[str, int], ...]) -> Corpus:
    from fico_utils.data.pictoscenes import make_corpus

    return make_corpus(name, dict(sizes))


def training_split(run: Run, system: str, name: str) -> str:
    """Which split a system learns from: ``train``, or the longer ``train_vlp``.

    The vision-language systems of the paper have read millions of pairs before they see the corpus. A profile may give
    ours more of the scenes of a drawn corpus than the others read (``n_train_vlp``); an epoch is as long for both.

    Raises
    ------
    InputError
        More scenes are asked of a corpus that is not drawn, or they are fewer than ``n_train``.
    """
    if registry.system(system).family != "vlp" or name not in run["n_train_vlp"]:
        return "train"
    given, least = run["n_train_vlp"][name], run["n_train"].get(name)
    if least is None or given < least:
        expected = "a drawn corpus" if least is None else f"at least the {least} of n_train"
        raise InputError(f"n_train_vlp was given {given} scenes of {name}; expected {expected}, or leave it out")
    return "train_vlp"


def part(run: Run, name: str, split: str) -> Corpus:
    """One split of a corpus, ``train_vlp`` among them: the training scenes and those that follow them."""
    return first_scenes(name, run["n_train_vlp"][name]) if split == "train_vlp" else corpus(run, name).subset(split)


def size(run: Run, name: str, split: str) -> int:
    """Images of a split; of a longer one without drawing it."""
    return run["n_train_vlp"][name] if split == "train_vlp" else int((corpus(run, name).split == split).sum())


@lru_cache(maxsize=2)
def first_scenes(name: str, n: int) -> Corpus:
    """The first `n` training scenes of a drawn corpus."""
    from fico_utils.data.pictoscenes import make_corpus

    return make_corpus(name, {"train": n}).subset("train")


def info_of(run: Run, name: str) -> registry.CorpusInfo:
    """What is known of a corpus; a folder corpus becomes known here."""
    data_dir, path = PROJECT / run["data_dir"], Path(name)
    if path.name != name:  # a path
        return registry.add_folder(PROJECT / path.expanduser())
    if name not in registry.CORPORA:
        registry.add_folders(data_dir)
    if name not in registry.CORPORA:
        raise InputError(
            f"unknown corpus {name!r}; expected one of {', '.join(registry.CORPORA)}, or a folder with images/ and "
            f"captions.csv, by its path or by its name in {data_dir}"
        )
    return registry.corpus(name)


def from_files(run: Run, info: registry.CorpusInfo) -> tuple[Corpus, dict[str, np.ndarray] | None]:
    """A corpus read from files and, with ``visual_features: scan_arrays``, the mapped regions of each split."""
    source = run["visual_features"]
    if source not in VISUAL:
        raise InputError(f"visual_features is {source!r}; expected one of {', '.join(VISUAL)}")
    data_dir = PROJECT / run["data_dir"]
    given = run["flickr30k_labels"], run["flickr30k_label_ids"]
    given = given if info.id == "flickr30k" else ("", "")
    stamps = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files_of(info, data_dir)]
    whole = run["published_in_full"]
    return _read(info, data_dir, run["image_size"], given, source == "scan_arrays", whole, tuple(stamps))


@lru_cache(maxsize=8)
def _read(
    info: registry.CorpusInfo,
    data_dir: Path,
    size: int,
    labels: tuple[str, str],
    scan: bool,
    in_full: bool,
    _stamps: tuple,
) -> tuple[Corpus, dict[str, np.ndarray] | None]:
    from fico_utils.extras.corpora.library import read_corpus, read_regions

    if scan:
        found = read_regions(info, data_dir, *labels)
        return found.corpus, found.regions
    return read_corpus(info, data_dir, size=size, labels=labels[0], label_ids=labels[1], in_full=in_full), None


def regions_of(run: Run, name: str) -> dict[str, np.ndarray] | None:
    """Mapped regions of each split, where a corpus brings them."""
    info = info_of(run, name)
    return None if info.kind == "drawn" else from_files(run, info)[1]
