"""How things look in every figure: colour is the family, marker and line the system, grey the paper, dotted chance."""

from __future__ import annotations

from typing import Any

from fico_utils import registry

#: Colours of lines and words that stand for no system, and of the paper's.
INK, QUIET, GREY = "#222222", "#767676", registry.PAPER_COLOUR
CHANCE = {"color": INK, "linestyle": (0, (1, 1.6)), "linewidth": 0.9}
DIRECTION_WORDS = {"i2t": "image-to-text", "t2i": "text-to-image"}
#: In a system's row image-to-text stands above text-to-image.
OFFSETS = {"i2t": -0.18, "t2i": 0.18}
#: Numbers as a sentence says them.
WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def number_word(n: int) -> str:
    """`n` as a sentence says it.

    >>> number_word(6), number_word(12)
    ('six', '12')
    """
    return WORDS[n] if n < len(WORDS) else str(n)


def system_look(system: registry.Index, **changes: Any) -> dict[str, Any]:
    """Keywords of a line for a system or an index: colour of its family, its own marker and line."""
    face = "white" if getattr(system, "hollow", False) else system.colour
    look = {"color": system.colour, "linestyle": system.line, "marker": system.marker, "markerfacecolor": face}
    return {**look, "label": system.name, **changes}


def paper_look(line: str, marker: str = "o", **more: Any) -> dict[str, Any]:
    """Keywords of a line for the paper's values: quiet grey, hollow."""
    return {
        "color": GREY, "linestyle": line, "linewidth": 0.6, "marker": marker, "markersize": 2.8,
        "markerfacecolor": "white", "markeredgewidth": 0.5, "zorder": 1.5, **more,
    }  # fmt: skip
