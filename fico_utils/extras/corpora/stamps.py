"""Tux Paint's stamps: photographs and drawings, each with a sentence, from a Debian package.

The package has 952 texts. Left out are symbols, plain flags, and drawings that Openclipart has: 642 pictures are kept.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from fico_utils.errors import InputError
from fico_utils.extras.corpora.debian import Package, Picture, Source
from fico_utils.extras.corpora.pictures import read_picture, svg_renderer
from fico_utils.extras.corpora.reading import read_lines

PACKAGE = Package(
    "tuxpaint-stamps-default", "2022.06.04-1", "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34"
)
#: Folders that are dropped: letters, digits, money, notes, chess men, and flags of one colour.
FAMILIES = ("symbols", "town/flags")
#: Drawings that are pictures of Openclipart, too: dropped, since what was trained there has seen them or is scored on
#: them. Found by comparing all pictures of both, cut to what is drawn and shrunk to 32 x 32 pixels, then looked at.
IN_OPENCLIPART = (
    "animals/insects/cartoon/fly", "animals/insects/cartoon/ladybug", "animals/insects/cartoon/spider2",
    "animals/mammals/echidna", "clothes/bowtie", "clothes/hats/brownhat", "clothes/hats/cowboy_hat",
    "clothes/hats/crown1", "clothes/hats/feathered_hat", "clothes/hats/purplehat", "clothes/hats/sombrero",
    "clothes/hats/tophat", "clothes/hikingboot", "clothes/sunglasses_01", "clothes/t-shirt_01", "food/bread",
    "food/dessert/cartoon/pink_cake", "food/fruit/cartoon/apple_core", "food/fruit/cartoon/apple_core_01",
    "food/fruit/cartoon/grapes", "food/fruit/cartoon/pear", "food/fruit/cartoon/watermelon", "hobbies/knitting",
    "household/electronics/camera", "household/electronics/digitalcamera", "household/electronics/inkjet_printer",
    "household/padlock_closed", "household/padlock_open", "household/recyclingbox", "household/vacuum_cleaner",
    "people/body_parts/eye2_drawing", "people/cartoon/woman_chemist", "people/cartoon/woman_dancing",
    "people/cartoon/woman_doctor", "people/cartoon/woman_nurse", "people/cartoon/woman_police_officer_1",
    "people/cartoon/woman_police_officer_2", "seasonal/balloon", "seasonal/christmas/candy_cane", "seasonal/clover",
    "seasonal/halloween/jackolantern_mean", "seasonal/leafrake", "seasonal/winter/sledge",
    "town/houses/cartoon/cityhouse", "town/houses/cartoon/lighthouse", "town/houses/cartoon/tent",
    "vehicles/blue_truck", "vehicles/cycle/bluebike", "vehicles/race/f1_car", "vehicles/ship/sail_boat1",
    "vehicles/ship/sail_boat2",
)  # fmt: skip
#: Pixels of the longer side of a drawn SVG.
SIDE = 512
#: Of a picture that can be seen on white, some pixel is darker than this in some colour.
WHITE = 240


def find_pictures(tree: Path) -> tuple[list[Picture], Counter[str]]:
    """The stamps of an unpacked tree that may be kept, and how many were left out and why.

    A stamp's picture is the PNG of its name, or else drawn from the SVG of its name; its text is the first line of its
    text file, which others follow in other languages, as ``de.utf8=...``; its category is the folder of the top level.

    InputError where resvg-py is not installed.
    """
    svg_to_bytes = svg_renderer("stamps that are SVG")
    found, left_out = [], Counter()
    kinds = ("png", "svg", "txt")
    names = {p.relative_to(tree).as_posix().removesuffix(f".{k}") for k in kinds for p in tree.rglob(f"*.{k}")}
    for name in sorted(names):
        png, svg, text = (tree / f"{name}.{kind}" for kind in kinds)
        try:
            if name.startswith(tuple(f"{family}/" for family in FAMILIES)):
                left_out["families"] += text.is_file()
            elif name in IN_OPENCLIPART:
                left_out["in Openclipart"] += 1
            elif not text.is_file():
                left_out["picture without a text file"] += 1
            elif not png.is_file() and not svg.is_file():
                left_out["text without a picture"] += 1
            else:
                english = " ".join(next(iter(read_lines(text)), "").split())
                has_words = any(letter.isalpha() for letter in english) and ".utf8=" not in english
                if not png.is_file():
                    # in its proportions, with nothing behind it, and without the fonts of this machine
                    drawn = svg_to_bytes(svg_path=str(svg), width=SIDE, height=SIDE, dpi=96, skip_system_fonts=True)
                    png.write_bytes(drawn)
                if min(lowest for lowest, _ in read_picture(png).getextrema()) >= WHITE:
                    left_out["white on white"] += 1
                else:
                    found.append(Picture(f"{name}.png", png, [english] if has_words else [], {name.split("/")[0]}))
        except (InputError, ValueError):
            left_out["unreadable"] += 1
    return found, left_out


STAMPS = Source("stamps", (PACKAGE,), "usr/share/tuxpaint/stamps", 1, find_pictures)
