"""Pieces of the report's HTML: tables, and numbers as people read them."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


def table(head: Sequence[str], lines: Sequence[str], caption: str, numbers: set[int]) -> str:
    """A table of ready ``<tr>`` lines that scrolls sideways where it is too wide.

    `numbers` are the columns whose titles stand to the right.
    """
    titles = "".join(
        f'<th scope="col"{" class=number" if i in numbers else ""}>{escape(t)}</th>' for i, t in enumerate(head)
    )
    said = f"<caption>{escape(caption)}</caption>" if caption else ""
    body = f"<thead><tr>{titles}</tr></thead><tbody>{''.join(lines)}</tbody>"
    return f'<div class="scroll"><table>{said}{body}</table></div>'


def duration(seconds: float) -> str:
    """Seconds as text.

    >>> duration(0.3), duration(119.9)
    ('0.3 s', '2 min 0 s')
    """
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def size(n_bytes: float | None) -> str:
    """Bytes as text.

    >>> size(1536), size(3 * 2**30), size(None)
    ('1.5 KiB', '3.0 GiB', 'unknown')
    """
    if not n_bytes:
        return "unknown" if n_bytes is None else "0 B"
    power = min(int(n_bytes).bit_length() - 1, 39) // 10
    return f"{n_bytes / 1024**power:.1f} {('B', 'KiB', 'MiB', 'GiB')[power]}" if power else f"{n_bytes} B"


def short(text: str) -> str:
    """A number with four significant digits; any other text as it is.

    >>> short("0.123456"), short("1234567.8"), short("dnf")
    ('0.1235', '1,234,568', 'dnf')
    """
    try:
        number = float(text)
    except ValueError:
        return text
    return f"{number:.4g}" if abs(number) < 1e4 else f"{number:,.0f}"
