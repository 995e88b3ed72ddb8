"""The explorer: its page, in a real browser, ranks as the engine does; what it lacks is said in one sentence."""

from __future__ import annotations

import base64
import csv
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load

from fico_utils import cli, experiment
from fico_utils.batch.pipeline import prepare_batch
from fico_utils.data.corpus import Corpus
from fico_utils.errors import InputError
from fico_utils.evaluation import evaluate, observe, score_source
from fico_utils.extras.explore import page as explorer
from fico_utils.extras.explore.panel import build_panel, rankings_html
from fico_utils.extras.explore.searcher import Searcher, rank_range
from fico_utils.workspace import Run, setup
from tests.browser import CHROMIUM, Page, chromium_page
from tests.nasty import NASTY

in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt install chromium)")
SYSTEMS, CORPUS, HOSTILE = ("beit3", "vsrn", "adv_64", "ucch", "dadh"), "picto_diverse", "<img src=x onerror=hacked=1>"
OTHER_LANGUAGE = "they know no other language."
SETTINGS = (f"systems=[{', '.join(SYSTEMS)}]", f"corpora=[{CORPUS}]", f"n_test={{{CORPUS}: 60}}", "threads=1")


def make_run(out: Path) -> Run:
    """A run of five systems as they ship, on sixty pictures."""
    return setup(**prepare_batch("mini", str(out), SETTINGS, steps=()).settings)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    made = make_run(tmp_path_factory.mktemp("explorer"))
    for system in SYSTEMS:
        experiment.embed(made, system, CORPUS)
    return made


@pytest.fixture(scope="module")
def test_part(run: Run) -> Corpus:
    return experiment.part(run, CORPUS, "test")


@pytest.fixture(scope="module")
def written(run: Run) -> Path:
    return explorer.write_explorer(run)


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium_page(tmp_path_factory.mktemp("chromium")) as page:
        yield page


@pytest.fixture
def page(tab: Page, written: Path) -> Iterator[Page]:
    """The page, just opened at caption 7; a test after which it has logged an error fails."""
    tab.errors.clear()
    tab.show_as(1280)
    tab.open(f"{written.as_uri()}#caption=7")
    yield tab
    assert tab.errors == []


def panel(page: Page, name: str) -> str:
    return page.run(f"document.getElementById('{name}').innerText")


def ranks_shown(page: Page, system: str) -> np.ndarray:
    """Of each caption, the first ten pictures and the first and last rank of the right one, as the page ranks."""
    ranks = "(r, own) => [...r.order.slice(0, 10), r.first[own], r.last[own]]"
    ranking = f"rankPictures(systemOf('{system}'), {{ caption: c }})"
    return np.array(page.run(f"page.captions.map((_, c) => ({ranks})({ranking}, page.captionImage[c]))"))


def engine_ranks(run: Run, shown: Corpus, system: str, folder: Path) -> np.ndarray:
    """The same by the engine, from its TREC run and its counts."""
    given = experiment.comparable(system, experiment.embed(run, system, CORPUS))
    evaluate(**given, caption_image=shown.caption_image, metrics="recall@1", trec_run=folder / "run.txt")
    top = np.empty((shown.n_txt, 10), int)
    for line in (folder / "run.txt").read_text().splitlines():
        query, _, item, rank, *_ = line.split()
        if query.startswith("t2i:") and int(rank) <= 10:
            top[int(query[4:]), int(rank) - 1] = int(item)
    counts = observe(score_source(**given), shown.caption_image).side("instance", "t2i").counts
    return np.column_stack([top, counts["above"] + 1, counts["above"] + counts["tied"]])


# ---------------------------------------------------------------------------------------------- ranks are the engine's


@in_a_browser
@pytest.mark.parametrize("system", SYSTEMS)
def test_ranks_are_those_of_the_engine(page: Page, run: Run, test_part: Corpus, system: str, tmp_path: Path) -> None:
    expected = engine_ranks(run, test_part, system, tmp_path)
    assert np.array_equal(ranks_shown(page, system), expected)
    if system in ("ucch", "dadh"):
        assert (expected[:, 11] > expected[:, 10]).any(), "some pictures tie"


@in_a_browser
def test_ranks_are_the_engines_however_coarse_embeddings_are_rounded(
    page: Page, run: Run, test_part: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explorer, "LEVELS", 7)
    other = replace(run, root=tmp_path / "mini")
    (tmp_path / "mini").mkdir()
    for folder in ("features", "models", "embeddings"):
        (tmp_path / "mini" / folder).symlink_to(run.root / folder)
    page.open(explorer.write_explorer(other).as_uri())
    assert page.run("arrays['beit3/repaired'].length") > test_part.n_txt / 4
    assert np.array_equal(ranks_shown(page, "beit3"), engine_ranks(run, test_part, "beit3", tmp_path))


