"""The verb `encode`: from a corpus and a saved model to the arrays that `evaluate` reads."""

from __future__ import annotations

import argparse
import shutil
from contextlib import ExitStack
from pathlib import Path

from fico_utils.errors import InputError
from fico_utils.files import atomic_path, key_of
from fico_utils.locks import hold_locks

HELP = "encode a corpus with a saved model: CLIP, SigLIP, BLIP, BLIP-2 or open_clip"
#: Folder in the one of the results where unfinished work waits, and rows that are kept there at a time.
WORK, UNIT = ".encode", 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `encode`."""
    parser.description = (
        "Write images.npy, texts.npy (float32, unit length), caption_image.npy and image_ids.txt, which evaluate "
        "reads. Interrupted, the same command goes on where it stopped."
    )
    parser.add_argument("place", metavar="PLACE", help="a corpus with pictures: a folder, a JSON file, a table, an id")
    text = "as transformers or open_clip saved it; two: vision tower and text tower"
    parser.add_argument("--model", nargs="+", metavar="FOLDER", required=True, help=text)
    parser.add_argument("--split", help="such as test; without it all images")
    parser.add_argument("--device", default="cpu", help="such as cpu or cuda:0 (default: cpu)")
    parser.add_argument("--out", metavar="FOLDER", required=True, help="where the four files are written")


def run(options: argparse.Namespace) -> int:
    """Exit code, 0."""
    import numpy as np

    from fico_utils import load_encoder, read_corpus
    from fico_utils.artifacts import Store
    from fico_utils.extras.corpora.pictures import FileImages
    from fico_utils.extras.pretrained.base import Pictures, single_vectors
    from fico_utils.extras.pretrained.embedding import Effort, embed_inputs
    from fico_utils.models.training import Inputs

    corpus, out = read_corpus(options.place, split=options.split), Path(options.out)
    if corpus.paths is None:
        raise InputError(f"{options.place} has no files of pictures; expected images/ in it or beside it")
    model, files = load_encoder(options.model, options.device), FileImages(corpus.paths)
    pictures = Pictures(len(files), lambda rows: [files.original(int(row)) for row in rows], model.preparation)
    inputs = Inputs(
        {model.image_input: pictures},
        {model.text_input: model.tokens(corpus.captions)},
        corpus.caption_image,
        key_of(files.key, corpus.captions, model.key),
    )
    with hold_locks(out / WORK, ["encode"]):
        arrays = embed_inputs(model, inputs, Store(out / WORK), "encode", unit=UNIT, effort=Effort())
        images, texts = single_vectors(arrays["img"]), arrays["txt"]
        with ExitStack() as stack:  # all are written before the first takes its place
            found = {"images": images, "texts": texts, "caption_image": corpus.caption_image}
            for name, array in found.items():
                np.save(stack.enter_context(atomic_path(out / f"{name}.npy")), array)
            names = stack.enter_context(atomic_path(out / "image_ids.txt"))
            names.write_text("".join(f"{image}\n" for image in corpus.images), encoding="utf-8", newline="\n")
    shutil.rmtree(out / WORK, ignore_errors=True)
    print(f"{out}: {len(images)} images and {len(texts)} captions, {images.shape[1]} numbers each")
    return 0
