"""What PictoScenes can draw and say: pictographs, colours, sizes, backgrounds, places, relations, words.

Tables only: captions made from them are the same on every machine. A *pictograph* is one
glyph of DejaVu Sans; a *label* is a pictograph, except that all faces share the label "face", as MS-COCO
pools every human under "person". A *term* is a set of pictographs with the nouns that mean exactly that
set: a thing's own name, or a hypernym. No noun belongs to two terms, so a caption means one thing only.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

# label: glyph, style, nouns. "line" glyphs are outlines: the silhouette is filled in the object's colour
# and the lines are drawn dark on it; "solid" glyphs are drawn in the colour itself. A noun's plural stands
# after "|" where it is not noun + s.
_THINGS = """
cat          🐱 line   cat, kitty|kitties, kitten
mouse        🐭 line   mouse|mice, rat
cow          🐮 line   cow, bull
monkey       🐵 line   monkey, ape, chimp
horse        ♘ line   horse, pony|ponies, chess knight
sun          ☀ solid  sun, shining sun
cloud        ☁ solid  cloud, rain cloud
umbrella     ☂ solid  umbrella, parasol
snowman      ☃ line   snowman|snowmen, man made of snow|men made of snow
comet        ☄ line   comet, meteor, shooting star
star         ★ solid  star, five-pointed star
moon         ☾ line   moon, crescent, crescent moon
lightning    ⚡ solid  lightning bolt, bolt of lightning|bolts of lightning, lightning flash|lightning flashes
snowflake    ❄ solid  snowflake, flake of snow|flakes of snow, ice crystal
telephone    ☏ line   telephone, phone, old phone
cup          ☕ line   cup of coffee|cups of coffee, mug, hot drink, coffee cup
anchor       ⚓ solid  anchor, ship's anchor
swords       ⚔ solid  pair of swords|pairs of swords, pair of crossed blades|pairs of crossed blades
scales       ⚖ solid  pair of scales|pairs of scales, balance
flask        ⚗ solid  alembic, still, flask on a stand|flasks on a stand
gear         ⚙ solid  gear, cog, cogwheel
atom         ⚛ line   atom, atom model
scissors     ✂ solid  pair of scissors|pairs of scissors, pair of shears|pairs of shears
airplane     ✈ solid  airplane, plane, jet
envelope     ✉ line   envelope, letter, piece of mail|pieces of mail
pencil       ✏ line   pencil, crayon
pen          ✒ solid  pen nib, fountain pen, nib
house        ⌂ line   house, home, hut
keyboard     ⌨ line   keyboard, computer keyboard
flag         ⚑ solid  flag, banner
coffin       ⚰ line   coffin, casket
urn          ⚱ line   urn, vase, jar
wheelchair   ♿ solid  wheelchair, wheelchair sign
die          ⚄ line   die|dice, playing die|playing dice
skull        ☠ line   skull, skull and crossbones|skulls and crossbones
radiation    ☢ line   radiation sign, nuclear sign
peace        ☮ line   peace sign, peace symbol
yin-yang     ☯ line   yin-yang, yin and yang sign
recycling    ♻ solid  recycling sign, recycling symbol
warning      ⚠ line   warning triangle, triangle with an exclamation mark|triangles with an exclamation mark
steam        ♨ solid  hot spring, steaming bowl
hammers      ⚒ solid  hammer and pick|hammers and picks, pair of hammers|pairs of hammers
reel         ✇ line   reel, film reel, spool
hand         ☛ solid  pointing hand, hand pointing right|hands pointing right
victory      ✌ line   victory sign, hand with two fingers up|hands with two fingers up
writing      ✍ line   writing hand, hand that writes|hands that write
flower       ❀ line   flower, blossom, daisy|daisies
lily         ⚜ solid  lily|lilies, fleur-de-lis
leaf         ❦ solid  ivy leaf|ivy leaves, leaf|leaves
shamrock     ☘ solid  shamrock, clover, clover leaf|clover leaves
heart        ♥ solid  heart, valentine
spade        ♠ solid  spade, ace of spades|aces of spades
diamond      ♦ solid  diamond, rhombus|rhombuses
note         ♫ solid  musical note, pair of notes|pairs of notes, music note
check        ✔ solid  check mark, tick
cross        ✖ solid  cross|crosses, cross mark
arrow        ➔ solid  arrow, arrow pointing right|arrows pointing right
wheel        ☸ line   ship's wheel, steering wheel, helm
crown        ♛ solid  crown, queen's crown, chess queen
castle       ♖ line   castle, tower, rook
pawn         ♟ solid  pawn, chess pawn
coins        ⛁ line   stack of coins|stacks of coins, pile of coins|piles of coins
medal        ✪ line   medal, round badge, star in a circle|stars in a circle
"""
_FACES = """
smiling      ☺ line   smiling face, smiley
grinning     😀 line   grinning face, face showing its teeth|faces showing their teeth, grin
sad          ☹ line   sad face, frowning face, frown
angry        😠 line   angry face, furious face
surprised    😮 line   surprised face, face with an open mouth|faces with an open mouth
sunglasses   😎 line   face with sunglasses|faces with sunglasses, cool face, face in shades|faces in shades
mask         😷 line   face with a mask|faces with a mask, masked face
devil        😈 line   devil, face with horns|faces with horns
angel        😇 line   angel, face with a halo|faces with a halo
screaming    😱 line   screaming face, face with hands on its cheeks|faces with hands on their cheeks
tongue       😛 line   face with its tongue out|faces with their tongues out, cheeky face
dizzy        😵 line   dizzy face, dazed face
crying       😭 line   crying face, weeping face
serious      😐 line   serious face, straight face
"""
# nouns: the labels (or face names) that they cover
_HYPERNYMS = """
face, head                           = FACES
happy face, cheerful face            = smiling grinning tongue sunglasses angel
unhappy face, upset face             = sad angry crying
animal, creature, beast              = cat mouse cow monkey horse
plant, piece of greenery|pieces of greenery = flower lily leaf shamrock
thing from the sky|things from the sky, heavenly body|heavenly bodies = sun moon star comet
weather sign, sign of the weather|signs of the weather = sun cloud lightning snowflake
winter thing                         = snowman snowflake
tool                                 = hammers scissors gear
writing tool, thing to write with|things to write with = pencil pen
vessel, container                    = cup urn flask
device, machine                      = telephone keyboard reel
office thing, thing from a desk|things from a desk = envelope pencil pen scissors telephone keyboard
vehicle                              = airplane wheelchair
building                             = house castle
game piece                           = die pawn castle horse
card suit                            = heart spade diamond
hand                                 = hand victory writing
sign of danger|signs of danger       = radiation warning skull
symbol, sign                         = peace yin-yang recycling radiation warning check cross arrow
spooky thing, grim thing             = skull coffin urn
thing from a ship|things from a ship = anchor wheel
treasure, precious thing             = crown coins medal diamond
"""


class Pictograph(NamedTuple):
    """One drawable thing: its `name`, the `label` it counts as, its `glyph`, and whether it is `solid`."""

    name: str
    label: str
    glyph: str
    solid: bool


class Term(NamedTuple):
    """A set of pictographs and the nouns, (singular, plural), that mean exactly this set."""

    nouns: tuple[tuple[str, str], ...]
    fits: frozenset[int]


def _nouns(text: str) -> tuple[tuple[str, str], ...]:
    pairs = [noun.strip().split("|") for noun in text.split(",")]
    return tuple((pair[0], pair[1] if len(pair) == 2 else pair[0] + "s") for pair in pairs)


def _read_tables():
    pictographs, terms = [], []
    for table in (_FACES, _THINGS):
        for line in table.strip().splitlines():
            name, glyph, style, nouns = line.split(None, 3)
            pictographs.append(Pictograph(name, "face" if table is _FACES else name, glyph, style == "solid"))
            terms.append(Term(_nouns(nouns), frozenset([len(pictographs) - 1])))
    index = {pictograph.name: i for i, pictograph in enumerate(pictographs)}
    for line in _HYPERNYMS.strip().splitlines():
        nouns, names = line.split("=")
        names = [p.name for p in pictographs if p.label == "face"] if names.strip() == "FACES" else names.split()
        terms.append(Term(_nouns(nouns), frozenset(index[name] for name in names)))
    return tuple(pictographs), tuple(terms)


PICTOGRAPHS, TERMS = _read_tables()  # term i < len(PICTOGRAPHS) is the name of pictograph i
CATEGORY_NAMES = tuple(pictograph.name for pictograph in PICTOGRAPHS)
LABEL_NAMES = tuple(dict.fromkeys(pictograph.label for pictograph in PICTOGRAPHS))
LABEL_OF = tuple(LABEL_NAMES.index(pictograph.label) for pictograph in PICTOGRAPHS)
N_FACES = LABEL_OF.count(0)  # the faces come first
HYPERNYMS = tuple(
    tuple(t for t in range(len(PICTOGRAPHS), len(TERMS)) if i in TERMS[t].fits) for i in range(len(PICTOGRAPHS))
)

# name: RGB of the object, RGB of the lines drawn on it, words
COLOURS = {
    "red": ((214, 32, 36), (45, 0, 0), ("red", "red", "scarlet")),
    "orange": ((247, 132, 22), (60, 22, 0), ("orange",)),
    "yellow": ((252, 218, 40), (64, 48, 0), ("yellow", "yellow", "golden")),
    "green": ((34, 156, 62), (0, 34, 8), ("green",)),
    "blue": ((40, 92, 228), (0, 6, 52), ("blue",)),
    "purple": ((142, 52, 178), (28, 0, 44), ("purple", "purple", "violet")),
    "black": ((26, 26, 28), (228, 228, 228), ("black",)),
    "white": ((252, 252, 252), (44, 44, 48), ("white",)),
}
COLOUR_NAMES = tuple(COLOURS)
SIZE_NAMES = ("small", "medium", "large")
SIZE_PIXELS = (15, 21, 29)  # longer side of the glyph
SIZE_WORDS = (("small", "little", "tiny"), ("medium-sized", "middle-sized"), ("large", "big", "huge"))
# name: RGB, words
BACKGROUNDS = {
    "white": ((242, 242, 242), ("white",)),
    "grey": ((158, 160, 164), ("grey",)),
    "light blue": ((164, 204, 242), ("light blue", "pale blue")),
    "beige": ((238, 218, 172), ("beige", "cream")),
    "light green": ((176, 226, 178), ("light green", "pale green")),
    "pink": ((250, 190, 206), ("pink",)),
    "dark blue": ((26, 36, 86), ("dark blue", "navy")),
    "dark green": ((22, 74, 54), ("dark green",)),
}
BACKGROUND_NAMES = tuple(BACKGROUNDS)
# background term: (words, the backgrounds it fits); the first ones are the backgrounds' own names
BACKGROUND_TERMS = (
    *((words, frozenset([i])) for i, (_, words) in enumerate(BACKGROUNDS.values())),
    (("dark",), frozenset([6, 7])),
    (("pastel", "soft"), frozenset([2, 4, 5])),
)


# colours that can be told from each background
VISIBLE = tuple(
    tuple(i for i, (rgb, *_) in enumerate(COLOURS.values()) if math.dist(rgb, ground) > 140)
    for ground, _ in BACKGROUNDS.values()
)
# faces are drawn in the first six colours only: "a black face" would not be read as said of a pictograph
FACE_COLOURS = tuple(tuple(i for i in visible if i < 6) for visible in VISIBLE)

GRID = 6  # cells a side; cell = row * GRID + column
_BANDS = {"top": (0, 1), "left": (0, 1), "middle": (2, 3), "bottom": (4, 5), "right": (4, 5), "all": range(GRID)}


def _cells(row: str, column: str) -> frozenset[int]:
    return frozenset(r * GRID + c for r in _BANDS[row] for c in _BANDS[column])


# (phrases, the cells meant)
_CORNERS = tuple(
    ((f"in the {row} {column}", f"in the {row} {column} corner", f"in the {other} {column}"), _cells(row, column))
    for row, other in (("top", "upper"), ("bottom", "lower"))
    for column in ("left", "right")
)
PLACES = (
    *_CORNERS,
    (("at the top", "near the top"), _cells("top", "all")),
    (("at the bottom", "near the bottom"), _cells("bottom", "all")),
    (("on the left", "at the left"), _cells("all", "left")),
    (("on the right", "at the right"), _cells("all", "right")),
    (("in the middle", "in the centre"), _cells("middle", "middle")),
    (("in a corner", "in one corner"), frozenset().union(*(cells for _, cells in _CORNERS))),
)
PLACES_OF_CELL = tuple(tuple(p for p, (_, cells) in enumerate(PLACES) if cell in cells) for cell in range(GRID * GRID))


# name: (phrases, the name with the two objects exchanged)
RELATIONS = {
    "left": (("to the left of", "left of"), "right"),
    "right": (("to the right of", "right of"), "left"),
    "above": (("above", "over"), "below"),
    "below": (("below", "under", "beneath"), "above"),
    "near": (("next to", "beside", "near", "close to"), "near"),
    "far": (("far from", "far away from"), "far"),
}
_row, _column = np.divmod(np.arange(GRID**2), GRID)
_down, _right = _row - _row[:, None], _column - _column[:, None]
_apart = np.maximum(abs(_down), abs(_right))
# RELATED[name][a, b]: does an object in cell a stand in this relation to one in cell b?
RELATED = {
    "left": (_right > 0) & (_right >= abs(_down)),
    "right": (_right < 0) & (-_right >= abs(_down)),
    "above": (_down > 0) & (_down >= abs(_right)),
    "below": (_down < 0) & (-_down >= abs(_right)),
    "near": _apart <= 2,
    "far": _apart >= 4,
}
NUMBERS = ("no", "one", "two", "three", "four", "five")
