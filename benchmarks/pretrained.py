"""How much of a pretrained encoder's own speed our path keeps, and how much memory it takes.

    python benchmarks/pretrained.py             ViT-B/16 at 224 pixels, 128 pictures, 640 captions: 10 minutes
    python benchmarks/pretrained.py --quick     a narrow CLIP, seconds: that it runs, not how fast

A random CLIP of the published sizes is saved to a folder and loaded as any checkpoint is. Three works are timed, images
and captions apart, best of the repeats, alternating so that a slow moment of the machine meets all of them:

* bare: the network's batched forward pass over inputs that lie ready in memory, in batches of the same size;
* by hand: what a short script does: the image processor or the tokenizer, then the network, batch after batch;
* ours: pictures and captions to embeddings on disk, in units of the store, digests and renaming included.

The target is ours >= 0.9 of bare. Only ratios inside one run count. Writes ``results/pretrained.{json,md}``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
TARGET = 0.9
FULL = {"width": 768, "layers": 12, "heads": 12, "text_width": 512, "patch": 16, "n_img": 128}
QUICK = {"width": 192, "layers": 4, "heads": 3, "text_width": 128, "patch": 16, "n_img": 64}
#: Pixels of a picture as it comes: Flickr30K's are 500 on the longer side.
SIZE = (375, 500)


def checkpoint(folder: Path, sizes: dict) -> Path:
    """A random CLIP with a vocabulary of numbers for words."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    torch.manual_seed(0)
    vocabulary = {word: i for i, word in enumerate(("<pad>", "<start>", "<end>", *map(str, range(2000))))}
    text, image = (
        {"hidden_size": w, "intermediate_size": 4 * w, "num_hidden_layers": sizes["layers"], "num_attention_heads": h}
        for w, h in ((sizes["text_width"], sizes["text_width"] // 64), (sizes["width"], sizes["heads"]))
    )
    text |= {"vocab_size": len(vocabulary), "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    image |= {"image_size": 224, "patch_size": sizes["patch"]}
    config = transformers.CLIPConfig(text_config=text, vision_config=image, projection_dim=512)
    transformers.CLIPModel(config).save_pretrained(folder)
    words = Tokenizer(models.WordLevel(vocabulary, "<pad>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 1), ("<end>", 2)]
    )
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>").save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": "CLIPImageProcessor"}))
    return folder


def corpus(n_img: int):
    """Pictures of a photograph's size and five captions each, of 8 to 20 words, as in Flickr30K."""
    from fico_utils.data.corpus import Corpus

    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (n_img, *SIZE, 3), dtype=np.uint8)
    captions = [" ".join(map(str, rng.integers(0, 2000, rng.integers(8, 21)))) for _ in range(5 * n_img)]
    index = np.repeat(np.arange(n_img), 5)
    return Corpus("noise", [str(i) for i in range(n_img)], captions, index, ["test"] * n_img, images=pictures)


