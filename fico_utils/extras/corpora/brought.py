"""Folder corpora that somebody brought: found in the data folder or by their path, and described by ``corpus.yaml``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from fico_utils.errors import InputError
from fico_utils.registry import CORPORA, CorpusInfo

#: What may stand in the ``corpus.yaml`` of a folder corpus, and of which type it is.
FOLDER_KEYS = {"name": str, "provenance": str, "photographs": bool, "beside": str}
#: Corpora whose names no folder may take: those that are drawn or published.
TAKEN = [c.id for c in CORPORA.values() if c.reader != CorpusInfo.reader]


def folder_corpus(folder: str | Path) -> CorpusInfo:
    """The `CorpusInfo` of the folder corpus in `folder`.

    The id is the folder's name in small letters, what is no letter or digit an underscore. A file ``corpus.yaml`` in
    the folder may say ``name`` (as printed), ``provenance``, ``photographs`` (true or false) and ``beside`` (the
    paper's corpus whose columns of the tables it takes).

    Raises
    ------
    InputError
        A name without letters, the name of a corpus that is no folder, or a ``corpus.yaml`` that says something else.
    """
    folder = Path(folder).resolve()
    corpus_id = re.sub("[^a-z0-9]+", "_", folder.name.lower()).strip("_")
    if not corpus_id or corpus_id in TAKEN:
        raise InputError(
            f"the folder {folder} cannot give a corpus its name {folder.name!r}; rename it, in letters and digits, "
            f"other than {', '.join(TAKEN)}"
        )
    known, described = CORPORA.get(corpus_id), folder / "corpus.yaml"
    facts = {"name": folder.name, "photographs": True, **_read_description(described)}
    if known is not None and not described.is_file():
        facts = {"name": known.name, "provenance": known.provenance, "photographs": known.photographs}
    return CorpusInfo(corpus_id, **facts, folder=str(folder))


def find_corpora(data_dir: str | Path) -> dict[str, CorpusInfo]:
    """Every folder corpus right below `data_dir`, by id: a folder with ``images`` and ``captions.csv``."""
    tables = sorted(Path(data_dir).glob("*/captions.csv"))
    folders = [t.parent for t in tables if (t.parent / "images").is_dir() and t.parent.name not in TAKEN]
    return {info.id: info for info in map(folder_corpus, folders)}


def _read_description(path: Path) -> dict[str, Any]:
    """The content of a ``corpus.yaml``; empty where there is none."""
    import yaml

    if not path.is_file():
        return {}
    try:
        facts = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} is no YAML ({str(error).splitlines()[0]}); write lines such as `name: Mine`"
        ) from None
    expected = ", ".join(f"{name} ({kind.__name__})" for name, kind in FOLDER_KEYS.items())
    if not isinstance(facts, dict) or any(type(v) is not FOLDER_KEYS.get(k) for k, v in facts.items()):
        raise InputError(f"{path} says {facts!r}; expected any of {expected}")
    slots = [c.id for c in CORPORA.values() if c.photographs]
    if facts.get("beside", slots[0]) not in slots:
        raise InputError(f"{path} says beside: {facts['beside']}; expected {' or '.join(slots)}, or leave it out")
    return facts
