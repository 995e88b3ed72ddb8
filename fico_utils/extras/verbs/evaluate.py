"""The verb `evaluate`: score embeddings, codes or a similarity matrix that somebody brings."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fico_utils.errors import InputError
from fico_utils.extras.corpora.reading import check_name, read_lines, read_table, show_text
from fico_utils.files import write_text

if TYPE_CHECKING:
    import pandas as pd

HELP = "score your own embeddings, codes or similarity matrix"
#: Flag -> what the file holds.
ARRAYS = {
    "--images": "embeddings or hash codes of the images, (n_img, d)",
    "--texts": "embeddings or hash codes of the captions, (n_txt, d)",
    "--queries": "instead: embeddings or codes of a query set, (n_q, d), which asks --gallery",
    "--gallery": "embeddings or codes that are asked, (n_g, d)",
    "--caption-image": "index of each caption's image, (n_txt,); may be left out where n_img divides n_txt and "
    "captions of an image are consecutive; -1 with --distractors: of none",
    "--labels": "multi-hot (n_img, n_labels), or class numbers (n_img,); without it no category level",
    "--text-labels": "the same of captions, where they have labels of their own",
    "--query-labels": "the same of --queries",
    "--gallery-labels": "the same of --gallery",
}
#: Flag -> what its files hold; the mean of several is scored.
MATRICES = {
    "--similarity": "instead of embeddings: a matrix (n_img, n_txt), larger is closer, -inf is not ranked; the mean of "
    "several is scored",
    "--similarity-t2i": "where the directions differ: a matrix (n_txt, n_img)",
}
#: Flag -> whose names the file holds, .npy or .txt with one a line.
NAMES = {
    "--image-ids": "names of the images",
    "--caption-image-ids": "instead of --caption-image: the name of each caption's image",
    "--caption-ids": "names of the captions",
}
#: Digits of the longest number that is read: 64 bits hold it.
DIGITS = 18
#: Options that `fico_utils.evaluate` takes as they are.
PASSED_ON = (
    "measure", "bits", "unranked", "images_repeated", "distractors", "leave_out_self", "allow_zero", "block_mib",
    "protocol", "ties", "map_divisor", "no_relevant", "empty_ball", "folds", "curve", "intervals", "per_query",
    "trec_run", "trec_qrels",
)  # fmt: skip
#: How a table is written.
FORMATS = ("table", "csv", "json", "markdown", "latex")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `evaluate`."""
    from fico_utils.evaluation import MEASURES

    parser.description = (
        "Score your own embeddings, hash codes or similarity matrix. FILE is .npy, .npz, .safetensors, .mat, .h5, .pt, "
        ".pth or .parquet; FILE:NAME picks one array."
    )
    for flag, text in (ARRAYS | NAMES).items():
        parser.add_argument(flag, metavar="FILE", help=text)
    for flag, text in MATRICES.items():
        parser.add_argument(flag, metavar="FILE", nargs="+", help=text)
    text = "CSV with a header: image, caption (query, item), and a grade where there is one; or coco, cxc, eccv"
    parser.add_argument("--relevance", metavar="FILE", help=text)
    parser.add_argument("--images-repeated", type=whole_number, metavar="K", help="each image stands K times in a row")
    text = "images without caption, captions without image stand in the gallery and ask nothing"
    parser.add_argument("--distractors", action="store_true", help=text)
    text = "query i is item i of the gallery, and is left out of its own ranking"
    parser.add_argument("--leave-out-self", action="store_true", help=text)
    text = "this value of a matrix means: not ranked"
    parser.add_argument("--unranked", type=float, metavar="X", help=text)
    parser.add_argument("--measure", choices=MEASURES, help="how vectors are compared (default: cosine)")
    parser.add_argument("--bits", type=whole_number, metavar="N", help="codes are packed, 8 bits a byte (uint8)")
    parser.add_argument("--allow-zero", action="store_true", help="a zero vector under cosine scores 0 with everything")
    parser.add_argument(
        "--block-mib", type=whole_number, default=256, metavar="N", help="memory for one block of scores"
    )
    _add_rules(parser)
    parser.add_argument("--format", choices=FORMATS, help="of what is printed or written (default: table, or csv)")
    parser.add_argument("--out", metavar="FILE", help="write the scores; without it they are printed")
    for flag, text in (
        ("--per-query", "write the value of each query, which `compare` reads"),
        ("--trec-run", "write the ranking, as TREC tools read it"),
        ("--trec-qrels", "write the relevance, as TREC tools read it"),
    ):
        parser.add_argument(flag, metavar="FILE", help=text)


