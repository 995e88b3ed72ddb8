"""An executed notebook as a page: what was run and what came out, without a script and without the network."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fico_utils.errors import InputError
from fico_utils.escaping import HALF_LETTER
from fico_utils.extras.pages.page import render_page

if TYPE_CHECKING:
    from nbformat import NotebookNode

WIDGET = "application/vnd.jupyter.widget-view+json"


def read_executed(path: Path) -> NotebookNode:
    """A notebook as pages show it: without the cell that a batch injects, and without what only a kernel can show.

    InputError where the file is not a whole notebook.
    """
    import nbformat.reader

    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        notebook = nbformat.reader.reads(HALF_LETTER.sub("\ufffd", json.dumps(content, ensure_ascii=False)))
        nbformat.validate(notebook)
    except Exception as error:  # whatever a file that is no notebook makes of the reader
        raise InputError(f"{path} is not a whole notebook; run the step that wrote it again") from error
    notebook.metadata.pop("widgets", None)
    notebook.cells = [c for c in notebook.cells if "injected-parameters" not in c.metadata.get("tags", [])]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]
    return notebook


def show_notebook(path: Path) -> str:
    """The page of an executed notebook, HTML; errors of `read_executed`."""
    exporter, colours = _exporter()
    body, _ = exporter.from_notebook_node(read_executed(path))
    return render_page("notebook.html.j2", name=path.stem, body=body, **colours)


@cache
def _exporter() -> tuple[Any, dict[str, str]]:
    """What turns notebooks into HTML, and the colours of code: name -> style sheet."""
    import nbconvert
    from pygments.formatters import HtmlFormatter

    # Its templates lie in share/ beside the packages, which need not be those of the environment that runs.
    beside = (folder / "share/jupyter/nbconvert/templates" for folder in Path(nbconvert.__file__).parents)
    exporter = nbconvert.HTMLExporter(
        template_name="basic",
        extra_template_basedirs=[str(folder) for folder in beside if folder.is_dir()],
        exclude_anchor_links=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    styles = {"light": "default", "dark": "github-dark"}
    formatters = {name: HtmlFormatter(style=style, nobackground=True) for name, style in styles.items()}
    return exporter, {name: formatter.get_style_defs(".highlight") for name, formatter in formatters.items()}
