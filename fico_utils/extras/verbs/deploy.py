"""The verb `deploy`: which index to deploy for one's own embeddings, float or codes."""

from __future__ import annotations

import argparse

from fico_utils.cli import natural_number
from fico_utils.errors import InputError

HELP = "measure which index to deploy for your embeddings: float or codes, and what it loses"
#: Flag -> what the file holds.
ARRAYS = {
    "--images": "embeddings of the images, (n_img, d)",
    "--texts": "embeddings of the captions, (n_txt, d)",
    "--caption-image": "index of each caption's image, (n_txt,); may be left out where n_img divides n_txt",
    "--labels": "multi-hot (n_img, n_labels), or class numbers (n_img,)",
    "--text-labels": "the same of captions, where they have labels of their own",
}
#: Options that `fico_utils.deploy` takes as they are.
PASSED_ON = ("direction", "memory_gib", "latency_ms", "images_repeated", "lance", "quick", "seed", "out")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `deploy`."""
    from fico_utils.extras.verbs.evaluate import NAMES, whole_number

    parser.description = "Measure FAISS indexes of your embeddings and of codes of them; say which to deploy."
    for flag, text in (ARRAYS | NAMES).items():
        parser.add_argument(flag, metavar="FILE", required=flag in ("--images", "--texts"), help=text)
    text = "your own hash codes: a file with the arrays images and texts, or two files"
    parser.add_argument("--codes", metavar="FILE", nargs="+", help=text)
    parser.add_argument("--direction", choices=("t2i", "i2t"), default="t2i", help="who asks whom (default: t2i)")
    parser.add_argument("--memory-gib", type=float, metavar="X", help="memory for the whole index")
    parser.add_argument("--latency-ms", type=float, metavar="X", help="time of one query on one thread")
    parser.add_argument("--grow-to", default="", metavar="N,N,...", help="sizes of the gallery to come: 10M,100M")
    parser.add_argument("--images-repeated", type=whole_number, metavar="K", help="each image stands K times in a row")
    parser.add_argument("--lance", action="store_true", help="measure tables of LanceDB, too (extra lance)")
    parser.add_argument("--quick", action="store_true", help="fewer candidates, queries and repeats")
    parser.add_argument("--seed", type=natural_number, default=0, metavar="N", help="of samples and trainings")
    text = "folder for table.csv, answer.md, figure.png, figure.svg, figure.html; an interrupted run goes on there"
    parser.add_argument("--out", metavar="FOLDER", help=text)


def run(options: argparse.Namespace) -> int:
    """Exit code, 0; InputError where nothing fits the budget now, after all is written."""
    from fico_utils.extras.corpora.arrays import read_array
    from fico_utils.extras.deploy import deploy
    from fico_utils.extras.verbs.evaluate import NAMES, read_flags

    given = {name: array for name, array in read_flags(options, (*ARRAYS, *NAMES)).items() if array is not None}
    if options.codes is not None:
        if len(options.codes) > 2 or (len(options.codes) == 1 and options.codes[0].endswith(".npy")):
            raise InputError(
                f"--codes was given {' '.join(options.codes)}; expected two arrays, those of the images and of the "
                "texts: two files, or one .npz or .safetensors that holds both by name"
            )
        places = options.codes if len(options.codes) > 1 else [f"{options.codes[0]}:{n}" for n in ("images", "texts")]
        given["codes"] = [read_array(place) for place in places]
    passed = {name: getattr(options, name) for name in PASSED_ON}
    found = deploy(**given, **passed, grow_to=options.grow_to or ())
    print(found.answer, end="")
    found.best()  # where nothing fits, the sentence that says so
    return 0
