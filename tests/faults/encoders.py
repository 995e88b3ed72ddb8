"""Damaged and hostile folders of saved models, each loaded in a fork of its own, with a limit on memory."""

from __future__ import annotations

import json
import random
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
from PIL import Image

from tests.faults.arrays import mutate_safetensors
from tests.faults.mutations import Hunt, conclude, mutate_bytes, mutate_json, mutate_text, read_forked

KINDS = ("clip", "siglip", "blip", "blip-2", "bert")
#: Bytes that a fork may take beyond those of this process: what a folder of kilobytes may declare.
ROOM = 3 * 2**30


def mutate_model_file(rng: random.Random, path: Path) -> bytes:
    """The content of a file of a model, changed as what it is."""
    data = path.read_bytes()
    if path.suffix == ".safetensors" and rng.random() < 0.7:
        return mutate_safetensors(rng, data)
    if path.suffix == ".json" and rng.random() < 0.8:
        value = json.loads(data)
        return mutate_json(rng, value).encode("utf-8", "surrogatepass")
    if path.suffix in (".json", ".txt") and rng.random() < 0.5:
        return mutate_text(rng, data.decode()).encode("utf-8", "surrogatepass")
    return mutate_bytes(rng, data)


def load_and_encode(folder: Path) -> None:
    """What the verb `encode` asks of a folder; of a text tower, what features ask."""
    from transformers import AutoModel

    from fico_utils.extras.pretrained.encoders import load_encoder
    from fico_utils.extras.pretrained.files import load_network, load_tokenizer, read_config

    if folder.name == "bert":
        read_config(folder)
        load_network(AutoModel, folder, __import__("torch").float32)
        load_tokenizer(folder)
        return
    model = load_encoder(folder)
    model.encode_images([Image.new("RGB", (9, 7))])
    model.encode_texts(["a dog"])


def load_forked(folder: Path) -> None:
    """InputError where a folder is refused in another process; Crash where that ends otherwise, with a value or not."""

    def load() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + ROOM,) * 2)
        resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
        load_and_encode(folder)

    read_forked(load)


def save_models(folder: Path) -> None:
    """A small model of each kind, in a folder of its name."""
    from tests.extras.test_towers import save_text_tower
    from tests.models import tiny

    for kind in KINDS[:-1]:
        tiny.save(folder / kind, kind)
    save_text_tower(folder / "bert")


def campaign(seconds: float, seed: int, readers: Sequence[str] = KINDS, least: int = 0) -> str:
    """Mutations of each kind of model for its share of the time, or until at least so many are tried."""
    hunts = []
    with tempfile.TemporaryDirectory() as place:
        save_models(Path(place, "good"))
        for kind in readers:
            rng, end, hunt = random.Random(f"{seed} {kind}"), time.monotonic() + seconds / len(readers), Hunt(kind)
            load_and_encode(Path(place, "good", kind))  # imports what each fork would import again
            while hunt.tried < least or time.monotonic() < end:
                folder = Path(place, "changed", kind)
                shutil.rmtree(folder, ignore_errors=True)
                shutil.copytree(Path(place, "good", kind), folder)
                path = rng.choice(sorted(p for p in folder.iterdir() if p.stat().st_size))
                hunt.judge({path: mutate_model_file(rng, path)}, lambda folder=folder: load_forked(folder))
            hunts.append(hunt)
    return conclude(hunts)
