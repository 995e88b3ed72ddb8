"""The authors' released results, as arguments of `fico_utils.evaluate`: one explicit rule for each system.

A folder of files ``{system}_{f30k|coco}_{img|txt|sim|sim_i2t|sim_t2i}.npy``, a label file for each corpus, and
``mscoco_test_indices.npy``, the image of each of MS-COCO's 25 010 test captions. What a file holds cannot be seen from
its shape (a square matrix may be 5 000 images with one caption each, or 1 000 images stored five times), so `RULES`
says it for each system, after the demonstration that comes with the release (github.com/MikelWL/FiCo-ITR,
paper_tutorial). A file that does not fit its rule is refused, never reinterpreted.

The release compares all embeddings by cosine. Of codes in {-1, +1} that is the order of the Hamming distance, which is
used here; of codes in {0, 1} it is another order, so for those Hamming can differ from what the demonstration prints.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fico_utils import registry
from fico_utils.errors import InputError
from fico_utils.extras.corpora.arrays import read_array
from fico_utils.extras.corpora.published import read_labels
from fico_utils.extras.scoring.forms import each_image_once

if TYPE_CHECKING:
    import pandas as pd

#: Captions that go with an image where a system scores five for each (the surplus ones of MS-COCO left out).
FIVE = 5
#: Corpus -> (its name in the files, images in its test split, label files in the order in which they are looked for).
RELEASED = {
    "flickr30k": ("f30k", 1000, ("flickr30k-karpathy-test-labels.npy", "flickr30k-karpathy-test-lall.mat")),
    "mscoco": ("coco", 5000, ("coco-karpathy-testall-labels.npy", "coco-karpathy-testall-lall.mat")),
}
INDICES = "mscoco_test_indices.npy"


@dataclass(frozen=True)
class Rule:
    """What the files of a system hold."""

    name: str  # the system in the names of its files
    endings: tuple[str, ...] = ("img", "txt")  # of the names: images and texts, one matrix, or i2t and t2i
    measure: str = "cosine"  # how embeddings are compared, see `fico_utils.evaluate`
    images: int = 1  # how many times each image is stored, copies together
    all_captions: bool = False  # of MS-COCO: all 25 010 test captions by `INDICES`, not the first five of each image
    unranked: float | None = None  # the value in a matrix of a pair that was cut before the fusion encoder scored it

    @property
    def embeds(self) -> bool:
        """Whether the files hold embeddings or codes; others hold matrices."""
        return "img" in self.endings


_MATRIX, _RERANKED = ("sim",), {"endings": ("sim_i2t", "sim_t2i"), "all_captions": True, "unranked": -100.0}
#: System -> rule. DADH's files give a matrix of captions by images, which the release calls transposed: what is called
#: img holds the texts.
RULES: Mapping[str, Rule] = {
    "blip2": Rule("blip2", **_RERANKED),
    "blip2_nf": Rule("blip2(nf)", _MATRIX),
    "beit3": Rule("beit3", all_captions=True),
    "xvlm": Rule("xvlm", **_RERANKED),
    "xvlm_nf": Rule("xvlm(nf)", _MATRIX, all_captions=True),
    "imram": Rule("imram", _MATRIX),
    "vsrn": Rule("vsrn", images=FIVE),
    "scan": Rule("scan", _MATRIX),
    "adv_2048": Rule("adv(2048bit)", measure="hamming"),
    "adv_64": Rule("adv(64bit)", measure="hamming"),
    "ucch": Rule("ucch", measure="hamming", images=FIVE),
    "dadh": Rule("dadh", ("txt", "img"), measure="hamming"),
}


def list_released(folder: str | Path) -> list[tuple[str, str]]:
    """The (system, corpus) whose files are all in the folder, in the order of the paper's tables."""
    return [
        (system, corpus)
        for corpus, (short, _, _) in RELEASED.items()
        for system, rule in RULES.items()
        if all((Path(folder) / f"{rule.name}_{short}_{ending}.npy").is_file() for ending in rule.endings)
    ]


