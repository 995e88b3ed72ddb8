"""Damaged and hostile pictures, each read in a fork of its own, since Pillow's readers are native code."""

from __future__ import annotations

import io
import random
import struct
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, features

from fico_utils.extras.corpora.pictures import read_picture
from tests.faults.mutations import NUMBERS, Hunt, conclude, measured_children, mutate_bytes, read_forked

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 7, 4), np.uint8)


def picture_seeds() -> dict[str, list[bytes]]:
    """Format -> pictures of several modes and ways to store them."""
    Image.init()  # all of Pillow's readers, which each fork would load again
    rgb = Image.fromarray(PIXELS[..., :3])
    rgba, grey, palette = Image.fromarray(PIXELS), rgb.convert("L"), rgb.convert("P")
    exif = Image.Exif()
    exif[0x0112] = 6
    seeds: dict[str, list[tuple[Image.Image, dict[str, Any]]]] = {
        "png": [(rgba, {}), (rgb, {"exif": exif}), (grey, {}), (palette, {"transparency": 3}), (rgb.convert("1"), {})],
        "jpeg": [(rgb, {"exif": exif}), (rgb, {"progressive": True}), (rgb.convert("CMYK"), {}), (grey, {})],
        "gif": [(palette, {"save_all": True, "append_images": [palette]}), (palette, {"transparency": 1})],
        "bmp": [(rgb, {}), (palette, {})],
        "tiff": [(rgb, {"compression": c}) for c in (None, "tiff_lzw", "tiff_deflate", "jpeg", "packbits")],
        "webp": [(rgba, {"lossless": True}), (rgb, {}), (rgb, {"save_all": True, "append_images": [rgb]})],
        "jpeg2000": [(rgb, {}), (rgba, {"irreversible": True})],
        "ppm": [(rgb, {}), (grey, {})],
        "avif": [(rgb, {}), (rgba, {})] if features.check("avif") else [],
    }
    seeds["png"].append((Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 256), {}))
    made: dict[str, list[bytes]] = {}
    for kind, pictures in seeds.items():
        for picture, how in pictures:
            file = io.BytesIO()
            picture.save(file, kind, **how)
            made.setdefault(kind, []).append(file.getvalue())
    return made


def mutate_png(rng: random.Random, data: bytes) -> bytes:
    """Chunks of a PNG changed, exchanged or repeated, their checksums right."""
    chunks, rest = [], data[8:]
    while len(rest) >= 12:
        size = int.from_bytes(rest[:4], "big")
        chunks.append((rest[4:8], rest[8 : 8 + size]))
        rest = rest[12 + size :]
    at = rng.randrange(len(chunks))
    kind, content = chunks[at]
    if kind == b"IHDR" and rng.random() < 0.7:
        place = rng.choice((0, 4))
        content = content[:place] + struct.pack(">I", rng.choice(NUMBERS) % 2**32) + content[place + 4 :]
    elif kind == b"IDAT" and rng.random() < 0.5:
        content = zlib.compress(mutate_bytes(rng, zlib.decompress(content)) * rng.choice((1, 1, 10_000)))
    else:
        content = mutate_bytes(rng, content)
    chunks[at] = (
        rng.choice((kind, kind, b"iTXt", b"zTXt", b"iCCP", b"PLTE", b"tRNS", b"acTL", b"eXIf", b"fdAT")),
        content,
    )
    if rng.random() < 0.2:
        chunks.insert(rng.randrange(len(chunks)), chunks[at])
    return data[:8] + b"".join(
        struct.pack(">I", len(part)) + kind + part + struct.pack(">I", zlib.crc32(kind + part)) for kind, part in chunks
    )


class Size(NamedTuple):
    """Width and height of a picture that was read."""

    width: int
    height: int


def picture_size(path: Path) -> Size:
    """The size of a picture as `read_picture` reads it in another process; Crash where that ends otherwise."""
    return Size(*read_forked(lambda: read_picture(path).size))


def hunt_format(kind: str, seeds: list[bytes], path: Path, rng: random.Random, until: Callable[[Hunt], bool]) -> Hunt:
    """Mutations of one format until enough."""
    hunt = Hunt(kind)
    with measured_children(hunt):
        while not until(hunt):
            data = rng.choice(seeds)
            data = mutate_png(rng, data) if kind == "png" and rng.random() < 0.7 else mutate_bytes(rng, data)
            hunt.judge({path: data}, lambda: picture_size(path))
    return hunt


def campaign(seconds: float, seed: int, least: int = 0) -> str:
    """Mutations of each format of pictures for its share of the time, or until at least so many are tried."""
    made, hunts = picture_seeds(), []
    for kind, seeds in made.items():
        rng, end = random.Random(f"{seed} {kind}"), time.monotonic() + seconds / len(made)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"x.{kind}"
            enough = lambda hunt, end=end: hunt.tried >= least and time.monotonic() > end  # noqa: E731
            hunts.append(hunt_format(kind, seeds, path, rng, enough))
    return conclude(hunts)
