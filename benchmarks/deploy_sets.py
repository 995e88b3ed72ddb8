"""Three sets of embeddings for `deploy.py`, on disk: drawn scenes, openclipart, and random pairs.

    python benchmarks/deploy_sets.py scenes FOLDER --items 100000       about 6 minutes of one core; goes on if stopped
    python benchmarks/deploy_sets.py openclipart FOLDER                  after `fico fetch --profile pictures`
    python benchmarks/deploy_sets.py random FOLDER --items 100000       half a minute

Scenes are those of picto_diverse, seen by BEiT-3 and by X-VLM without fusion, both as they ship (profile standard). The
two embeddings of 128 dimensions stand side by side, each of unit length, so that a vector has 256. All scenes are in
the gallery; the first fifth brings one caption each. Openclipart is embedded by BEiT-3 of the profile pictures, trained
if it was not: captions of the test pictures ask, and the gallery holds them and those of validation, but none that was
trained on, as an encoder puts these at places of their own. A random caption is a random image
plus noise. Each folder gets images.npy, texts.npy and caption_image.npy.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

#: Scenes a block; the dimensions of a pair of embeddings, and of a random vector.
BLOCK, DIM = 1000, 256


def write_scenes(folder: Path, n: int) -> None:
    """Embed scenes block by block, from the block where an earlier run stopped."""
    import fico_utils
    from fico_utils import costs
    from fico_utils.costs.blocks import CAPTIONS, Block, block_spans

    run = fico_utils.setup("standard", 0, str(folder / "results"), threads=1)
    subjects, n_txt = costs.load_subjects(run, ["beit3", "xvlm"]), n // 5
    files = {}
    for name, rows in (("images", n), ("texts", n_txt)):
        path = folder / f"{name}.npy"
        mode = "r+" if path.exists() else "w+"
        files[name] = np.lib.format.open_memmap(path, mode, np.float32, (rows, DIM))
    np.save(folder / "caption_image.npy", np.arange(n_txt))
    mark = folder / "blocks_done.txt"
    done = int(mark.read_text()) if mark.exists() else 0
    for number, (start, stop) in enumerate(block_spans([n_txt, n], BLOCK)):
        if number < done:
            continue
        drawn = subjects.scenes(start, stop)
        drawn["captions"] = drawn["captions"][::CAPTIONS]
        block = Block(number, start, stop, drawn, subjects.members[0].extractors)
        for name, side in (("images", "image"), ("texts", "text")):
            if stop <= len(files[name]):
                files[name][start:stop] = np.hstack([_unit(block, member, side) for member in subjects.members])
        mark.write_text(str(number + 1))
        print(f"{stop:,} of {n:,} scenes", flush=True)


def _unit(block, member, side: str) -> np.ndarray:
    """What a system keeps of one side of a block, at unit length."""
    reads, work = member.encoder.sides[side]
    kept = np.concatenate(list(work(block[reads])))
    return kept / np.linalg.norm(kept, axis=1, keepdims=True)


def write_openclipart(folder: Path, out: str, data: str) -> None:
    """Embed the pictures of two splits, and the captions of the test pictures."""
    import fico_utils
    from fico_utils import experiment

    run = fico_utils.setup("pictures", 0, out, data_dir=data, threads=1)
    kept = {split: experiment.embed(run, "beit3", "openclipart", split) for split in ("test", "val")}
    part = experiment.part(run, "openclipart", "test")
    np.save(folder / "images.npy", np.concatenate([kept[split]["img"] for split in kept]))
    np.save(folder / "texts.npy", kept["test"]["txt"])
    np.save(folder / "caption_image.npy", part.caption_image)


def write_random(folder: Path, n: int) -> None:
    """Random images, and a caption each of a fifth of them."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(n, DIM)).astype(np.float32)
    np.save(folder / "images.npy", images)
    np.save(folder / "texts.npy", images[: n // 5] + 2.5 * rng.normal(size=(n // 5, DIM)).astype(np.float32))
    np.save(folder / "caption_image.npy", np.arange(n // 5))


def main() -> None:
    """Write one set."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("kind", choices=("scenes", "openclipart", "random"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--results", default="results", help="folder with the results of the profile pictures")
    parser.add_argument("--data", default="data", help="folder with openclipart and the towers")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.kind == "openclipart":
        write_openclipart(options.folder, options.results, options.data)
    else:
        {"scenes": write_scenes, "random": write_random}[options.kind](options.folder, options.items)


if __name__ == "__main__":
    main()