def evaluate_arguments(
    folder: str | Path, system: str, corpus: str, *, rules: Mapping[str, Rule] = RULES, n_images: int | None = None
) -> dict[str, Any]:
    """Arguments of `fico_utils.evaluate` for a released system; large arrays stay memory-mapped where they can.

    `rules` may differ, such as ``RULES | {"dadh": replace(RULES["dadh"], endings=("img", "txt"))}``, and so may
    `n_images`, the images of the test split. Gives images, texts and measure, or similarity and, if there are two
    matrices, similarity_t2i; caption_image; labels. Each image stands once; a pair that was not ranked is -inf.

    InputError where system or corpus is unknown, or a file is missing, unreadable, or does not fit the system's rule.
    """
    registry.system(system)
    if corpus not in RELEASED or system not in rules:
        raise InputError(
            f"{system} on {corpus} is not in the release; it has {', '.join(rules)} on {', '.join(RELEASED)}"
        )
    folder, rule = Path(folder), rules[system]
    short, published, _ = RELEASED[corpus]
    n_img = n_images or published
    every = corpus == "mscoco" and rule.all_captions
    caption_image = _caption_index(folder / INDICES, n_img) if every else np.repeat(np.arange(n_img), FIVE)
    given: dict[str, Any] = {"caption_image": caption_image, "labels": _test_labels(folder, corpus, n_img)}
    paths = [folder / f"{rule.name}_{short}_{ending}.npy" for ending in rule.endings]
    sizes = n_img * rule.images, len(caption_image)
    if rule.embeds:
        images, texts = (_read(path, (n, None), system) for path, n in zip(paths, sizes, strict=True))
        images = each_image_once(images, rule.images, paths[0])
        return {"images": images, "texts": texts, "measure": rule.measure, **given}
    matrices = [_read(path, shape, system) for path, shape in zip(paths, (sizes, sizes[::-1]), strict=False)]
    if rule.unranked is not None:
        matrices = [np.where(m == rule.unranked, -np.inf, m) for m in matrices]
    given["similarity"] = each_image_once(matrices[0], rule.images, paths[0])
    if len(matrices) == 2:
        given["similarity_t2i"] = each_image_once(matrices[1].T, rule.images, paths[1]).T
    return given


def _caption_index(path: Path, n_img: int) -> np.ndarray:
    """The image of each test caption of MS-COCO, (25010,) int64."""
    index = read_array(path).squeeze()
    if index.ndim != 1 or index.dtype.kind not in "iu" or len(np.unique(index)) != n_img or index.max() != n_img - 1:
        raise InputError(
            f"{path} is {index.dtype} {index.shape}, expected for each caption its image, 0 to {n_img - 1}"
        )
    return index.astype(np.int64)


def _test_labels(folder: Path, corpus: str, n_img: int) -> np.ndarray:
    """Labels (n_img, n_labels) uint8 of a corpus's test images, from its .npy or the variable ``LAll`` of its .mat."""
    names = RELEASED[corpus][2]
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        raise InputError(f"{folder} has no labels of {corpus}; expected {' or '.join(names)}")
    return read_labels(path, range(n_img))[0]


def _read(path: Path, shape: tuple[int, int | None], system: str) -> np.ndarray:
    array = read_array(path)
    if array.ndim != 2 or array.shape[0] != shape[0] or shape[1] not in (None, array.shape[1]):
        wanted = f"({shape[0]}, {'width' if shape[1] is None else shape[1]})"
        raise InputError(
            f"{path} has shape {array.shape}, but by the rule of {system} it has {wanted}: "
            "is it of another release? then give other rules"
        )
    return array


def equal_digits(ours: pd.DataFrame, paper: pd.DataFrame) -> pd.DataFrame:
    """The paper's numbers beside ours, printed alike: one row a number of Tables 2 to 4 that both have.

    `ours` has the columns system, corpus, direction, metric, k and value (a fraction; NaN is not compared), as `paper`,
    which is ``paper_reference("metrics")``. The result has the columns table, system, corpus, direction, metric, k,
    paper, ours (percent, one decimal, text), digits (that the paper prints), digits_equal (from the left, up to the
    first that differs), equal (all of them). Its sums are the counts.

    >>> import pandas as pd
    >>> row = {"system": "scan", "corpus": "mscoco", "direction": "i2t", "metric": "recall", "k": "1", "value": 0.504}
    >>> paper = pd.DataFrame([row | {"run": "table2", "status": "ok"}])
    >>> equal_digits(pd.DataFrame([row | {"value": 0.508}]), paper)[["digits", "digits_equal"]].values.tolist()
    [[3, 2]]
    """
    keys = ["system", "corpus", "direction", "metric", "k"]
    printed = paper[paper["run"].isin(["table2", "table3", "table4"]) & (paper["status"] == "ok")]
    both = printed[[*keys, "value", "run"]].merge(ours[[*keys, "value"]], on=keys, suffixes=("_paper", "_ours"))
    both = both[both["value_ours"].notna()].rename(columns={"run": "table"}).reset_index(drop=True)
    for name in ("paper", "ours"):
        both[name] = [f"{100 * value:.1f}" for value in both[f"value_{name}"]]
    both["digits"] = [len(text) - 1 for text in both["paper"]]
    both["digits_equal"] = [_equal_digits(*pair) for pair in zip(both["paper"], both["ours"], strict=True)]
    both["equal"] = both["paper"] == both["ours"]
    return both[["table", *keys, "paper", "ours", "digits", "digits_equal", "equal"]]


def _equal_digits(*numbers: str) -> int:
    """Digits that agree from the left, the numbers aligned at their points."""
    if len({*map(len, numbers)}) > 1:
        return 0
    equal = [left == right for left, right in zip(*(number.replace(".", "") for number in numbers), strict=True)]
    return [*equal, False].index(False)
