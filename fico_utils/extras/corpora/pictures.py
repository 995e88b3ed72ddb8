"""Pictures in files, read on demand: squares of one size, with a limit on their pixels, and a list of what is wrong."""

from __future__ import annotations

import functools
import hashlib
import os
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fico_utils.errors import InputError
from fico_utils.extras.corpora.reading import missing_files
from fico_utils.progress import show_progress

if TYPE_CHECKING:
    from PIL.Image import Image

    from fico_utils.data.corpus import Corpus

#: Pixels of the largest picture that is opened: more than any camera's, less than what would fill the memory.
PIXEL_LIMIT = 100_000_000
#: What `check_images` looks for, the fatal kinds first.
PROBLEMS = ("missing", "unreadable", "too_large", "greyscale")
#: Bytes of all files of a corpus up to which they are read for its key; of larger ones their sizes stand for them.
HASHED = 2**28


def read_picture(path: str | os.PathLike) -> Image:
    """A picture as it is, upright, in RGB; what is transparent becomes white.

    Raises
    ------
    InputError
        No file there, no picture, a truncated one, or one of more than `PIXEL_LIMIT` pixels.
    """
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit below is the one that counts
            picture = Image.open(path)
        with picture:
            if picture.width * picture.height > PIXEL_LIMIT:
                raise _too_large(path, f"{picture.width} x {picture.height}")
            if picture.mode.startswith("I"):  # 16 bits a pixel, which Pillow would cut off at 255
                values = np.asarray(picture).clip(0, 65535) // 256
                return Image.fromarray(values.astype(np.uint8)).convert("RGB")
            picture = ImageOps.exif_transpose(picture)
            if "A" in picture.getbands() or "transparency" in picture.info:
                picture = picture.convert("RGBA")
                picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
            return picture.convert("RGB")
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"there is no picture {path}") from None
    except Image.DecompressionBombError:
        raise _too_large(path, "far too many") from None
    except (OSError, ValueError, SyntaxError, MemoryError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} cannot be read as a picture ({reason}): get it again, or leave it out") from None


def _too_large(path: str | os.PathLike, size: str) -> InputError:
    return InputError(f"{path} has {size} pixels, expected at most {PIXEL_LIMIT}: shrink the picture, or leave it out")


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


def check_images(corpus: Corpus, progress: bool = False) -> dict[str, list[str]]:
    """What is wrong with the pictures of a corpus: ids for each of `PROBLEMS`; every file is read once, none is fatal.

    A greyscale picture is listed but is no error: it is read as grey RGB. Files are opened one at a time.
    """
    from PIL import Image

    images, index = file_images(corpus)
    found: dict[str, list[str]] = {kind: [] for kind in PROBLEMS}
    gone = set(missing_files(images.paths[row] for row in index))
    bar = show_progress(corpus.image_ids, f"{corpus.name}: reading every picture", unit="file", shown=progress)
    for place, (image_id, row) in enumerate(zip(bar, index, strict=True)):
        if place in gone:
            found["missing"].append(image_id)
            continue
        try:
            images.original(row)
            with Image.open(images.paths[row]) as picture:
                if picture.mode in ("1", "L", "LA") or picture.mode.startswith("I"):
                    found["greyscale"].append(image_id)
        except InputError as error:
            found["too_large" if "pixels, expected at most" in str(error) else "unreadable"].append(image_id)
    return found


def keep_images(corpus: Corpus, folder: str | Path | None, leave_out: bool | Collection[str] | None) -> Corpus:
    """The corpus with those of its images, files below `folder`, that are there and shall not be left out.

    `leave_out` says whether images without a file may be left out with their captions; or gives the ids of the images
    that shall be, file or no file; None keeps all, even those without a file.

    Raises
    ------
    InputError
        Files are missing; one sentence says how many and names the first.
    """
    if leave_out is None or corpus.images is None:
        return corpus
    paths, listed = corpus.images.paths, set() if isinstance(leave_out, bool) else set(leave_out)
    missing = [row for row in missing_files(paths) if corpus.image_ids[row] not in listed]
    if missing and (leave_out is not True or len(missing) == len(paths)):
        first = ", ".join(os.path.relpath(paths[row], folder) for row in missing[:3])
        raise InputError(
            f"Corpus {corpus.name!r}: {len(missing)} of {len(paths)} pictures are not in {folder} (first: {first}); "
            "put them there"
            + ("" if len(missing) == len(paths) else ", or leave them out with leave_out=True, as `fetch` lists them")
        )
    gone = {*missing, *(row for row, image_id in enumerate(corpus.image_ids) if image_id in listed)}
    return corpus.select([row for row in range(corpus.n_img) if row not in gone]) if gone else corpus
