"""A printed table as Markdown, HTML and LaTeX: same cells, same bytes. Rows are (group, label, part)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import pandas as pd

LATEX = {"–": "--", "†": r"\textdagger{}", "‡": r"\textdaggerdbl{}", "×": r"$\times$", "±": r"$\pm$"}


def markdown_line(cells: Iterable[str]) -> str:
    """A line of a GitHub table."""
    return "| " + " | ".join(cells) + " |"


def markdown_text(
    frame: pd.DataFrame, bold: pd.DataFrame, heads: Sequence[tuple[str, ...]], caption: str, marks: str
) -> str:
    """A GitHub table below its caption; what repeats in the first two columns is left out."""
    head = [*frame.index.names, *("<br>".join(filter(None, h)) for h in heads)]
    align = markdown_line(["---"] * 3 + ["---:"] * len(heads))
    lines = [f"**{caption}**", "", markdown_line(head), align]
    before = ("", "", "")
    for index, cells, best in zip(frame.index, frame.to_numpy(), bold.to_numpy(), strict=True):
        group = "" if index[0] == before[0] else index[0]
        label = "" if index[:2] == before[:2] else index[1]
        texts = [f"**{c}**" if b else c for c, b in zip(cells, best, strict=True)]
        lines.append(markdown_line([group, label, index[2], *texts]))
        before = index
    return "\n".join([*lines, "", marks, ""])


def html_text(frame: pd.DataFrame, bold: pd.DataFrame, name: str, caption: str, marks: str) -> str:
    """An HTML fragment: a captioned table of class ``fico-table``, and its marks."""
    style = _style(frame, bold, name).set_caption(caption).set_table_attributes('class="fico-table"')
    return f'<div class="fico-table-frame">\n{style.to_html()}<p class="fico-marks">{marks}</p>\n</div>\n'


def latex_text(frame: pd.DataFrame, bold: pd.DataFrame, name: str, caption: str, words: bool) -> str:
    """A LaTeX table as wide as the text, with rules in the manner of booktabs; `words`: its cells are no numbers."""
    style = _style(frame, bold, name).format(escape="latex").format_index(escape="latex", axis=0)
    style = style.format_index(escape="latex", axis=1)
    n = len(frame.columns)
    body = style.to_latex(
        hrules=True, multicol_align="c", multirow_align="naive", sparse_index=True, convert_css=True,
        column_format="lll" + ("l" if words else "r") * n, clines="skip-last;data",
    )  # fmt: skip
    # A full rule where a group ends, a short one where a system ends.
    group, system = rf"\cline{{1-{3 + n}}}", rf"\cline{{2-{3 + n}}}"
    body = body.replace(f"{group} {system}\n\\bottomrule", r"\bottomrule")
    body = body.replace(f"{group} {system}", r"\midrule").replace(system, rf"\cmidrule{{2-{3 + n}}}")
    lines = [
        r"% needs \usepackage{booktabs,graphicx}", r"\begin{table*}", r"\centering",
        rf"\caption{{{_escaped(caption)}}}", rf"\label{{tab:{name}}}",
        r"\resizebox{\textwidth}{!}{%", body.rstrip() + "}", r"\end{table*}", "",
    ]  # fmt: skip
    text = "\n".join(lines)
    for sign, command in LATEX.items():
        text = text.replace(sign, command)
    return text


def _escaped(text: str) -> str:
    return re.sub(r"([%&_#$])", r"\\\1", text)


def _style(frame: pd.DataFrame, bold: pd.DataFrame, name: str):
    """Styler of a frame: bold best, fixed ids, so that same input gives same bytes."""
    from pandas.io.formats.style import Styler

    best = bold.map(lambda b: "font-weight: bold" if b else "")
    return Styler(frame, uuid=name, cell_ids=False).apply(lambda _: best, axis=None)
