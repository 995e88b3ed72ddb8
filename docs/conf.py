"""Settings of Sphinx for the site; `build.py` gathers the pages and calls it."""

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.ext.napoleon import GoogleDocstring, NumpyDocstring

from fico_utils import __version__

project = "FiCo-ITR companion"
author = "FiCo-ITR companion authors"
project_copyright = "FiCo-ITR companion authors, MIT licence"
release = __version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["extra"]
html_extra_path = ["extra"]

# The notebooks were executed by the run. A page loads nothing from the network: it opens from a folder as well.
nb_execution_mode = "off"
nb_ipywidgets_js = {}
nb_merge_streams = True
nb_code_prompt_show, nb_code_prompt_hide = "Show the check", "Hide the check"  # no other code is folded
nb_render_markdown_format = "myst"  # what a cell displays as Markdown may hold a table
myst_heading_anchors = 3

# Docstrings are prose: `name` is code. Two classes of different modules may have one name, so that a type is ambiguous.
default_role = "code"
# Of a property or a constant, what stands before a colon is part of the sentence and not a type.
GoogleDocstring._consume_inline_attribute = lambda self: ("", self._dedent(self._consume_to_end()))
napoleon_use_param = False
napoleon_use_rtype = False
autodoc_member_order = "bysource"
autodoc_use_type_comments = False
autodoc_default_options = {"members": True, "ignore-module-all": True}
add_module_names = False
toc_object_entries = False
suppress_warnings = ["ref.python"]

html_theme = "sphinx_book_theme"
html_title = project
html_context = {"default_mode": "auto"}  # light or dark, as the reader's system
html_static_path = ["_static"]
html_css_files = ["tables.css", "site.css"]
html_js_files = ["claims.js"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "home_page_in_toc": True,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_navbar_depth": 1,
    "show_toc_level": 2,
}


_consume_field = NumpyDocstring._consume_field


def _consume_sentence(
    docstring: NumpyDocstring, parse_type: bool = True, prefer_type: bool = False
) -> tuple[str, str, list[str]]:
    """An argument's name and what stands behind its colon, which is a sentence that may go on in the next line."""
    name, told, lines = _consume_field(docstring, parse_type, prefer_type)
    if prefer_type or not told:
        return name, told, lines
    first, *others = lines or [""]
    ends = ". " if first[:1].isupper() and told[-1].isalnum() else " "
    return name, "", [f"{told}{ends}{first}".strip(), *others]


NumpyDocstring._consume_field = _consume_sentence


def drop_inherited(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Leave out what PyTorch says of a `forward`, and Python of a field of a tuple, that has no docstring of ours."""
    if lines and lines[0].startswith(("Define the computation performed at every call.", "Alias for field number")):
        lines.clear()


def unlink_addresses(app: Sphinx, tree: nodes.document) -> None:
    """Make text again of a metric such as map@10, which is no e-mail address."""
    for link in list(tree.findall(nodes.reference)):
        if link.get("refuri", "").startswith("mailto:"):
            link.replace_self(link.children)


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", drop_inherited)
    app.connect("doctree-read", unlink_addresses)