def _add_rules(parser: argparse.ArgumentParser) -> None:
    """Add what is computed, and how."""
    from fico_utils.evaluation.observations import CHOICES

    text = "whose numbers: fico, vsepp, coco1k, ..., or all; `protocols` lists them"
    parser.add_argument("--protocol", default="fico", metavar="NAME", help=text)
    parser.add_argument(
        "--metrics", nargs="+", metavar="NAME@K,K,...",
        help="such as recall@1,5,10 map@10,N precision@20 median_rank; N is all, R as many as are relevant",
    )  # fmt: skip
    parser.add_argument("--recall-at", metavar="K,K,...", help="instead of --metrics: 1,5,10,50,100,200")
    parser.add_argument("--map-at", metavar="K,K,...", help="instead of --metrics: 10,100,N")
    parser.add_argument("--ties", choices=CHOICES["ties"], help="order of items with equal score (default: expected)")
    parser.add_argument("--map-divisor", choices=CHOICES["map_divisor"], help="of map@k (default: found)")
    parser.add_argument("--no-relevant", choices=CHOICES["no_relevant"], help="a query without a relevant item")
    parser.add_argument("--empty-ball", choices=CHOICES["empty_ball"], help="a query whose Hamming ball is empty")
    parser.add_argument("--folds", type=whole_number, metavar="K", help="score K parts of the images, give the mean")
    parser.add_argument("--curve", action="store_true", help="the 11-point precision-recall curve")
    parser.add_argument(
        "--intervals", action="store_true", help="95 %% bootstrap intervals, images resampled with their captions"
    )


def run(options: argparse.Namespace) -> int:
    """Exit code, 0."""
    out, form = _out_and_format(options)
    recall_at, map_at = _numbers(options.recall_at, "--recall-at"), _numbers(options.map_at, "--map-at")

    from fico_utils.evaluation import score_rows

    given = read_flags(options, (*ARRAYS, *NAMES, *MATRICES))
    if options.relevance is not None:
        named = options.image_ids is not None and options.caption_ids is not None
        given["relevance"] = _read_relevance(options.relevance, named)
    others = {name: getattr(options, name) for name in PASSED_ON}
    metrics = None if options.metrics is None else _check_digits(" ".join(options.metrics), "--metrics")
    asked = {"relevance": None, **given, **others, "metrics": metrics, "recall_at": recall_at, "map_at": map_at}
    try:
        text = _as_text(score_rows(asked), form)
    except InputError as error:  # it names arguments; whoever types a command knows their flags
        known = [flag.removeprefix("--").replace("-", "_") for flag in (*ARRAYS, *NAMES, *MATRICES)]
        names = "|".join(name for name in (*known, *PASSED_ON) if "_" in name)  # others are words of any sentence
        said = re.sub(rf"\b({names})\b", lambda match: "--" + match[0].replace("_", "-"), str(error))
        raise InputError(said) from error
    if out is None:
        print(text, end="" if text.endswith("\n") else "\n")
    else:
        write_text(out, text)
    return 0


def _keyword(flag: str) -> str:
    """What a flag is called in Python."""
    return flag[2:].replace("-", "_")


def _out_and_format(options: argparse.Namespace) -> tuple[Path | None, str]:
    """Where scores are written, and how; InputError where a file cannot be."""
    if options.out is not None and options.format is None:
        out = check_name(options.out)
        if out.suffix != ".csv" or not out.parent.is_dir():
            raise InputError(f"--out is {out}, expected a name ending in .csv in a folder that exists, or --format")
    for flag in ("--out", "--per-query", "--trec-run", "--trec-qrels"):
        path = getattr(options, _keyword(flag))
        if path is not None and not check_name(path).parent.is_dir():
            raise InputError(f"{flag} is {path}, expected a file in a folder that exists")
    if options.out is None:
        return None, options.format or "table"
    return Path(options.out), options.format or "csv"


