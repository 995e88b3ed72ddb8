"""`fico_utils.read_corpus`: any corpus in a published format, wherever it lies."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from fico_utils.errors import InputError
from fico_utils.extras.corpora.folder import FATAL, list_folder, read_problems
from fico_utils.extras.corpora.listing import Listing, read_listing
from fico_utils.extras.corpora.pictures import file_images, missing_files, refuse_missing
from fico_utils.extras.corpora.reading import show_value
from fico_utils.extras.corpora.scan_arrays import list_scan_arrays
from fico_utils.provenance import PROJECT
from fico_utils.registry import CORPORA, known_corpora


def read_corpus(
    place: str | os.PathLike,
    *,
    split: str | None = None,
    image_column: str | None = None,
    caption_column: str | None = None,
) -> Listing:
    """The `Listing` of a corpus: images, captions, caption_image, splits, labels, label_names, regions, paths.

    Pictures of a file are looked for in ``images/`` beside it, then right beside it. Images that ``problems.csv``
    there lists as missing, unreadable or too large, as `fetch FOLDER` writes it, are left out.

    Parameters
    ----------
    place : a folder with ``images/`` and captions.csv, captions.tsv or metadata.jsonl (see `folder.read_folder`); a
        Karpathy JSON, a JSON list of ALBEF or BLIP, COCO's captions_*.json, or a table; a folder of SCAN's arrays; or
        the id of a corpus that a run knows, which is read as a run reads it (with the splits that a run makes).
    split : one of the corpus's splits; SCAN's ``testall`` is read only when it is asked for. None: all the others.
    image_column, caption_column : the columns, or keys, that have other names than `IMAGE_NAMES` and `CAPTION_NAMES`.

    InputError in one sentence with the file and its line or entry, what was expected, and what to try.
    """
    for name in (image_column or "", caption_column or "", place):
        if not isinstance(name, str | os.PathLike):
            raise InputError(f"read_corpus was given {show_value(name)}, expected a text: a path, an id or a column")
    if str(place) in known_corpora() or not os.path.exists(place):
        return _read_known(str(place)).choose(split, (), place)
    path = Path(place)
    if not path.is_dir():
        listing = read_listing(path, image_column, caption_column)
        return _find_pictures(listing.choose(split, dict(read_problems(path.parent, FATAL)), path), path)
    if (path / "images").is_dir():
        listing = list_folder(path, image_column, caption_column)
        listing = listing.choose(split, dict(read_problems(path, FATAL)), path)
        refuse_missing(listing.paths, path / "images", str(path))
        return listing
    if any(path.glob("*_ims.npy")):
        return list_scan_arrays(path, split)
    raise InputError(
        f"{path} has neither images/ nor arrays such as test_ims.npy; expected images/ and captions.csv in it, or the "
        "path of a JSON file or a table in place of a folder"
    )


def _find_pictures(listing: Listing, path: Path) -> Listing:
    """The listing of a file with the pictures that lie around it, if any do."""
    for folder in (path.parent / "images", path.parent):
        paths = [f"{folder}/{image}" for image in listing.images]
        if len(missing_files(paths)) < len(paths):
            refuse_missing(paths, folder, str(path))
            return replace(listing, paths=paths)
    return listing


def _read_known(name: str) -> Listing:
    """The listing of a corpus that a run of the profile mini knows by its id."""
    from fico_utils.experiment.corpora import info_of
    from fico_utils.profiles import profile_settings
    from fico_utils.workspace import Run

    if Path(name).name != name:
        raise InputError(f"there is no file or folder {name}; expected one, or a known id ({', '.join(CORPORA)})")
    run = Run("mini", 0, PROJECT, profile_settings("mini"))
    info = info_of(run, name)
    corpus = info.open_reader().read(run)
    images, paths = corpus.image_ids, None
    if not info.drawn:
        files, index = file_images(corpus)
        folder, paths = info.open_reader().place(PROJECT / run["data_dir"]), [files.paths[row] for row in index]
        images = [path.removeprefix(f"{folder / 'images'}/") for path in paths]
    splits, index = corpus.split.tolist(), corpus.caption_image
    return Listing(images, corpus.captions, index, splits, corpus.labels, corpus.label_names, paths=paths)
