"""What README and notebooks/README say is so."""

from __future__ import annotations

import re

import pytest

from fico_utils.batch.pipeline import STEPS
from fico_utils.errors import InputError
from fico_utils.provenance import PROJECT

README = (PROJECT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["README.md", "notebooks/README.md", "figures/README.md"])
def test_relative_links_resolve(name):
    text = (PROJECT / name).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert [link for link in links if not (PROJECT / name).parent.joinpath(link).exists()] == []


def test_every_notebook_is_listed_with_its_minutes():
    text = (PROJECT / "notebooks" / "README.md").read_text(encoding="utf-8")
    for step in STEPS:
        assert re.search(rf"\| {step.notebook} \| [\d½¼]+ \|", text), step.notebook


def test_commands_of_the_readme_are_verbs_and_targets():
    from fico_utils.cli import find_verbs

    verbs = set(re.findall(r"python -m fico_utils (\w+)", README))
    assert verbs
    assert verbs <= set(find_verbs())
    targets = set(re.findall(r"(?:^|`)make (\w+)", README, re.M))
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    assert [t for t in targets if not re.search(rf"^{t}:", makefile, re.M)] == []


@pytest.mark.parametrize("name", ["README.md", "figures/README.md"])
def test_the_results_tables_are_those_of_the_committed_metrics(name):
    from fico_utils.extras.readme import refresh_tables

    text = (PROJECT / name).read_text(encoding="utf-8")
    assert refresh_tables(text) == text


def test_a_readme_without_marks_is_refused():
    from fico_utils.extras.readme import refresh_tables

    with pytest.raises(InputError, match="put them back"):
        refresh_tables("# a title\n")