def _as_text(rows: list[dict[str, Any]], form: str) -> str:
    """The table as it is printed or written; several protocols stand side by side where people read them."""
    several = len({row["protocol"] for row in rows}) > 1
    if form == "csv" or (form == "table" and not several):
        return _as_lines(rows, form == "table")

    import pandas as pd  # which takes longer to load than a small input to score

    from fico_utils.extras.scoring.protocols import rosetta_table

    scores = pd.DataFrame(rows)
    if form == "json":
        return scores.to_json(orient="records", indent=2, double_precision=15) + "\n"
    wide = rosetta_table(scores) if several else _one_row_a_direction(scores)
    if form == "table":
        return wide.to_string(na_rep="", float_format=lambda x: f"{x:.4f}")
    wide.index = wide.index.map(" ".join)
    wide = wide.map(lambda x: "" if x != x else f"{x:.4f}")
    if form == "latex":
        return wide.to_latex(escape=True)
    lines = [["", *wide.columns], ["---", *("---:" for _ in wide.columns)]]
    lines += [[name, *row] for name, row in zip(wide.index, wide.to_numpy(), strict=True)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _as_lines(rows: list[dict[str, Any]], aligned: bool) -> str:
    """The rows as CSV; or `aligned`, with four digits, and without the protocol and folds of every day."""
    number, usual = ("{:.4f}", {"protocol": {"fico"}, "folds": {1}}) if aligned else ("{}", {})
    names = [name for name in rows[0] if {row[name] for row in rows} != usual.get(name)]
    table = [[_cell(row[name], number) for name in names] for row in rows]
    widths = [max(map(len, column)) if aligned else 0 for column in zip(names, *table, strict=True)]
    return "".join((" " if aligned else ",").join(map(str.rjust, row, widths)) + "\n" for row in [names, *table])


def _cell(value: Any, number: str) -> str:
    return str(value) if not isinstance(value, float) else "" if value != value else number.format(value)


def _one_row_a_direction(scores: pd.DataFrame) -> pd.DataFrame:
    """A row a protocol, task and direction, as papers print a system; a column a metric."""
    row = ["protocol", "task", "direction"]
    named = scores.assign(name=scores["metric"] + scores["k"].map(lambda k: f"@{k}" if k else ""))
    wide = named.pivot(index=row, columns="name", values="value")
    return wide.loc[list(dict.fromkeys(named[row].itertuples(index=False, name=None))), named["name"].unique()]


def read_flags(options: argparse.Namespace, flags: Iterable[str]) -> dict[str, Any]:
    """Keyword -> what the file of each flag holds, a list where there are several, None where there is none."""
    from fico_utils.extras.corpora.arrays import read_array

    given: dict[str, Any] = {}
    for flag in flags:
        places, read = getattr(options, _keyword(flag)), read_names if flag in NAMES else read_array
        arrays = [read(place) for place in ([places] if isinstance(places, str) else places or [])]
        given[_keyword(flag)] = arrays[0] if len(arrays) == 1 else arrays or None
    return given


def read_names(place: str) -> np.ndarray:
    """Names from a .txt file with one a line, or from an array."""
    from fico_utils.extras.corpora.arrays import read_array

    return np.array(read_lines(check_name(place)), object) if place.endswith(".txt") else read_array(place)


def _read_relevance(place: str, named: bool) -> Any:
    """Pairs, with grades where there is a third column, from a table; the name of a known relevance stays one.

    Items are text where they are `named`, else positions if all are whole numbers.
    """
    from fico_utils.extras.scoring.forms import KNOWN_RELEVANCE

    if place in KNOWN_RELEVANCE:
        return place
    table = read_table(check_name(place), separators="\t|,;")
    if len(table.frame.columns) not in (2, 3):
        raise InputError(
            f"{place} has columns {', '.join(table.frame.columns)}, expected image, caption, and a grade or none"
        )
    values = table.frame.to_numpy(object)
    if not named and all(re.fullmatch("-?[0-9]{1,18}", str(cell)) for cell in values[:, :2].ravel()):
        try:
            return table.frame.astype(np.float64)
        except ValueError as error:
            raise InputError(f"{place} has a grade that is no number ({error})") from None
    return table.frame


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
        raise InputError(f"{flag} has {show_text(wrong[0])!r}, expected digits 0 to 9, at most {DIGITS} of them")
    return text