@in_a_browser
def test_pictures_of_the_same_category_are_counted_as_the_engine_counts_them(
    page: Page, run: Run, test_part: Corpus, tmp_path: Path
) -> None:
    for system in ("vsrn", "ucch"):
        given = experiment.comparable(system, experiment.embed(run, system, CORPUS))
        labels, path = experiment.labels(run, CORPUS, "test"), tmp_path / "queries.csv"
        evaluate(**given, caption_image=test_part.caption_image, labels=labels, metrics="precision@10", per_query=path)
        rows = [r for r in csv.DictReader(path.open()) if (r["task"], r["direction"]) == ("category", "t2i")]
        count = f"(state.query = {{ caption: c }}, countShared(rankPictures(systemOf('{system}'), state.query)))"
        counted = page.run(f"page.captions.map((_, c) => {count})")
        assert np.allclose([10 * float(r["value"]) for r in rows], counted)


@in_a_browser
@pytest.mark.parametrize(
    "caption", ["a red star", "two Cats, left of the SUN", "Zebras read a blue arrow's news", "star " * 60]
)
def test_words_of_ones_own_are_encoded_as_the_systems_encode_them(page: Page, run: Run, caption: str) -> None:
    page.run(f"state.query = {{ text: {caption!r} }}")
    for system, allowed in (("vsrn", 2e-5), ("adv_64", 0)):
        searcher = Searcher(run, system, CORPUS)
        expected, ranking = searcher.score(caption), f"rankPictures(systemOf('{system}'), state.query)"
        order, score = page.run(f"{ranking}.order"), page.run(f"[...{ranking}.score]")
        assert np.allclose(score, expected, rtol=0, atol=allowed)
        assert order[:10] == np.argsort(-expected, kind="stable")[:10].tolist()
        unknown = page.run(f"readWords(systemOf('{system}'), state.query.text).unknown")
        assert unknown == searcher.unknown_words(caption)


# ------------------------------------------------------------------------------------------------------- what people do


@in_a_browser
def test_type_and_choose_a_caption_by_keyboard(page: Page, test_part: Corpus) -> None:
    wanted = next(c for c in test_part.captions if len(c.split()) > 8)
    page.press("/")
    page.type(" ".join(wanted.split()[:6]))
    assert "Search with your own words" in panel(page, "options")
    page.press("ArrowDown", "Enter")
    chosen = page.run("page.captions[state.query.caption]")
    assert set(wanted.lower().split()[:6]) <= set(chosen.lower().split())
    assert page.run("document.querySelector('blockquote').innerText") == chosen
    assert page.run("document.getElementById('options').hidden")
    assert f"caption={page.run('state.query.caption')}" in page.run("location.hash")


@in_a_browser
def test_choose_systems_and_move_the_depth(page: Page, run: Run, test_part: Corpus) -> None:
    page.run("document.querySelector('#coarse select').focus()")
    page.press(*"UCCH")
    assert page.run("state.coarse") == "ucch"
    stored = {s: experiment.embed(run, s, CORPUS) for s in ("beit3", "ucch")}
    apart = np.bitwise_count(stored["ucch"]["img"] ^ stored["ucch"]["txt"][7]).sum(1)
    cosine = stored["beit3"]["img"] @ stored["beit3"]["txt"][7]
    page.run("document.querySelector('#screen input').focus()")
    for key in ("ArrowLeft", "ArrowLeft", "ArrowRight"):
        page.press(key)
        depth = page.run("depths[state.depth]")
        candidates = np.argsort(apart, kind="stable")[:depth]
        expected = candidates[np.lexsort((candidates, -cosine[candidates]))][:10]
        tiles = page.run(
            "[...document.querySelectorAll('#screen .tiles button')].map((b) => Number(b.dataset.picture))"
        )
        assert tiles == expected.tolist()
        assert f"Depth: {depth} of {test_part.n_img}" in panel(page, "screen")
        lost = test_part.caption_image[7] not in candidates
        assert ("not among the candidates" in panel(page, "screen")) == lost
    page.run("state.depth = 0; showScreen()")
    assert page.run("document.querySelectorAll('#screen .tiles li').length") == 1


