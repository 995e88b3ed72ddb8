"""Which corpus a name stands for: a reader draws it in the sizes of the profile, or reads it from its files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fico_utils import registry
from fico_utils.data.corpus import Corpus
from fico_utils.data.pictoscenes import drawn_corpus
from fico_utils.data.text import words
from fico_utils.errors import InputError
from fico_utils.provenance import PROJECT
from fico_utils.workspace import Run

#: What is right for an image or a caption at instance level, see `instance_relevance`.
RELEVANCE = ("partner", "equal_captions")
#: How much a system learns from: as the profile says for it, or as much as all others.
TRAININGS = OWN, EQUAL = "own", "equal"
#: The extra that reads a folder of one's own, given by its path.
FOLDER_CORPUS = "fico_utils.extras.corpora.library:folder_corpus"


def corpus(run: Run, name: str) -> Corpus:
    """A corpus, all splits: an embedded one in the sizes of the run's profile, any other whole, from files.

    `name` is an id of the registry, the name of a folder corpus below the run's ``data_dir``, or the path of one, which
    all functions here then know by the `name` of the corpus returned. InputError where the corpus is unknown, the
    profile gives no sizes for it, or its files are missing or wrong.
    """
    return info_of(run, name).open_reader().read(run)


def training_split(run: Run, system: str, name: str) -> str:
    """Which split a system learns from: ``train``, or the longer ``train_vlp``.

    The vision-language systems of the paper have read millions of pairs before they see the corpus. A profile may give
    ours more of the scenes of a drawn corpus than the others read (``n_train_vlp``); an epoch is as long for both. With
    ``training: equal`` all read them. InputError where `training` is another word, or where more scenes are asked of a
    corpus that is not drawn, or fewer than ``n_train``.
    """
    if run["training"] not in TRAININGS:
        raise InputError(f"training is {run['training']!r}; expected one of {', '.join(TRAININGS)}")
    reads_more = registry.system(system).family == "vlp" or run["training"] == EQUAL
    if not reads_more or name not in run["n_train_vlp"]:
        return "train"
    given, least = run["n_train_vlp"][name], run["n_train"].get(name)
    if least is None or given < least:
        expected = "a drawn corpus" if least is None else f"at least the {least} of n_train"
        raise InputError(f"n_train_vlp was given {given} scenes of {name}; expected {expected}, or leave it out")
    return "train_vlp"


def part(run: Run, name: str, split: str) -> Corpus:
    """One split of a corpus, ``train_vlp`` among them: the training scenes and those that follow them."""
    if split == "train_vlp":
        return drawn_corpus(name, train=run["n_train_vlp"][name])
    return corpus(run, name).subset(split)


def instance_relevance(run: Run, shown: Corpus) -> np.ndarray | None:
    """What is right at instance level on a split, by the parameter ``relevance``: `equal_captions`, or None: partners.

    InputError where it is neither.
    """
    if run["relevance"] not in RELEVANCE:
        raise InputError(f"relevance is {run['relevance']!r}; expected one of {', '.join(RELEVANCE)}")
    return None if run["relevance"] == "partner" else equal_captions(shown)


def equal_captions(shown: Corpus) -> np.ndarray:
    """Pairs (n, 2) of an image and a caption, its own or word for word one of its own, as `evaluate` reads relevance.

    Nobody who reads a caption that several images have can say which of them is meant.
    """
    texts = np.unique([" ".join(words(caption)) for caption in shown.captions], return_inverse=True)[1]
    says = np.zeros((shown.n_img, texts.max() + 1), bool)
    says[shown.caption_image, texts] = True
    return np.argwhere(says[:, texts])


def info_of(run: Run, name: str) -> registry.CorpusInfo:
    """What is known of a corpus; one that is given by its path is known by its name from now on."""
    known, data_dir = registry.known_corpora(), PROJECT / run["data_dir"]
    if Path(name).name != name:  # a path
        info = registry.load_entry(FOLDER_CORPUS)(PROJECT / Path(name).expanduser())
    elif name in known:
        return known[name]
    else:
        known |= registry.load_entry(registry.FOLDER_CORPORA)(data_dir)  # those that have come since `setup`
        if name not in known:
            raise InputError(
                f"unknown corpus {name!r}; expected one of {', '.join(known)}, or a folder with images/ and "
                f"captions.csv, by its path or by its name in {data_dir}"
            )
        info = known[name]
    registry.add_corpus(info)
    return info


def regions_of(run: Run, name: str) -> dict[str, np.ndarray] | None:
    """Mapped regions of each split, where a corpus brings them."""
    return info_of(run, name).open_reader().regions(run)
