"""Rows by configuration: the paper's twelve stay, slots are free and stay apart, bad rows are refused."""

from __future__ import annotations

import itertools

import pytest

from fico_utils import registry
from fico_utils.errors import InputError
from fico_utils.extras.pretrained.rows import configured_rows

CLIP = {"path": "openai/clip-vit-base-patch32"}


def know(pretrained):
    """Let the registry know rows of a configuration, as `setup` does."""
    registry.use_rows({"pretrained": pretrained}, "no folder")


@pytest.fixture(autouse=True)
def forget_rows():
    yield
    know({})


def test_a_configured_row_is_found_and_the_twelve_stay():
    before = dict(registry.SYSTEMS)
    know({"my_clip": {**CLIP, "family": "vlp", "name": "CLIP ViT-B/32"}})
    row = registry.system("my_clip")
    assert (row.name, row.family, row.measure, row.trained) == ("CLIP ViT-B/32", "vlp", "cosine", "my_clip")
    assert before == registry.SYSTEMS
    assert len(registry.SYSTEMS) == 12
    assert list(registry.systems()) == [*registry.SYSTEMS, "my_clip"]
    assert row.paper_names == ()  # the paper has no number of it
    know({"other": CLIP})
    with pytest.raises(InputError, match="unknown system 'my_clip'"):
        registry.system("my_clip")


def test_a_row_may_share_anothers_weights():
    rows = configured_rows(
        {"b": {"path": "Salesforce/blip2-itm-vit-g", "measure": "rerank"}, "b_nf": {"weights": "b", "measure": "late"}}
    )
    assert rows["b_nf"].trained == "b"
    assert (rows["b"].approach, rows["b"].attention) == ("Dual+Fusion", "Fusion Rerank")


def test_twenty_rows_look_different_and_a_new_one_moves_nobody():
    rows = configured_rows({f"m{i}": CLIP for i in range(20)})
    looks = [(r.marker, r.line, r.hollow) for r in (*registry.SYSTEMS.values(), *rows.values())]
    assert len(set(looks)) == len(looks)
    for row in rows.values():
        assert row.colour in registry.FAMILIES["vlp"][1]
    fewer = configured_rows({f"m{i}": CLIP for i in range(7)})
    assert all(rows[name] == row for name, row in fewer.items())
    with pytest.raises(InputError, match="expected at most 20"):
        configured_rows({f"m{i}": CLIP for i in range(21)})


def test_free_markers_are_drawable():
    from matplotlib.lines import Line2D

    for row in configured_rows({f"m{i}": CLIP for i in range(20)}).values():
        line = Line2D([0], [0], marker=row.marker, linestyle=row.line)
        assert line.get_marker() == row.marker
    taken = {r.marker for r in registry.SYSTEMS.values()}
    assert not taken & {r.marker for r in configured_rows({f"m{i}": CLIP for i in range(5)}).values()}


BAD = {
    "scan": CLIP,
    "Upper": CLIP,
    "double__score": CLIP,
    "../up": CLIP,
    "chance": CLIP,
}


@pytest.mark.parametrize(("system_id", "given"), BAD.items())
def test_ids_that_will_not_do(system_id, given):
    with pytest.raises(InputError, match="cannot be called so"):
        configured_rows({system_id: given})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("openai/clip", "expected settings such as"),
        ({}, "neither path nor weights"),
        ({**CLIP, "weights": "x"}, "both path and weights"),
        ({"weights": "nobody"}, "takes the weights of 'nobody'"),
        ({**CLIP, "famly": "vlp"}, "has a setting 'famly'"),
        ({**CLIP, "family": "dual"}, "family is 'dual'; expected one of vlp, fg, cg"),
        ({**CLIP, "measure": "hamming"}, "measure is 'hamming'; expected one of cosine, late, rerank"),
        ({**CLIP, "memory_mib": "big"}, "memory_mib is 'big'; expected int"),
        ({**CLIP, "memory_mib": True}, "memory_mib is True; expected int"),
        ({**CLIP, "shade": 9}, "shade is 9; expected 0 to 2"),
        ({**CLIP, "marker": "s", "line": "-"}, "like 'blip2'"),
    ],
)
def test_rows_that_will_not_do(given, said):
    with pytest.raises(InputError, match=said) as caught:
        configured_rows({"row": given})
    assert "\n" not in str(caught.value)


def test_two_rows_with_the_same_marker_and_line():
    same = {**CLIP, "marker": "p", "line": ":"}
    for one, two in itertools.permutations([("a", CLIP), ("b", same)]):
        with pytest.raises(InputError, match="choose another marker or line"):
            configured_rows(dict([("c", same), one, two]))


def test_a_row_that_fails_changes_nothing():
    know({"my_clip": CLIP})
    with pytest.raises(InputError):
        know({"row": {}})
    assert [s for s, row in registry.systems().items() if row.provider] == ["my_clip"]