@in_a_browser
def test_ties_are_drawn_as_ties_and_bits_that_differ_are_marked(page: Page, run: Run) -> None:
    stored = experiment.embed(run, "ucch", CORPUS)
    page.run("state.coarse = 'ucch'; ask({ caption: 7 })")
    apart = np.bitwise_count(stored["img"] ^ stored["txt"][7]).sum(1)
    order = np.argsort(apart, kind="stable")[:10]
    tiles = "[...document.querySelectorAll('#coarse .tiles li')].map((li) => [li.className, li.innerText])"
    for picture, tile in zip(order, page.run(tiles), strict=True):
        first, last = rank_range(-apart.astype(int), picture)
        assert ("tied" in tile[0].split()) == (first < last)
        assert (f"{first}–{last}" if first < last else f"{first}\n") in tile[1].replace("✓ ", "")
        assert f"{apart[picture]} bit" in tile[1]
    page.run("document.querySelector('#coarse .tiles button').focus()")
    page.press("ArrowRight", "ArrowRight")
    assert page.run("state.chosen") == order[2]
    assert page.run("document.querySelectorAll('.bits b').length") == 2 * apart[order[2]]


@in_a_browser
@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_fits_and_follows_the_colour_scheme(page: Page, width: int) -> None:
    grounds = []
    for scheme in ("light", "dark"):
        page.show_as(width, scheme=scheme)
        assert page.run("document.documentElement.scrollWidth") <= width
        sizes = page.run(
            "[...document.querySelectorAll('main *')].map((e) => parseFloat(getComputedStyle(e).fontSize))"
        )
        assert min(sizes) >= 12.5  # pixels
        grounds.append(page.run("getComputedStyle(document.body).backgroundColor"))
    assert len(set(grounds)) == 2
    assert "PictoScenes diverse" in panel(page, "about")
    assert "mini profile, seed 0, ours" in panel(page, "about")
    assert "by chance" in panel(page, "fine")


# ------------------------------------------------------------------------------------------------------------ bad input


def ask_words(page: Page, text: str) -> str:
    """What the page says after these words were typed and entered."""
    page.run("document.getElementById('words').focus(); document.getElementById('words').select()")
    page.type(text)
    page.press("Enter")
    return panel(page, "query")


@in_a_browser
def test_unknown_words_are_named_for_each_system(page: Page) -> None:
    said = ask_words(page, "a red zebra on a trampoline")
    for name in ("VSRN", "ADV 64-bit"):
        assert f"{name} does not know zebra, trampoline" in said
    assert "cannot encode your words for BEiT-3, UCCH, DADH; notebook 09_explore can" in said
    assert OTHER_LANGUAGE not in said


@in_a_browser
@pytest.mark.parametrize("caption", ["Ein Zebra springt über Häuser", "一只红色的狗", "собака и звезда"])
def test_another_language_is_said_to_be_one(page: Page, test_part: Corpus, caption: str) -> None:
    said = ask_words(page, caption)
    assert "VSRN knows none of these words: there is nothing to search by." in said
    assert f"captions such as “{test_part.captions[0]}”; {OTHER_LANGUAGE}" in said
    for name in ("fine", "coarse", "screen"):
        assert "Nothing to search by" in panel(page, name)
    assert page.run("document.getElementById('why').getBoundingClientRect().height") == 0  # nothing of the last query


@in_a_browser
def test_nothing_five_hundred_words_and_html_are_taken_as_they_are(page: Page, written: Path, tmp_path: Path) -> None:
    before, before_title = panel(page, "query"), page.run("document.title")
    page.run("document.getElementById('words').value = ''; document.getElementById('words').focus()")
    page.press("Enter")
    assert "Type words" in panel(page, "options")
    assert panel(page, "query") == before
    assert "reads the first 38 words; 462 more are left out" in ask_words(page, "star " * 500).replace("\u202f", "")
    assert HOSTILE in ask_words(page, HOSTILE)
    html = written.read_text(encoding="utf-8")
    data, hostile = re.search(r'id="data">([^<]*)<', html)[1], tmp_path / "hostile.html"
    raw = base64.b64decode(data)
    size = int.from_bytes(raw[:8], "little")
    described = json.loads(json.loads(raw[8 : 8 + size])["__metadata__"]["page"])
    described["captions"][7] = HOSTILE
    hostile.write_text(html.replace(data, explorer.pack_data(load(raw), described)), encoding="utf-8")
    page.open(f"{hostile.as_uri()}#caption=7")
    assert page.run("document.querySelector('blockquote').innerText") == HOSTILE
    assert HOSTILE in panel(page, "why")
    assert page.run("document.querySelectorAll('img[src=x]').length") == 0
    assert page.run("typeof hacked") == "undefined"
    texts = [text for name, text in NASTY.items() if name != "half a character"]  # which no reader lets through
    described |= {"corpus": " ".join(texts), "captions": [*texts, *described["captions"][len(texts) :]]}
    hostile.write_text(html.replace(data, explorer.pack_data(load(raw), described)), encoding="utf-8")
    page.open(f"{hostile.as_uri()}#caption=0")
    assert page.run("document.title") == before_title
    for number, text in enumerate(texts):
        assert page.run(f"ask({{ caption: {number} }}), document.querySelector('blockquote').textContent") == text
        assert page.run("document.querySelectorAll('main script, img[src=x], a[href^=javascript]').length") == 0


