"""One HTML file in which anybody searches a corpus as the systems of a run do: pictures, codes, embeddings, no network.

All data travels as one safetensors file, in base64; its metadata hold the captions and what the page says. Codes are
kept as they are. Embeddings are rounded to 16 bits a number, and where that would change the first ten of a caption, or
the rank of its picture, the ranks of the scoring engine are kept beside them.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fico_utils import experiment, registry
from fico_utils.data.corpus import Corpus
from fico_utils.errors import InputError
from fico_utils.evaluation import score_source
from fico_utils.evaluation.relevance import image_text_tasks
from fico_utils.experiment.corpora import instance_relevance
from fico_utils.extras.explore.finished import FinishedRun
from fico_utils.extras.explore.searcher import rank_range
from fico_utils.extras.pages.page import write_page
from fico_utils.extras.scoring.outputs import score_blocks
from fico_utils.workspace import Run

#: Bytes of the page at most, and pictures of the gallery that it shows.
LARGEST, N_PICTURES = 8_000_000, 1000
#: Results that a system shows; quality of the pictures (WebP); the largest number of a rounded embedding.
FIRST, QUALITY, LEVELS = 10, 75, 32767
#: The file of a system whose text tower the page computes -> beginnings of the names of its weights.
TEXT_TOWERS = {"vsrn": ("word.", "text."), "adv": ("text_net.",)}
TEMPLATE = Path(__file__).with_name("explorer.html")


def write_explorer(run: Run, name: str | None = None) -> Path:
    """Path of the page just written, ``<root>/report/explorer.html``, of the test pictures of a corpus.

    `name` is by default the first corpus of the run. The systems that keep one vector an image and compare by cosine or
    Hamming distance are shown, one of each family first, as many as the page has room for. InputError where the run has
    not made what is shown, or none of them is fine-grained or none coarse-grained.
    """
    run = FinishedRun.of_run(run)
    name = name or run["corpora"][0]
    whole = experiment.part(run, name, "test")
    shown = whole.select(np.arange(N_PICTURES)) if whole.n_img > N_PICTURES else whole
    rows = [row for row in map(registry.system, run["systems"]) if row.measure in ("cosine", "hamming")]
    if len({row.family == "cg" for row in rows}) < 2:
        raise InputError(
            f"the explorer was given the systems {', '.join(run['systems'])}; expected one with hash codes and one "
            "with an embedding of each image among them"
        )
    labels = experiment.labels(run, name, "test", required=False)
    right = np.zeros((shown.n_txt, shown.n_img), bool)
    pairs = instance_relevance(run, shown)
    images, captions = (shown.caption_image, np.arange(shown.n_txt)) if pairs is None else pairs.T
    right[captions, images] = True
    arrays = picture_arrays(shown.images) if shown.images is not None else {}
    page = describe_corpus(run, whole, shown) | {"systems": [], "first": FIRST}
    page["right"] = [np.flatnonzero(row).tolist() for row in right]
    if labels is not None:
        page["labels"] = [np.flatnonzero(row).tolist() for row in labels[: shown.n_img]]
        page["labelNames"] = list(shown.label_names)
    kept = np.flatnonzero(whole.caption_image < shown.n_img)
    template, text = TEMPLATE.read_text(encoding="utf-8"), ""
    for row in in_order_of_choice(rows):
        stored = experiment.embed(run, row.id, name)
        more, about = system_arrays(row, {"img": stored["img"][: shown.n_img], "txt": stored["txt"][kept]}, right)
        if not row.provider:
            tower, reads = text_tower(experiment.serve(run, row.id, name))
            more, about = more | {f"{row.id}/{part}": array for part, array in tower.items()}, about | reads
        systems = [*page["systems"], about]
        absent = {registry.system(s).name for s in run["systems"]} - {system["name"] for system in systems}
        said = f"Not on this page: {', '.join(sorted(absent))}; notebook 09_explore searches with any system."
        longer = page | {"systems": systems, "absent": said if absent else ""}
        whole_page = template.replace("@DATA@", pack_data(arrays | more, longer))
        if len(whole_page.encode()) <= LARGEST:
            arrays, page, text = arrays | more, longer, whole_page
    path = run.path("report", "explorer.html")
    write_page(path, text, run.root)
    return path


def describe_corpus(run: Run, whole: Corpus, shown: Corpus) -> dict[str, Any]:
    """What the page says about the corpus and the run, and its captions."""
    info = registry.corpus(whole.name)
    part = "all" if shown is whole else f"the first {shown.n_img:,} of {whole.n_img:,}"
    kind = "photographs" if info.photographs else "drawn pictures, not photographs"
    return {
        "corpus": info.name,
        "about": f"{part} test pictures ({kind}) · {run.stamp}",
        "captions": shown.captions,
        "captionImage": shown.caption_image.tolist(),
    }


def in_order_of_choice(rows: Sequence[registry.System]) -> list[registry.System]:
    """One row of each family first, codes before embeddings, and short codes before long ones."""
    rows = sorted(rows, key=lambda row: (row.bits == 0, row.bits, row.order))
    first = [next(row for row in rows if row.family == family) for family in dict.fromkeys(r.family for r in rows)]
    return [*first, *(row for row in rows if row not in first)]


def pack_data(arrays: dict[str, np.ndarray], page: dict[str, Any]) -> str:
    """Arrays and a JSON-able description as one safetensors file, in base64."""
    from safetensors.numpy import save

    held = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    return base64.b64encode(save(held, {"page": json.dumps(page, ensure_ascii=False)})).decode()


def webp_file(picture: np.ndarray) -> bytes:
    """A picture (H, W, 3) uint8 as the content of a WebP file."""
    from PIL import Image

    held = io.BytesIO()
    Image.fromarray(picture).save(held, "WEBP", quality=QUALITY, method=2)
    return held.getvalue()


def picture_arrays(images: Any) -> dict[str, np.ndarray]:
    """Pictures as WebP files one after the other, ``pictures`` uint8, and where each ends, ``ends`` (n,) uint32."""
    files = [webp_file(picture) for at in range(0, len(images), 100) for picture in images[at : at + 100]]
    return {
        "pictures": np.frombuffer(b"".join(files), np.uint8),
        "ends": np.cumsum([len(file) for file in files], dtype=np.uint32),
    }


def system_arrays(
    row: registry.System, stored: dict[str, np.ndarray], right: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """What the page keeps of a system, by names that begin with its id, and what it says about it.

    `stored` are ``img`` and ``txt`` as `experiment.embed` gives them; `right` (n_txt, n_img) bool, the pictures that a
    caption belongs to. Of embeddings come ``img`` and ``txt`` int16, and ``ranks`` of the captions ``repaired``, see
    `repair_ranks`.
    """
    about: dict[str, Any] = {"id": row.id, "name": row.name, "coarse": row.family == "cg", "colour": row.colour}
    if row.serving.hashed:
        about["bits"] = row.bits or 8 * stored["img"].shape[1]
        return {f"{row.id}/{side}": codes for side, codes in stored.items()}, about
    rounded, scales = {}, {}
    for side, vectors in stored.items():
        unit = vectors.astype(np.float64)
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        scales[side] = LEVELS / np.abs(unit).max()
        rounded[side] = np.round(unit * scales[side]).astype(np.int16)
    repaired, ranks = repair_ranks(row, stored, rounded, right)
    arrays = {**rounded, "repaired": repaired, "ranks": ranks}
    about |= {"width": unit.shape[1], "scale": [scales["img"], scales["txt"]]}
    return {f"{row.id}/{part}": array for part, array in arrays.items()}, about


def repair_ranks(
    row: registry.System, stored: dict[str, np.ndarray], rounded: dict[str, np.ndarray], right: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Captions (r,) uint16 whose first pictures rank otherwise once rounded, and the engine's `first_ranks` of them."""
    task = image_text_tasks(*right.shape[::-1], right.argmax(1))[1]
    source = score_source(**row.serving.evaluation_arguments(stored))
    images, found = rounded["img"].astype(np.float64).T, []
    for captions, scores in score_blocks(source, task):
        true = first_ranks(scores, right[captions])
        ours = first_ranks(rounded["txt"][captions].astype(np.float64) @ images, right[captions])
        changed = np.flatnonzero((true != ours).any((1, 2)))
        found.append((captions[changed], true[changed]))
    captions, ranks = zip(*found, strict=True)
    return np.concatenate(captions).astype(np.uint16), np.concatenate(ranks)


