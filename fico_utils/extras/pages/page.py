"""Pages from templates: HTML that needs no network, no script and no other file; and numbers as people read them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from fico_utils.display.rows import join_words
from fico_utils.escaping import printable
from fico_utils.files import file_row, write_record, write_text
from fico_utils.models.originals import named_systems, read_differences

HERE = Path(__file__).parent
#: Verdict -> mark beside its words, so that no verdict is told by colour alone.
MARKS = {
    "holds": "●", "holds in part": "◐", "does not hold": "○", "depends on features": "◇", "depends on training": "◇",
    "cannot be tested here": "–",
}  # fmt: skip


def render_page(template: str, **values: Any) -> str:
    """The HTML of a template beside this module or in the folder above; every value is escaped."""
    return TEMPLATES.get_template(template).render(**values)


def claims_table(claims: pd.DataFrame) -> str:
    """HTML of claims.csv: place, claim, what it rests on, both verdicts; the evidence unfolds."""
    return str(TEMPLATES.get_template("parts.html.j2").module.claims_table(claims.to_dict("records")))


def differences_table() -> str:
    """HTML of what each system does otherwise than its original, why, and what was measured of it."""
    rows = [d | {"name": named_systems(d["system"])} for d in read_differences()]
    return str(TEMPLATES.get_template("parts.html.j2").module.differences_table(rows))


def audit_list(audit: pd.DataFrame) -> str:
    """HTML of audit.csv: for each place, what was observed, the arithmetic, and how it may be read."""
    return str(TEMPLATES.get_template("parts.html.j2").module.audit_list(audit.to_dict("records")))


def verdict_counts(claims: pd.DataFrame) -> pd.DataFrame:
    """How many claims have which verdict: one row a verdict, columns ``on the paper's numbers`` and ``on ours``."""
    columns = {"on the paper's numbers": "verdict_paper", "on ours": "verdict_ours"}
    counts = pd.DataFrame({words: claims[column].value_counts() for words, column in columns.items()})
    return counts.reindex(list(MARKS)).fillna(0).astype(int)


def number_of_claims(n: int, verdict: str) -> str:
    """How many claims do what.

    >>> number_of_claims(2, "does not hold"), number_of_claims(1, "holds in part"), number_of_claims(0, "holds")
    ('2 do not hold', '1 holds in part', '0 hold')
    """
    several = re.sub(r"^(hold|do|depend)e?s", r"\1", verdict)
    return f"{n} {verdict if n == 1 else several}"


def duration_text(seconds: float) -> str:
    """Seconds as text.

    >>> duration_text(0.3), duration_text(119.9)
    ('0.3 s', '2 min 0 s')
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{seconds:.1f} s" if seconds < 59.95 else f"{minutes} min {rest} s"


def number_text(text: str) -> str:
    """A number with four significant digits; any other text as it is.

    >>> number_text("0.123456"), number_text("1234567.8"), number_text("dnf")
    ('0.1235', '1,234,568', 'dnf')
    """
    try:
        number = float(text)
    except ValueError:
        return text
    return f"{number:.4g}" if abs(number) < 1e4 else f"{number:,.0f}"


FOLDERS = jinja2.FileSystemLoader([HERE, HERE.parent])
TEMPLATES = jinja2.Environment(
    loader=FOLDERS, autoescape=True, trim_blocks=True, lstrip_blocks=True,
    finalize=lambda value: printable(value) if type(value) is str else value,
)  # fmt: skip
TEMPLATES.filters |= {"duration": duration_text, "number": number_text, "join_words": join_words}
TEMPLATES.filters["number_of_claims"] = number_of_claims
STYLE = "".join((HERE / name).read_text(encoding="utf-8") for name in ("report.css", "tables.css"))
TEMPLATES.globals |= {"style": STYLE, "marks": MARKS}


def write_page(path: Path, text: str, root: Path) -> None:
    """Write a page below `root`, and beside it a record of its content, by which `check --verify` sees a change."""
    write_text(path, text)
    write_record(path.with_suffix(".json"), {"outputs": [file_row(path, root)]})
