"""Builds the site of a run: ``python docs/build.py --profile mini``, or ``make site``.

The pages are the executed notebooks, the exercises, and `pages/`, whose templates show the run's tables, figures and
claims. All are gathered in a temporary folder as they lie in the repository, so that links between them hold; Sphinx
reads them there. The site takes the place of the last one when it is whole.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import yaml

import fico_utils
from fico_utils.batch.pipeline import STEPS
from fico_utils.cli import guarded
from fico_utils.display.rows import join_words
from fico_utils.errors import InputError
from fico_utils.escaping import markdown_text
from fico_utils.extras.pages import page
from fico_utils.extras.pages.notebook import read_executed
from fico_utils.extras.pages.report import read_parts
from fico_utils.files import write_text
from fico_utils.locks import hold_locks
from fico_utils.profiles import profile_settings, results_folder
from fico_utils.provenance import PROJECT

HERE = Path(__file__).parent
#: A link of Markdown to a file.
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!\w+:|#)([^)#\s]+)[^)\s]*\)")
#: What begins a list, a quotation or, in MyST, a comment, a target, a break or a block.
LINE_START = re.compile(r"(\d{1,9}(?=[.)](?: |\Z))|(?=[-+](?:[ +-]|\Z)|[=>%(]|:::))")


def build_site(root: Path, profile: str) -> Path:
    """Path of the first page of the site of a results folder, ``<root>/site/index.html``.

    InputError where notebooks were not executed, Sphinx is missing, or it warns of anything.
    """
    executed = [root / "runs" / step.notebook / f"{step.notebook}.ipynb" for step in STEPS]
    missing = [path for step, path in zip(STEPS, executed, strict=True) if not step.aside and not path.is_file()]
    if missing:
        usual = root == results_folder(profile, None)
        how = f"make reproduce PROFILE={profile}" if usual else "python -m fico_utils run with this profile and --out"
        raise InputError(f"{missing[0]} does not exist; first run: {how}")
    try:
        from sphinx.application import Sphinx
        from sphinx.errors import SphinxError
        from sphinx.util.docutils import docutils_namespace, patch_docutils
    except ModuleNotFoundError as error:
        raise InputError("Sphinx is not installed; run make site, which installs it") from error
    with hold_locks(root / "runs", ["site"]), tempfile.TemporaryDirectory(prefix=".site-", dir=root) as temporary:
        for left in root.glob(".site-*"):  # of a build that was killed
            if left != Path(temporary):
                shutil.rmtree(left, ignore_errors=True)
        sources, site = Path(temporary, "sources"), Path(temporary, "site")
        gather_sources(root, profile, [path for path in executed if path.is_file()], sources)
        stays = f"so that {root / 'site'} stays as it was"
        try:  # as a library: its command line answers a full disk with a traceback
            with patch_docutils(str(sources)), docutils_namespace():
                read = Path(temporary, "read")
                sphinx = Sphinx(
                    sources, sources, site, read, "html", status=None, warningiserror=True, parallel=os.cpu_count()
                )
                sphinx.build()
        except SphinxError as error:
            raise InputError(f"Sphinx ended with {error}, {stays}") from error
        if sphinx.statuscode:
            raise InputError(f"Sphinx warns of what stands above, {stays}; mend it")
        shutil.rmtree(root / "site", ignore_errors=True)
        os.replace(site, root / "site")
    return root / "site" / "index.html"


def gather_sources(root: Path, profile: str, executed: Sequence[Path], sources: Path) -> None:
    """Write to a folder all that Sphinx reads, and in its ``extra/`` what the site holds besides."""
    notebooks = sources / "notebooks"
    shutil.copytree(HERE / "_static", sources / "_static")
    shutil.copy(page.HERE / "tables.css", sources / "_static")
    shutil.copy(HERE / "conf.py", sources)
    exercises = sorted((PROJECT / "notebooks" / "exercises").glob("*.ipynb"))
    for folder, paths in ((notebooks, executed), (notebooks / "exercises", exercises)):
        for path in paths:
            write_text(folder / path.name, json.dumps(fold_cells(read_executed(path)), ensure_ascii=False))
    modules = package_modules()
    values = {
        "profile": profile,
        "lessons": [f"notebooks/{path.stem}" for path in executed],
        "exercises": [f"notebooks/exercises/{path.stem}" for path in exercises],
        "teaching": (PROJECT / "notebooks" / "TEACHING.md").is_file(),
        "extra": copy_extra(root, sources / "extra", executed),
        "public": [name for name in fico_utils.__all__ if not name.startswith("_")],
        "modules": list(modules),
        "paper": (citation := read_citation())["preferred-citation"],
        "companion": citation,
        **read_run(root, sources / "figures"),
    }
    write_pages(values, sources)
    for part, names in modules.items():
        sections = [f"{name}\n{'-' * len(name)}\n\n.. automodule:: {name}\n" for name in names]
        write_text(sources / "reference" / f"{part}.rst", "\n".join([part, "=" * len(part), "", *sections]))
    texts = sorted((PROJECT / "notebooks").glob("*.md"))
    held = {path.name for path in texts}

    def keep_link(link: re.Match) -> str:
        return link[0] if link[2] in held or (notebooks / link[2]).exists() else link[1]

    for path in texts:  # a link to what the site does not hold becomes text
        write_text(notebooks / path.name, LINK.sub(keep_link, path.read_text("utf-8")))


def write_pages(values: dict[str, Any], sources: Path) -> None:
    """Fill the templates of `pages/`; what people may have chosen, such as the name of a corpus, stays text."""
    pages = jinja2.Environment(loader=jinja2.FileSystemLoader(HERE / "pages"), trim_blocks=True, lstrip_blocks=True)
    pages.filters |= {"join_words": join_words, "markdown": markdown_line, "raw_html": raw_html}
    for name in pages.list_templates():
        write_text(sources / name, pages.get_template(name).render(values))


def markdown_line(text: str) -> str:
    """`text` as `markdown_text`, also where a line begins with it."""
    text = markdown_text(text)
    start = LINE_START.match(text)
    return f"{start[0]}\\{text[start.end() :]}" if start else text


def raw_html(content: str) -> str:
    """HTML as a block of Markdown, in which backticks are entities, as a line of three of them would end the block."""
    return f"```{{raw}} html\n{content.replace('`', '&#96;')}\n```"


def fold_cells(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook, with a tag that folds the code which JupyterLab folds."""
    for cell in notebook["cells"]:
        if cell["metadata"].get("jupyter", {}).get("source_hidden"):
            cell["metadata"].setdefault("tags", []).append("hide-input")
    return notebook


