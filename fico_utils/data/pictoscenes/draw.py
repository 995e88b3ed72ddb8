"""Pictures of PictoScenes: glyphs of DejaVu Sans rendered once to masks, then blitted in colour."""

from __future__ import annotations

import functools
import hashlib
from itertools import pairwise

import numpy as np

from fico_utils.data.pictoscenes.scene import PIXELS, ROTATIONS, Scene
from fico_utils.data.pictoscenes.tables import BACKGROUNDS, COLOURS, PICTOGRAPHS, SIZE_PIXELS

VERSIONS = {"drawing": 1}
_NOISE_ROWS = 640  # rows of the noise bank; a picture uses a window of 96


@functools.cache
def atlas() -> tuple:
    """Masks [category][size][rotation] = (body, lines) of every pictograph, float32 (n, n, 1) in 0 ... 1.

    A line glyph's body is its silhouette and its lines are the glyph; a solid glyph's body is the glyph,
    without lines (None). FreeType gives outlines without hinting and Agg fills them, so the bytes depend
    on the version of matplotlib only.
    """
    from matplotlib import get_data_path
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.ft2font import FT2Font, LoadFlags
    from matplotlib.path import Path
    from matplotlib.transforms import Affine2D

    font = FT2Font(f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf")
    font.set_size(64, 72)
    boxes = [int(pixels * 1.25) | 1 for pixels in SIZE_PIXELS]  # odd, so that a mask has a middle pixel; room to rotate

    def fill(paths, transform, box):
        canvas = RendererAgg(box, box, 72)
        style = canvas.new_gc()
        style.set_linewidth(0)
        for path in paths:
            canvas.draw_path(style, path, transform, (0.0, 0.0, 0.0, 1.0))
        mask = np.array(canvas.buffer_rgba())[:, :, 3:].astype(np.float32) / 255
        mask.setflags(write=False)
        return mask

    def sprites(pictograph):
        font.load_char(ord(pictograph.glyph), flags=LoadFlags.NO_HINTING)
        vertices, codes = font.get_path()
        starts = [i for i, code in enumerate(codes) if code == Path.MOVETO] + [len(codes)]
        glyph = [Path(vertices, codes)]
        contours = [Path(vertices[a:b], codes[a:b]) for a, b in pairwise(starts)]
        extent = glyph[0].get_extents()
        centre = Affine2D().translate(-(extent.x0 + extent.x1) / 2, -(extent.y0 + extent.y1) / 2)
        scale = 1 / max(extent.width, extent.height)
        for pixels, box in zip(SIZE_PIXELS, boxes, strict=True):
            turned = []
            for degrees in ROTATIONS:
                turn = Affine2D().scale(scale * pixels).rotate_deg(degrees).translate(box / 2, box / 2)
                place = (centre + turn).frozen()
                lines = fill(glyph, place, box)
                turned.append((lines, None) if pictograph.solid else (fill(contours, place, box), lines))
            yield tuple(turned)

    return tuple(tuple(sprites(pictograph)) for pictograph in PICTOGRAPHS)


@functools.cache
def _grounds() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Background colours (8, 3), the ramp from top to bottom (96, 1, 1), and a bank of pixel noise."""
    raw = np.frombuffer(hashlib.shake_256(b"PictoScenes").digest(4 * _NOISE_ROWS * PIXELS * 3), np.uint8)
    noise = (raw.reshape(4, _NOISE_ROWS, PIXELS, 3).astype(np.float32) - 127.5).sum(0) * np.float32(5 / (2 * 73.9))
    colours = np.array([rgb for rgb, _ in BACKGROUNDS.values()], np.float32)
    return colours, np.linspace(0, 1, PIXELS, dtype=np.float32)[:, None, None], noise


_BODY = np.array([body for body, _, _ in COLOURS.values()], np.float32)
_LINES = np.array([lines for _, lines, _ in COLOURS.values()], np.float32)


def render(scene: Scene) -> np.ndarray:
    """The picture of a scene, uint8 (96, 96, 3)."""
    colours, ramp, noise = _grounds()
    top, bottom = scene.light
    picture = np.empty((PIXELS, PIXELS, 3), np.float32)
    picture[:] = colours[scene.background] + top + ramp * np.float32(bottom - top)
    masks = atlas()
    for thing in scene.things:
        body, lines = masks[thing.category][thing.size][thing.rotation]
        half = body.shape[0] // 2
        y, x = thing.y - half, thing.x - half
        window = picture[max(y, 0) : thing.y + half + 1, max(x, 0) : thing.x + half + 1]
        cut = np.s_[max(-y, 0) : max(-y, 0) + window.shape[0], max(-x, 0) : max(-x, 0) + window.shape[1]]
        window += body[cut] * (_BODY[thing.colour] + np.array(thing.tint, np.float32) - window)
        if lines is not None:
            window += lines[cut] * (_LINES[thing.colour] - window)
    first = scene.noise % (_NOISE_ROWS - PIXELS)
    picture += noise[first : first + PIXELS]
    np.clip(picture, 0, 255, out=picture)
    return picture.astype(np.uint8)


class SceneImages:
    """Pictures of a drawn corpus, rendered on demand: images[i] is (96, 96, 3), images[rows] (b, 96, 96, 3), uint8."""

    def __init__(self, corpus):
        self.corpus = corpus

    def __len__(self) -> int:
        return self.corpus.n_img

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return len(self), PIXELS, PIXELS, 3

    def __getitem__(self, index):
        if isinstance(index, (int, np.integer)):
            return render(self.corpus.scenes[index])
        rows = np.arange(len(self))[index]
        pictures = np.empty((len(rows), PIXELS, PIXELS, 3), np.uint8)
        for picture, row in zip(pictures, rows, strict=True):
            picture[:] = render(self.corpus.scenes[row])
        return pictures
