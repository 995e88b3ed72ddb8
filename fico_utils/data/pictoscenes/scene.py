"""The scene graph of PictoScenes: what is where, drawn from (corpus, seed, index) alone.

Only integer mixing and `random.Random.random` are used, both stable across Python versions and machines.
"""

from __future__ import annotations

import math
import random
from bisect import bisect
from collections.abc import Callable
from functools import cache
from itertools import accumulate
from typing import NamedTuple

from fico_utils.data.pictoscenes import tables
from fico_utils.data.pictoscenes.tables import GRID, N_FACES, SIZE_PIXELS
from fico_utils.errors import InputError

PIXELS = 96  # side of the picture
CELL = PIXELS // GRID
ROTATIONS = (-14, -7, 0, 7, 14)  # degrees
MAX_THINGS = 5
TRIES = 12  # for a place that leaves all others visible; then the one that hides least is taken
# Index at which each split starts: so far apart that the size of one never changes the scenes of another.
SPLIT_START = {"test": 0, "val": 10_000_000, "train": 20_000_000}


class Thing(NamedTuple):
    """One object of a scene.

    category: index in CATEGORY_NAMES; colour, size: indices in COLOUR_NAMES, SIZE_NAMES; cell: row * 6 + column;
    x, y: centre, px; rotation: index in ROTATIONS; tint: RGB added to the colour.
    """

    category: int
    colour: int
    size: int
    cell: int
    x: int
    y: int
    rotation: int
    tint: tuple[int, int, int]


class Scene(NamedTuple):
    """Scene `index` of a corpus and seed: its background (index in BACKGROUND_NAMES) and things, as drawn.

    light: brightness added at the top and at the bottom; noise: offset into the noise bank.
    """

    corpus: str
    seed: int
    index: int
    background: int
    things: tuple[Thing, ...]
    light: tuple[int, int]
    noise: int


class Spec(NamedTuple):
    """How often things occur in a corpus, and how much its captions tell."""

    number: int  # enters the seed of every scene
    faces: float  # share of scenes with a face
    n_faces: tuple  # weights of 1, 2, 3 faces where there is one
    n_things: tuple  # weights of 1 ... 5 things
    repeat: float  # chance that a thing repeats the category of the one before
    tail: float  # category r other than faces has weight 1 / (r + tail): small = uneven
    tell_third: float  # chance that a caption mentions a third thing where there is one
    tell_colour: float  # ... the colour of a thing
    tell_size: float  # ... its size
    tell_background: float
    vague: float  # share of captions that say little
    extra_captions: tuple  # (residue of the index modulo 2500, captions beyond 5)


SPECS = {
    "picto_diverse": Spec(
        number=1, faces=0.47, n_faces=(70, 20, 10), n_things=(6, 20, 30, 26, 18), repeat=0.10, tail=8.0,
        tell_third=0.30, tell_colour=0.74, tell_size=0.30, tell_background=0.35, vague=0.07,
        extra_captions=((250, 1), (750, 1), (1250, 2), (1750, 1)),
    ),
    "picto_people": Spec(
        number=2, faces=0.936, n_faces=(55, 30, 15), n_things=(8, 26, 32, 22, 12), repeat=0.10, tail=8.0,
        tell_third=0.75, tell_colour=0.96, tell_size=0.68, tell_background=0.78, vague=0.02, extra_captions=(),
    ),
}  # fmt: skip


def spec_of(corpus: str) -> Spec:
    """The Spec of an embedded corpus; InputError for another name."""
    if corpus not in SPECS:
        raise InputError(f"There is no embedded corpus {corpus!r}: choose one of {', '.join(SPECS)}.")
    return SPECS[corpus]


def stream(corpus: str, seed: int, index: int, purpose: int) -> random.Random:
    """The random numbers of one scene for one purpose, 0: the scene, 1: its captions."""
    state = 0
    for part in (SPECS[corpus].number, seed, index, purpose):  # splitmix64 over the parts
        state = (state + part + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return random.Random(state)


def shuffle(draw: Callable[[], float], items: list) -> list:
    """The list in random order (Fisher-Yates), in place: the same on every version of Python."""
    for i in range(len(items) - 1, 0, -1):
        j = int(draw() * (i + 1))
        items[i], items[j] = items[j], items[i]
    return items


# Ranks run through the tables with a stride, so that frequent categories come from every part of them.
_N_OTHERS = len(tables.PICTOGRAPHS) - N_FACES
_OTHERS = [N_FACES + (rank * 26) % _N_OTHERS for rank in range(_N_OTHERS)]


@cache
def _cumulative_odds(spec: Spec) -> list[list[float]]:
    """Of the number of things, of faces where there are any, and of the ranks of other categories."""
    weights = spec.n_things, spec.n_faces, [1 / (rank + spec.tail) for rank in range(_N_OTHERS)]
    sums = [list(accumulate(numbers)) for numbers in weights]  # not sum(), whose rounding changed with Python 3.12
    return [[partial / partials[-1] for partial in partials] for partials in sums]


def _categories(spec: Spec, draw: Callable[[], float]) -> list[int]:
    """The categories of one scene's things."""
    n_things, n_faces, others = _cumulative_odds(spec)
    n = 1 + bisect(n_things, draw())
    faces = min(1 + bisect(n_faces, draw()), n) if draw() < spec.faces else 0
    categories = [int(draw() * N_FACES) for _ in range(faces)]
    while len(categories) < n:
        if len(categories) > faces and draw() < spec.repeat:
            categories.append(categories[-1])
        else:
            categories.append(_OTHERS[bisect(others, draw())])
    return shuffle(draw, categories)  # any thing may be drawn over any other


def make_scene(corpus: str, index: int, seed: int = 0) -> Scene:
    """Scene `index` of an embedded corpus: a function of its three arguments alone."""
    spec, draw = spec_of(corpus), stream(corpus, seed, index, 0).random
    background = int(draw() * len(tables.BACKGROUNDS))
    things: list[Thing] = []
    free = list(range(GRID * GRID))
    for category in _categories(spec, draw):
        colours = (tables.FACE_COLOURS if category < N_FACES else tables.VISIBLE)[background]
        size = int(draw() * 3)
        half = SIZE_PIXELS[size] // 2 + 1
        best = (-math.inf,)
        for _ in range(TRIES):
            cell = free[int(draw() * len(free))]
            x = min(max(cell % GRID * CELL + 4 + int(draw() * 9), half), PIXELS - 1 - half)
            y = min(max(cell // GRID * CELL + 4 + int(draw() * 9), half), PIXELS - 1 - half)
            room = min(
                (max(abs(x - o.x), abs(y - o.y)) - 0.8 * (half + SIZE_PIXELS[o.size] // 2) for o in things), default=0.0
            )
            if room > best[0]:
                best = (room, cell, x, y)
            if room >= 0:
                break
        _, cell, x, y = best
        free.remove(cell)
        colour, rotation = colours[int(draw() * len(colours))], int(draw() * len(ROTATIONS))
        tint = tuple(int(draw() * 25) - 12 for _ in range(3))
        things.append(Thing(category, colour, size, cell, x, y, rotation, tint))
    light = int(draw() * 33) - 16, int(draw() * 33) - 16
    return Scene(corpus, seed, index, background, tuple(things), light, int(draw() * (1 << 16)))


def n_captions(corpus: str, index: int) -> int:
    """How many captions scene `index` has: 5, in picto_diverse 6 or 7 for a few; 5 000 in a row: 25 010."""
    return 5 + dict(SPECS[corpus].extra_captions).get(index % 2500, 0)