def package_modules() -> dict[str, list[str]]:
    """Folder of the package -> its modules, by their full names; without commands and the tiny inputs of versions."""
    modules: dict[str, list[str]] = {}
    for path in sorted((PROJECT / "fico_utils").rglob("*.py")):
        names = path.relative_to(PROJECT).with_suffix("").parts
        if not {"__main__", "verbs", "versions"}.intersection(names):
            part = names[1] if len(names) > 2 else names[0]
            modules.setdefault(part, []).append(".".join(names).removesuffix(".__init__"))
    return modules


def read_run(root: Path, figures: Path) -> dict[str, Any]:
    """What the report shows of a run, as HTML; the figures are written to a folder. InputError where one is broken."""
    problems: list[str] = []
    parts = read_parts(root, problems)
    if problems:
        raise InputError(problems[0])
    for number, figure in enumerate(parts["figures"].values()):
        figure["file"] = f"{number}.svg"  # the file may be called anything
        path = figures / figure["file"]
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(base64.b64decode(figure["data"]))
    words = page.TEMPLATES.get_template("parts.html.j2").module
    parts["verdicts"] = words.verdicts(parts["counts"].get("on ours", {}))
    parts["claims_html"] = page.claims_table(pd.DataFrame(parts["claims"]))
    parts["audit_html"] = page.audit_list(pd.DataFrame(parts["audit"]))
    return parts


def copy_extra(root: Path, folder: Path, executed: Sequence[Path]) -> list[str]:
    """Names of what was copied as it is: the explorer, the slides, the report with the logs that it links to."""
    folder.mkdir(parents=True)
    places = [place for place in (root / "report" / "explorer.html", root / "slides.pdf") if place.is_file()]
    names = [place.name for place in places]
    for place in places:
        shutil.copy(place, folder)
    report = root / "report" / "index.html"
    if report.is_file():
        text = report.read_text(encoding="utf-8")
        text = re.sub(r'"\.\./runs/(\w+)/\1\.html"', r'"../notebooks/\1.html"', text)
        write_text(folder / "report" / "index.html", text)
        for log in root.glob("runs/*/log.txt"):
            target = folder / log.relative_to(root)  # what a kernel printed may be in any encoding
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(log, target)
        names.append("report/index.html")
    return names


def read_citation() -> dict[str, Any]:
    """CITATION.cff."""
    return yaml.safe_load((PROJECT / "CITATION.cff").read_text(encoding="utf-8"))


def main() -> int:
    """Exit code: 0, or 2 after one sentence on stderr."""
    parser = argparse.ArgumentParser("python docs/build.py", description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--profile", default="mini", help="a file of configs/, without .yaml (default: mini)")
    parser.add_argument("--out", metavar="DIR", help="results folder (default: results/PROFILE)")
    options = parser.parse_args()

    def work() -> int:
        profile_settings(options.profile)
        print(build_site(results_folder(options.profile, options.out), options.profile))
        return 0

    return guarded("docs/build.py", work)


if __name__ == "__main__":
    sys.exit(main())
