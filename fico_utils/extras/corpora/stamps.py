"""Tux Paint's stamps: photographs and drawings, each with a sentence in up to 77 languages, from a Debian package.

The package has 952 texts. 249 are of letters, coins, notes and other symbols, and 6 of plain flags, which are left out.
A stamp that is an SVG alone is drawn by resvg. What a stamp shows mirrored has no text and is none.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from fico_utils.errors import InputError
from fico_utils.extras.corpora.debian import Package, Picture, Source
from fico_utils.extras.corpora.pictures import read_picture
from fico_utils.extras.corpora.reading import read_lines

PACKAGE = Package(
    "tuxpaint-stamps-default", "2022.06.04-1", "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34"
)
#: Folders that are dropped: letters, digits, money, notes, chess men, and flags of one colour.
FAMILIES = ("symbols", "town/flags")
#: Pixels of the longer side of a drawn SVG.
SIDE = 512
#: Of a picture that can be seen on white, some pixel is darker than this in some colour.
WHITE = 240
_TRANSLATION = re.compile(r"([\w@.-]+)\.utf8=(.*)")


def read_texts(path: str | Path) -> dict[str, str]:
    """The text of a stamp by language: ``en`` is its first line, others stand as ``pt_BR.utf8=...``.

    Words have single spaces between them; a text without letters is left out. InputError where the file is not UTF-8.
    """
    texts = {}
    for number, line in enumerate(read_lines(path)):
        translation = _TRANSLATION.fullmatch(line)
        if translation or number == 0:
            language, text = translation.groups() if translation else ("en", line)
            texts[language] = " ".join(text.split())
    return {language: text for language, text in texts.items() if any(letter.isalpha() for letter in text)}


def find_pictures(tree: Path) -> tuple[list[Picture], Counter[str]]:
    """The stamps of an unpacked tree that may be kept, and how many were left out and why.

    A stamp's picture is the PNG of its name, or else drawn from the SVG of its name; its category is the folder of the
    top level, however deep it lies. InputError where resvg-py is not installed.
    """
    try:
        from resvg_py import svg_to_bytes
    except ImportError:
        raise InputError(
            "stamps that are SVG are drawn by the package resvg-py, which is not installed: pip install resvg-py, and "
            "give the same command again"
        ) from None
    found, left_out = [], Counter()
    kinds = ("png", "svg", "txt")
    names = {p.relative_to(tree).as_posix().removesuffix(f".{k}") for k in kinds for p in tree.rglob(f"*.{k}")}
    for name in sorted(names):
        png, svg, text = (tree / f"{name}.{kind}" for kind in kinds)
        try:
            if name.startswith(tuple(f"{family}/" for family in FAMILIES)):
                left_out["families"] += text.is_file()
            elif not text.is_file():
                left_out["picture without a text file"] += 1
            elif not png.is_file() and not svg.is_file():
                left_out["text without a picture"] += 1
            else:
                texts = read_texts(text)
                if not png.is_file():
                    # in its proportions, with nothing behind it, and without the fonts of this machine
                    drawn = svg_to_bytes(svg_path=str(svg), width=SIDE, height=SIDE, dpi=96, skip_system_fonts=True)
                    png.write_bytes(drawn)
                if min(lowest for lowest, _ in read_picture(png).getextrema()) >= WHITE:
                    left_out["white on white"] += 1
                else:
                    english = [texts.pop("en")] if "en" in texts else []
                    categories = {name.split("/")[0]} if "/" in name else set()
                    found.append(Picture(name, png, english, categories, texts))
        except (InputError, ValueError):
            left_out["unreadable"] += 1
    return found, left_out


STAMPS = Source("stamps", (PACKAGE,), "usr/share/tuxpaint/stamps", 1, find_pictures)
