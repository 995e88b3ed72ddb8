"""Openclipart 0.18: pictures that people drew and named, public domain, from two Debian packages, as a folder corpus.

The packages hold 7 458 drawings as SVG and PNG (663 more names are links). 2 687 pictures with one to three texts are
kept; the rules stand beside the code. Spelling, and languages, are people's own.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from fico_utils.errors import InputError
from fico_utils.extras.corpora.debian import Package, Picture, Source

PACKAGES = (
    Package("openclipart-png", "1:0.18+dfsg-19", "f07f1545a2970c2cf3fa339bc2405da1a95cf2b1827bfa05bf73eb1c20291c02"),
    Package("openclipart-svg", "1:0.18+dfsg-19", "989712d90d57dfa3230049f553bb43b76c30ee4d4b8c5f6e106e33f7db5cbdc5"),
)
#: Folders that are dropped: their pictures were made by a program, one for each number or letter, or are the icons of
#: a desktop theme.
FAMILIES = (
    "computer/icons/etiquette-theme", "computer/icons/flat-theme", "computer/icons/lemon-theme",
    "recreation/games/cards", "shapes/flowchart", "shapes/jigsaw", "shapes/stars", "signs_and_symbols/flags/semaphore",
    "signs_and_symbols/led", "special/examples", "special/gradients", "special/patterns", "transportation/aiga-symbols",
)  # fmt: skip
#: A category is a folder of the top level, and these are none.
NO_CATEGORY = ("special", "unsorted")
#: Pictures that may carry the same title or description (of more it names a collection), and words of the longest text.
SHARED, LONGEST = 10, 100
#: What is no text: a credit, an address, a link, a lost value; and what is no keyword.
_BOILERPLATE = re.compile(r"clipart by |part of the |.*(hash\(0x|@|https?:|www\.)", re.IGNORECASE)
_NO_KEYWORD = re.compile(r"hash(\(|$)|0x[0-9a-f]+$|\d+$|unsorted$|.*theme.icon$", re.IGNORECASE)


@dataclass
class Drawing:
    """An SVG's own words: title, description, keywords; and the top folders it is seen from."""

    title: str = ""
    description: str = ""
    keywords: list[str] = field(default_factory=list)
    categories: set[str] = field(default_factory=set)


class _Done(Exception):
    """The metadata has been read; what follows is drawing."""


def read_metadata(path: str | Path) -> Drawing:
    """Title, description and keywords of an SVG, from the first Dublin Core block; empty where it has none.

    Underscores become spaces. Nothing is expanded or fetched: a file that declares an entity is refused, and the parser
    stops after the block.

    InputError where it is no well-formed XML up to the end of the block, or declares an entity.
    """
    drawing, inside = Drawing(), []
    words: list[str] = []

    def start(tag: str, _attributes: dict) -> None:
        inside.append(tag.rpartition(" ")[2])
        words.clear()

    def end(_tag: str) -> None:
        text = " ".join("".join(words).replace("_", " ").split())
        name = inside.pop()
        if inside[-1:] == ["Work"] and name in ("title", "description"):
            setattr(drawing, name, getattr(drawing, name) or text)
        elif name == "li" and "subject" in inside and text and text not in drawing.keywords:
            drawing.keywords.append(text)
        words.clear()
        if name == "metadata":
            raise _Done

    def entity(name: str, *_: object) -> None:
        raise InputError(f"{path} declares the entity {name!r}, which is not expanded: leave the file out")

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.EntityDeclHandler = words.append, entity
    try:
        with open(path, "rb") as file:
            parser.ParseFile(file)
    except _Done:
        pass
    except expat.ExpatError as error:
        raise InputError(f"{path} is no well-formed SVG ({error}): leave the file out") from None
    return drawing


def texts_of(drawing: Drawing, times: Counter[str]) -> list[str]:
    """The texts of a drawing: its title, its description, and its keywords as one line, where there are two.

    There are none where it has no title or description of its own. `times` says how many pictures carry each title or
    description, in lower case.
    """
    texts = []
    for text in (drawing.title, drawing.description):
        fits = 0 < len(text.split()) <= LONGEST and times[text.lower()] <= SHARED and not _BOILERPLATE.match(text)
        if fits and any(letter.isalpha() for letter in text):
            texts.append(text)
    keywords = [word for word in drawing.keywords if not _NO_KEYWORD.match(word) and not _BOILERPLATE.match(word)]
    if texts and len(keywords) > 1:
        texts.append(", ".join(keywords))
    return list({text.lower().rstrip("."): text for text in reversed(texts)}.values())[::-1]


def read_tree(tree: str | Path) -> tuple[dict[str, Drawing], Counter[str]]:
    """All drawings of an unpacked tree (``svg`` and ``png``) by their path below ``svg``, without ending, and how many
    were left out and why.

    A link is the same picture seen from another folder: a further category of its target.
    """
    tree = Path(tree)
    drawings: dict[str, Drawing] = {}
    left_out: Counter[str] = Counter()
    root = (tree / "svg").resolve()
    names = {path: path.relative_to(root).with_suffix("").as_posix() for path in sorted(root.rglob("*.svg"))}
    links = [path for path in names if path.is_symlink()]
    for path, name in names.items():
        if path.is_symlink():
            left_out["links"] += 1
        elif name.startswith(tuple(f"{family}/" for family in FAMILIES)):
            left_out["families"] += 1
        elif not (tree / "png" / f"{name}.png").is_file():
            left_out["without PNG"] += 1
        else:
            try:
                drawings[name] = read_metadata(path)
                drawings[name].categories.add(name.split("/")[0])
            except InputError:
                left_out["unreadable SVG"] += 1
    for path in links:
        target = drawings.get(names.get(path.resolve()))
        if target is not None:
            target.categories.add(names[path].split("/")[0])
    return drawings, left_out


def find_pictures(tree: Path) -> tuple[list[Picture], Counter[str]]:
    """The drawings of an unpacked tree, with their texts, and how many were left out and why."""
    drawings, left_out = read_tree(tree)
    times = Counter(t.lower() for d in drawings.values() for t in {d.title, d.description})
    found = [
        Picture(f"{name}.png", tree / "png" / f"{name}.png", texts_of(d, times), d.categories.difference(NO_CATEGORY))
        for name, d in drawings.items()
    ]
    return found, left_out


OPENCLIPART = Source("openclipart", PACKAGES, "usr/share/openclipart", 1, find_pictures)
