"""Pictures in files, read on demand: squares of one size, with a limit on their pixels, and a list of what is wrong."""

from __future__ import annotations

import functools
import hashlib
import os
import warnings
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fico_utils.errors import InputError
from fico_utils.extras.corpora.reading import first_line, show_text
from fico_utils.files import note
from fico_utils.progress import show_progress

if TYPE_CHECKING:
    from PIL.Image import Image

    from fico_utils.data.corpus import Corpus

#: Pixels of the largest picture that is opened: more than any camera's, less than what would fill the memory.
PIXEL_LIMIT = 100_000_000
#: Pixels of a picture of few bytes: more, and as many a byte, only those hold that are nearly empty.
FEW_PIXELS, PIXELS_A_BYTE = 4_000_000, 1000
#: What is read; of Pillow's other formats, some start programs.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
#: What `check_images` looks for, the fatal kinds first.
PROBLEMS = ("missing", "unreadable", "too_large", "greyscale")
#: Bytes of all files of a corpus up to which they are read for its key; of larger ones their sizes stand for them.
HASHED = 2**28


def svg_renderer(what: str) -> Callable[..., bytes]:
    """resvg's ``svg_to_bytes``, which makes a PNG of an SVG; InputError about `what` it draws, where it is missing."""
    try:
        from resvg_py import svg_to_bytes
    except ImportError:
        raise InputError(
            f"{what} are drawn by the package resvg-py, which is not installed: pip install resvg-py, and give the "
            "same command again"
        ) from None
    return svg_to_bytes


class TooLarge(InputError):
    """A picture of more than `PIXEL_LIMIT` pixels, or of more than its bytes can mean."""

    def __init__(self, path: str | os.PathLike, size: str, limit: int = PIXEL_LIMIT) -> None:
        limited = f"expected at most {limit}{' of so small a file' if limit < PIXEL_LIMIT else ''}"
        super().__init__(f"{path} has {size} pixels, {limited}: shrink the picture, or leave it out")


def read_picture(picture: str | os.PathLike | Image) -> Image:
    """A picture of a file, or one that Pillow opened, as it is seen: upright, RGB; what is transparent becomes white.

    InputError where there is no file or no picture, a truncated one, or one of more than `PIXEL_LIMIT` pixels.
    """
    from PIL import Image, ImageOps

    given = isinstance(picture, Image.Image)
    name = getattr(picture, "filename", "") or "a picture without a file" if given else picture
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit below is the one that counts
            opened = picture if given else Image.open(picture, formats=FORMATS)
        with nullcontext(opened) if given else opened:
            held = PIXEL_LIMIT if given else os.path.getsize(picture)
            limit = min(PIXEL_LIMIT, max(FEW_PIXELS, PIXELS_A_BYTE * held))
            if opened.width * opened.height > limit:
                raise TooLarge(name, f"{opened.width} x {opened.height}", limit)
            upright = ImageOps.exif_transpose(opened)
            if upright.mode.startswith("I"):  # 16 bits a pixel, which Pillow would cut off at 255
                values = np.asarray(upright).clip(0, 65535) // 256
                return Image.fromarray(values.astype(np.uint8)).convert("RGB")
            if "A" in upright.getbands() or "transparency" in upright.info:
                upright = upright.convert("RGBA")
                upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright)
            return upright.convert("RGB")
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"there is no picture {name}") from None
    except Image.DecompressionBombError:
        raise TooLarge(name, "far too many") from None
    except Exception as error:  # whatever Pillow makes of a stranger's file
        raise InputError(
            f"{name} cannot be read as a picture ({first_line(error)}): get it again, or leave it out"
        ) from None