def test_a_folder_without_results_names_the_step(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["explore", "--out", str(tmp_path), *(f"--set={s}" for s in SETTINGS)]) == 2
    said = capsys.readouterr().err
    assert "step 04 makes what is missing: python -m fico_utils run --profile mini --only 04" in said
    assert said.count("\n") == 1
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_systems_of_one_kind_are_refused(run: Run) -> None:
    with pytest.raises(InputError, match="expected one with hash codes and one with an embedding"):
        explorer.write_explorer(replace(run, settings=run.settings | {"systems": ["beit3", "scan"]}))


def test_a_system_for_which_there_is_no_room_is_left_out(
    run: Run, written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = len(written.read_bytes())
    monkeypatch.setattr(explorer, "LARGEST", whole - 1)
    monkeypatch.setattr(explorer, "write_page", lambda path, text, root: sizes.append(len(text.encode())))
    sizes: list[int] = []
    explorer.write_explorer(run)
    assert 0 < sizes[0] < whole


# ------------------------------------------------------------------------------------------------------ the notebook's


def test_a_searcher_scores_a_caption_as_the_run_does(run: Run, test_part: Corpus) -> None:
    for system in ("beit3", "ucch"):
        searcher, stored = Searcher(run, system, CORPUS), experiment.embed(run, system, CORPUS)
        scores = searcher.score(test_part.captions[7])
        if system == "ucch":
            assert scores.tolist() == (-np.bitwise_count(stored["img"] ^ stored["txt"][7]).sum(1).astype(int)).tolist()
            asked, held = searcher.bits(test_part.captions[7], 3)
            assert sum(a != b for a, b in zip(asked, held, strict=True)) == -scores[3]
        else:
            assert np.allclose(scores, stored["img"] @ stored["txt"][7], atol=1e-5)
        some = np.array([5, 3])
        assert np.isfinite(searcher.score(test_part.captions[7], some)).nonzero()[0].tolist() == [3, 5]
        with pytest.raises(InputError, match="without a word"):
            searcher.score(" ?! ")


def test_the_panel_answers_what_is_typed(run: Run, test_part: Corpus) -> None:
    searchers = {s: Searcher(run, s, CORPUS) for s in ("beit3", "ucch")}
    box = build_panel(searchers, test_part, experiment.labels(run, CORPUS, "test"), test_part.captions[7], 10)
    text, *_, slider, view = box.children
    assert view.value.count("<figure") == 30
    assert "the right picture has rank" in view.value
    assert "Both systems know all of these words." in view.value
    text.value = "a zebra <b>"
    assert "BEiT-3 does not know zebra, b: all unknown words are the same to it." in view.value
    assert "UCCH does not know zebra, b: it leaves unknown words out." in view.value
    slider.value = 3
    assert view.value.count("<figure") == 23
    text.value = "star " * 500
    assert "BEiT-3 reads the first 38 words; 462 more are left out." in view.value
    assert OTHER_LANGUAGE not in view.value
    for other in ("Ein Zebra springt über Häuser", "一只红色的狗"):
        text.value = other
        assert "UCCH knows none of these words: there is nothing to search by." in view.value
        assert OTHER_LANGUAGE in view.value
        assert view.value.count("<figure") == 0
    text.value = ""
    assert "type at least one" in view.value


def test_captions_in_a_row_of_pictures_are_text(test_part: Corpus) -> None:
    shown = replace(test_part.select([0, 1]))
    shown.captions[0] = HOSTILE
    html = rankings_html({HOSTILE: np.array([0.5, 0.5])}, shown)
    assert "<img src=x" not in html
    assert html.count("1 to 2") == 2