def peak_mib() -> float:
    """Peak of the resident memory so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(sizes: dict, repeats: int, memory_mib: int, dtype: str, folder: Path) -> list[dict]:
    """A row for images and one for captions: seconds of the three works, batch, peak memory."""
    import torch
    import torch.nn.functional as F
    from PIL import Image

    from fico_utils.artifacts import Recipe, Store
    from fico_utils.extras.pretrained import embedding as pretrained_corpus
    from fico_utils.extras.pretrained import encoders as pretrained

    model = pretrained.load_encoder(checkpoint(folder / "clip", sizes), device="", dtype=dtype)
    items = corpus(sizes["n_img"])
    network, place = model.network, model.device
    workers = len(os.sched_getaffinity(0))
    inputs = model.inputs(items)
    n = {"image": items.n_img, "text": items.n_txt}
    batch = {tower: pretrained_corpus.batch_size(model, tower, memory_mib) for tower in n}
    parts = {tower: [slice(i, i + batch[tower]) for i in range(0, n[tower], batch[tower])] for tower in n}
    pixels = model.preparation.pixels(torch.from_numpy(inputs.image["pixels"][:]))["pixel_values"].to(model.dtype)

    def tokenised(part: slice) -> dict:
        return model.tokenizer(items.captions[part], padding=True, truncation=True, max_length=77, return_tensors="pt")

    ids = [tokenised(part)["input_ids"].to(place) for part in parts["text"]]
    pixels = pixels.to(place)

    def unit(out) -> None:
        F.normalize(out.pooler_output.float(), dim=-1).cpu()

    def bare_images() -> None:
        for part in parts["image"]:
            unit(network.get_image_features(pixel_values=pixels[part]))

    def bare_texts() -> None:
        for words in ids:
            unit(network.get_text_features(input_ids=words))

    def images_by_hand() -> None:
        for part in parts["image"]:
            pictures = [Image.fromarray(p) for p in items.images[part]]
            ready = model.preparation.processor(images=pictures, return_tensors="pt")["pixel_values"]
            unit(network.get_image_features(pixel_values=ready.to(place, model.dtype)))

    def texts_by_hand() -> None:
        for part in parts["text"]:
            unit(network.get_text_features(input_ids=tokenised(part)["input_ids"].to(place)))

    def ours(tower: str):
        """One side of `embeddings`, to a file of its own; the tokens are made anew."""

        def work() -> None:
            read = model.inputs(items)
            units = Store(folder).units("embeddings", tower, Recipe("encoding"))
            units.remove()
            side = pretrained_corpus.encoding_side(model, read, tower, memory_mib)
            effort = pretrained_corpus.Effort(workers=workers, progress=False)
            pretrained_corpus.encode_units(side, units, effort=effort)
            pretrained_corpus.gather_units(side, units)

        return work

    works = {
        "image": {"bare": bare_images, "by hand": images_by_hand, "ours": ours("image")},
        "text": {"bare": bare_texts, "by hand": texts_by_hand, "ours": ours("text")},
    }
    rows = []
    for tower, kinds in works.items():
        seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
        before = peak_mib()
        with torch.inference_mode():
            for _ in range(repeats + 1):  # the first round warms up
                for kind, work in kinds.items():
                    start = time.perf_counter()
                    work()
                    seconds[kind].append(time.perf_counter() - start)
        best = {kind: min(values[1:]) for kind, values in seconds.items()}
        row = {"tower": tower, "n": n[tower], "batch": batch[tower], **best, "extra_mib": peak_mib() - before}
        row |= {"ratio": best["bare"] / best["ours"], "ratio_by_hand": best["bare"] / best["by hand"]}
        print(f"{tower:6s} ours {row['ratio']:.2f} of bare, a script {row['ratio_by_hand']:.2f}", flush=True)
        rows.append(row)
    return rows


def report(rows: list[dict], about: dict) -> str:
    """The table as markdown."""
    lines = [f"# Pretrained encoders, measured {about['date']}", "", *(f"* {k}: {v}" for k, v in about.items()), ""]
    lines += ["| tower | items | batch | bare s | by hand s | ours s | ours : bare (>= 0.9) | by hand : bare | met |"]
    lines += ["|---|---|---|---|---|---|---|---|---|"]
    for r in rows:
        numbers = [f"{r[name]:.2f}" for name in ("bare", "by hand", "ours", "ratio", "ratio_by_hand")]
        cells = [r["tower"], str(r["n"]), str(r["batch"]), *numbers, "yes" if r["ratio"] >= TARGET else "missed"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a narrow network, seconds")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory-mib", type=int, default=0, help="what a batch may take; 0: what the device has")
    parser.add_argument("--dtype", default="float32", choices=("float32", "float16", "bfloat16"))
    parser.add_argument(
        "--out", type=Path, default=HERE / "results", help="folder for pretrained.json and pretrained.md"
    )
    args = parser.parse_args()
    import torch

    sizes = QUICK if args.quick else FULL
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(sizes, args.repeats, args.memory_mib, args.dtype, Path(folder))
    about = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, {torch.get_num_threads()} threads",
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "versions": ", ".join(f"{p} {version(p)}" for p in ("torch", "transformers", "numpy")),
        "network": ", ".join(f"{k} {v}" for k, v in sizes.items()) + f", {args.dtype}",
    }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "pretrained.json").write_text(json.dumps({"about": about, "results": rows}, indent=1) + "\n")
    (args.out / "pretrained.md").write_text(report(rows, about))
    print((args.out / "pretrained.md").read_text())


if __name__ == "__main__":
    main()