class FileImages(Sequence):
    """Pictures in files as a `Corpus` wants them: ``images[i:j]`` reads uint8 (b, size, size, 3).

    With `fit` ``pad`` a picture is whole, on a white square; with ``crop`` it is its middle. A picture that is missing,
    unreadable or of more than `PIXEL_LIMIT` pixels is an InputError when it is read; `check_images` lists them all.
    """

    def __init__(self, paths: Sequence[str], size: int = 224, fit: str = "pad"):
        if size < 1:
            raise InputError(f"pictures of size {size} are asked for, expected a number of pixels from 1")
        self.paths, self.size, self.fit = list(paths), size, fit

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n_img, size, size, 3)."""
        return (len(self.paths), self.size, self.size, 3)

    def __getitem__(self, rows) -> np.ndarray:
        chosen = np.arange(len(self.paths))[rows]
        if chosen.ndim == 0:
            return self._square(int(chosen))
        return np.array([self._square(row) for row in chosen.tolist()], np.uint8).reshape(-1, *self.shape[1:])

    @functools.cached_property
    def key(self) -> str:
        """Content hash, 64 hex digits: size, fit, and the files, in order; of many files their sizes in bytes alone."""
        sizes = [os.path.getsize(path) if os.path.exists(path) else -1 for path in self.paths]
        digest = hashlib.sha256(f"{self.size} {self.fit} {sizes}".encode())
        if sum(sizes) <= HASHED:
            for path, size in zip(self.paths, sizes, strict=True):
                digest.update(Path(path).read_bytes() if size > 0 else b"")
                note("read", Path(path))
        return digest.hexdigest()

    def original(self, row: int) -> Image:
        """A picture in its own size, for encoders that bring their own preparation."""
        return read_picture(self.paths[row])

    def _square(self, row: int) -> np.ndarray:
        from PIL import Image, ImageOps

        picture, size = self.original(row), (self.size, self.size)
        if self.fit == "pad":
            return np.asarray(ImageOps.pad(picture, size, Image.Resampling.BICUBIC, "white"))
        return np.asarray(ImageOps.fit(picture, size, Image.Resampling.BICUBIC))


def file_images(corpus: Corpus) -> tuple[FileImages, np.ndarray]:
    """The files behind a corpus's pictures, also of a `subset`, and the row of each image among them."""
    images, index = corpus.images, np.arange(corpus.n_img)
    while hasattr(images, "index") and hasattr(images, "images"):
        images, index = images.images, images.index[index]
    if not isinstance(images, FileImages):
        raise InputError(
            f"Corpus {corpus.name!r}: its pictures are not files; give one that was read with an image folder"
        )
    return images, index


def missing_files(paths: Iterable[str]) -> list[int]:
    """Positions of the paths at which no file lies; each folder is listed once, so 100 000 take a tenth of a second."""
    listed: dict[str, set[str]] = {}
    missing = []
    for position, path in enumerate(paths):
        folder, name = os.path.split(path)
        if folder not in listed:
            listed[folder] = set(os.listdir(folder)) if os.path.isdir(folder) else set()
        if name not in listed[folder]:
            missing.append(position)
    return missing


def check_images(corpus: Corpus, progress: bool = False) -> dict[str, list[str]]:
    """What is wrong with the pictures of a corpus: ids for each of `PROBLEMS`; every file is read once, none is fatal.

    A greyscale picture is listed but is no error: it is read as grey RGB. Files are opened one at a time.
    """
    from PIL import Image

    images, index = file_images(corpus)
    problems: dict[str, list[str]] = {kind: [] for kind in PROBLEMS}
    bar = show_progress(corpus.image_ids, f"{corpus.name}: reading every picture", unit="file", shown=progress)
    for image_id, row in zip(bar, index, strict=True):
        if not os.path.isfile(images.paths[row]):
            problems["missing"].append(image_id)
            continue
        try:
            images.original(row)
            with Image.open(images.paths[row], formats=FORMATS) as picture:
                if picture.mode in ("1", "L", "LA") or picture.mode.startswith("I"):
                    problems["greyscale"].append(image_id)
        except InputError as error:
            problems["too_large" if isinstance(error, TooLarge) else "unreadable"].append(image_id)
    return problems


def keep_images(corpus: Corpus, folder: str | Path, leave_out: Collection[str] | None) -> Corpus:
    """The corpus without the images whose ids `leave_out` names; None keeps all, even those without a file.

    InputError where files of the others, which lie below `folder`, are missing.
    """
    if leave_out is None:
        return corpus
    left_out = set(leave_out)
    kept = [row for row, image_id in enumerate(corpus.image_ids) if image_id not in left_out]
    refuse_missing([corpus.images.paths[row] for row in kept], folder, f"Corpus {corpus.name!r}")
    return corpus if len(kept) == corpus.n_img else corpus.select(kept)


def refuse_missing(paths: Sequence[str], folder: str | Path, whose: str) -> None:
    """InputError where files of pictures, which lie below `folder`, are missing: how many, and which first."""
    missing = [paths[position] for position in missing_files(paths)]
    if missing:
        first = show_text(", ".join(os.path.relpath(path, folder) for path in missing[:3]))
        raise InputError(
            f"{whose}: {len(missing)} of {len(paths)} pictures are not in {folder} (first: {first}); "
            "put them there, or let `python -m fico_utils fetch` list them in problems.csv, and they are left out"
        )