def first_ranks(scores: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The first ten pictures of each caption and the best right one: (n, 11, 3) uint16, each with its range of ranks.

    From scores (n, m), larger is closer, and the right pictures (n, m) bool. A range is the first and the last rank,
    from 1, that a picture may have among those of the same score, which stand in the order of the arrays. A gallery of
    fewer than ten pictures gives as many.
    """
    k = min(FIRST, scores.shape[1])
    some = np.sort(np.argpartition(-scores, k - 1, axis=1)[:, :k], axis=1)
    found = np.take_along_axis(scores, some, 1)
    shown = np.take_along_axis(some, np.argsort(-found, axis=1, kind="stable"), 1)
    tied = (scores >= found.min(axis=1, keepdims=True)).sum(axis=1) > k  # others score as the last of them
    shown[tied] = np.argsort(-scores[tied], axis=1, kind="stable")[:, :k]
    best = np.where(right, scores, -np.inf).argmax(1)
    shown = np.concatenate([shown, best[:, None]], 1)
    return np.stack([[column, *rank_range(scores, column)] for column in shown.T]).transpose(2, 0, 1).astype(np.uint16)


def text_tower(served: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The weights with which the page encodes words of anybody's own, and the words that the system knows.

    Both are empty for other systems than those of `TEXT_TOWERS`.
    """
    model = served.model()
    kind = type(model).__module__.rpartition(".")[2]
    if kind not in TEXT_TOWERS or (kind == "adv" and model.config.original):
        return {}, {}
    weights = {n: t.numpy() for n, t in model.weights().items() if n.startswith(TEXT_TOWERS[kind]) and t.ndim}
    narrow = {n: w.astype(np.float16) for n, w in weights.items()}
    kept = {n: narrow[n] if np.array_equal(narrow[n], w) else w for n, w in weights.items()}
    return kept, {"tower": kind, "words": experiment.vocabulary(served.run, served.corpus_name).words}
