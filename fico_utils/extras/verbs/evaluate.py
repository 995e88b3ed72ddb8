"""The verb `evaluate`: score embeddings, codes or a similarity matrix that somebody brings."""

from __future__ import annotations

import argparse
import re

from fico_utils.errors import InputError
from fico_utils.extras.corpora.reading import check_name, printable
from fico_utils.files import atomic_path

HELP = "score your own embeddings, codes or similarity matrix"
#: Flag -> what the file holds.
FILES = {
    "--images": "embeddings or hash codes of the images, (n_img, d)",
    "--texts": "embeddings or hash codes of the captions, (n_txt, d)",
    "--similarity": "instead of embeddings: a matrix (n_img, n_txt), larger is closer, -inf is not ranked",
    "--similarity-t2i": "where the directions differ: a matrix (n_txt, n_img)",
    "--caption-image": "index of each caption's image, (n_txt,); may be left out where n_img divides n_txt and "
    "captions of an image are consecutive",
    "--labels": "multi-hot (n_img, n_labels), or class numbers (n_img,); without it no category metrics",
}
#: Digits of the longest number that is read: 64 bits hold it.
DIGITS = 18
#: Options that `fico_utils.evaluate` takes as they are.
PASSED_ON = ("measure", "bits", "ties", "curve", "intervals", "allow_zero", "block_mib")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `evaluate`."""
    from fico_utils.evaluation import MEASURES
    from fico_utils.evaluation.tasks import TIES

    parser.description = (
        "Score your own embeddings, hash codes or similarity matrix. FILE is .npy, .npz, .safetensors, .mat, .h5, .pt, "
        ".pth or .parquet; FILE:NAME picks one array."
    )
    for flag, text in FILES.items():
        parser.add_argument(flag, metavar="FILE", help=text)
    parser.add_argument("--measure", choices=MEASURES, default="cosine")
    parser.add_argument("--bits", type=whole_number, metavar="N", help="codes are packed, 8 bits a byte (uint8)")
    parser.add_argument(
        "--metrics", nargs="+", metavar="NAME@K,K,...",
        help="such as recall@1,5,10 map@10,N precision@20 median_rank; N is the whole gallery",
    )  # fmt: skip
    parser.add_argument("--recall-at", metavar="K,K,...", help="instead of --metrics: 1,5,10,50,100,200")
    parser.add_argument("--map-at", metavar="K,K,...", help="instead of --metrics: 10,100,N")
    parser.add_argument("--ties", choices=TIES, default="expected", help="order of items with equal score")
    parser.add_argument("--curve", action="store_true", help="the 11-point precision-recall curve")
    parser.add_argument(
        "--intervals", action="store_true", help="95 %% bootstrap intervals, images resampled with their captions"
    )
    parser.add_argument("--allow-zero", action="store_true", help="a zero vector under cosine scores 0 with everything")
    parser.add_argument(
        "--block-mib", type=whole_number, default=256, metavar="N", help="memory for one block of scores"
    )
    parser.add_argument("--out", metavar="FILE.csv", help="write a tidy table; without it a table is printed")


def run(options: argparse.Namespace) -> int:
    """Exit code, 0."""
    out = None if options.out is None else check_name(options.out)
    if out is not None and (out.suffix != ".csv" or not out.parent.is_dir()):
        raise InputError(f"--out is {out}, expected a name ending in .csv in a folder that exists")
    recall_at, map_at = _numbers(options.recall_at, "--recall-at"), _numbers(options.map_at, "--map-at")

    from fico_utils.evaluation import evaluate
    from fico_utils.extras.corpora.arrays import read_array

    places = {name: getattr(options, name) for name in (flag[2:].replace("-", "_") for flag in FILES)}
    arrays = {name: None if place is None else read_array(place) for name, place in places.items()}
    if arrays["caption_image"] is not None and 1 in arrays["caption_image"].shape:
        # MATLAB knows no one-dimensional arrays
        arrays["caption_image"] = arrays["caption_image"].ravel()
    others = {name: getattr(options, name) for name in PASSED_ON}
    metrics = None if options.metrics is None else _check_digits(" ".join(options.metrics), "--metrics")
    scores = evaluate(**arrays, **others, metrics=metrics, recall_at=recall_at, map_at=map_at)
    if out is None:
        print(scores.to_string(index=False, na_rep="", float_format=lambda x: f"{x:.4f}"))
    else:
        with atomic_path(out) as temporary:
            scores.to_csv(temporary, index=False)
    return 0


def _numbers(text: str | None, flag: str) -> tuple[int | str, ...] | None:
    """The numbers of a list such as ``1,5,N``; what is no number stays text, to be refused with the rest."""
    if text is None:
        return None
    parts = [part.strip() for part in _check_digits(text, flag).split(",")]
    if not all(parts):
        raise InputError(f"{flag} is {text!r}, expected numbers with commas between them, such as 1,5,10")
    return tuple(int(part) if re.fullmatch("-?[0-9]+", part) else part.upper() for part in parts)


def whole_number(text: str) -> int:
    """A whole number from the command line; ValueError where it is none, or longer than `DIGITS`.

    >>> whole_number("-12")
    -12
    """
    if not re.fullmatch("[-+]?[0-9]+", _check_digits(text, "the number")):
        raise ValueError(text)
    return int(text)


def _check_digits(text: str, flag: str) -> str:
    """`text`, all digits of which are ASCII, and no more of them in a row than `DIGITS`."""
    wrong = [c for c in text if c.isdigit() and not c.isascii()] + re.findall(f"[0-9]{{{DIGITS + 1},}}", text)
    if wrong:
        raise InputError(f"{flag} has {printable(wrong[0])!r}, expected digits 0 to 9, at most {DIGITS} of them")
    return text
