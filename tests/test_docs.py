"""What README and notebooks/README say is so."""

from __future__ import annotations

import re

import pytest

from fico_utils import registry
from fico_utils.batch.pipeline import STEPS
from fico_utils.errors import InputError
from fico_utils.profiles import profile_settings
from fico_utils.provenance import PROJECT
from fico_utils.results import store
from tests.test_teaching import headings

PLAIN = {"nine": 9, "twelve": 12}
README = (PROJECT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "name", ["README.md", "notebooks/README.md", "notebooks/TEACHING.md", "figures/README.md", "docs/own_data.md"]
)
def test_relative_links_resolve(name):
    text = (PROJECT / name).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert [link for link in links if not (PROJECT / name).parent.joinpath(link).exists()] == []


def test_each_promise_names_tests_that_exist():
    promises = re.findall(r"^- .+: `(tests/\S+)`\.$", README, re.M)
    rows = re.findall(r"^\| [A-Z`].+ \| (`tests/.+`) \|$", (PROJECT / "SECURITY.md").read_text(encoding="utf-8"), re.M)
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    assert (len(promises), len(rows)) == (5, 8)
    assert {*promises} <= named
    assert [name for name in named if not re.search(r"^def test_", (PROJECT / name).read_text("utf-8"), re.M)] == []
    campaigns = {path.relative_to(PROJECT).as_posix() for path in (PROJECT / "tests/faults").glob("test_*.py")}
    assert campaigns <= named


def test_every_notebook_is_listed_with_its_minutes():
    text = (PROJECT / "notebooks" / "README.md").read_text(encoding="utf-8")
    for step in STEPS:
        assert re.search(rf"\| \[{step.notebook}\]\({step.notebook}\.ipynb\) \| [\d½¼]+ \|", text), step.notebook


def test_commands_of_the_readme_are_verbs_and_targets():
    from fico_utils.cli import find_verbs

    verbs = set(re.findall(r"python -m fico_utils (\w+)", README))
    assert verbs
    assert verbs <= set(find_verbs())
    targets = set(re.findall(r"(?:^|`)make (\w+)", README, re.M))
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    assert [t for t in targets if not re.search(rf"^{t}:", makefile, re.M)] == []


@pytest.mark.parametrize("name", ["README.md", "figures/README.md", "notebooks/TEACHING.md"])
def test_the_results_tables_are_those_of_the_committed_metrics(name):
    from fico_utils.extras.readme import refresh_tables

    text = (PROJECT / name).read_text(encoding="utf-8")
    assert refresh_tables(text) == text
    assert not re.search(r"^ *<!-- (value|claims|setting)", text, re.M), "a line that begins so ends the paragraph"


def test_a_readme_without_marks_is_refused():
    from fico_utils.extras.readme import refresh_tables

    with pytest.raises(InputError, match="put them back"):
        refresh_tables("# a title\n")


def test_what_mini_trains_is_what_the_readme_says():
    from fico_utils.extras.readme import count_parameters

    said = re.search(r"`mini` has (\w+) of them: it trains (.+?) on your machine", " ".join(README.split()))
    settings = profile_settings("mini")
    trained = [registry.system(s).name for s in settings["systems"] if s in settings["epochs"]]
    assert PLAIN[said[1]] == len(settings["systems"])
    assert sorted(re.split(", | and ", said[2])) == sorted(trained)
    assert "All twelve systems" in README
    counts = count_parameters("standard", "picto_people").values()
    assert f"{min(counts) / 1e6:.1f} to {max(counts) / 1e6:.1f} million parameters" in " ".join(README.split())
    assert len(registry.SYSTEMS) == PLAIN["twelve"] + ("query2label" in registry.SYSTEMS)


def test_which_family_wins_is_what_the_readme_says():
    metrics = store.load(PROJECT / "figures" / "standard", "metrics")
    ours = metrics[(metrics["source"] == "ours") & (metrics["status"] == "ok") & (metrics["metric"] == "map")]
    ours = ours[ours["corpus"].isin(["picto_people", "picto_diverse"])]
    ours = ours.assign(coarse=ours["system"].map(lambda s: registry.system(s).family == "cg"))
    for place, rows in ours[ours["k"] == "10"].groupby(["corpus", "direction"]):
        fine, other = rows[~rows["coarse"]], rows[rows["coarse"]]
        assert fine.loc[fine["value"].idxmax(), "ci_low"] > other["ci_high"].max(), place
        if place[1] == "i2t":  # the numbers that are printed
            for best in (fine.loc[fine["value"].idxmax(), "system"], other.loc[other["value"].idxmax(), "system"]):
                assert f"<!-- value standard {place[0]} {best} i2t map@10 -->" in README
    for place, rows in ours[(ours["k"] == "N") & (ours["direction"] == "i2t")].groupby("corpus"):
        assert rows.loc[rows["value"].idxmax(), "system"] == "dadh", place


def test_counts_of_the_readme():
    exercises = sum(
        len(headings(f"exercises/{path.name}")) for path in (PROJECT / "notebooks/exercises").glob("*.ipynb")
    )
    assert f"{exercises} exercises that check themselves" in " ".join(README.split())
    pictures = store.load(PROJECT / "figures" / "pictures", "metrics")
    asked = pictures[
        (pictures["source"] == "ours") & (pictures["direction"] == "i2t") & (pictures["metric"] == "recall")
    ]
    assert f"**Real pictures.** {asked['n_query'].iloc[0]:.0f} pictures" in README
