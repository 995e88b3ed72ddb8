"""The embedded corpora: made by index, true to their words, calibrated, the same bytes everywhere."""

from __future__ import annotations

import hashlib
import re
import time
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from fico_utils.data.features import scene_targets
from fico_utils.data.pictoscenes import (
    SPECS,
    SPLIT_START,
    captions_of,
    labels_of,
    make_corpus,
    make_scene,
    perfect_retriever,
    perfect_similarity,
    render,
    true_rows,
    truth_matrix,
)
from fico_utils.data.pictoscenes import tables as p
from fico_utils.data.pictoscenes.draw import atlas
from fico_utils.data.pictoscenes.scene import CELL
from fico_utils.errors import InputError

GOLDEN_SCENES = 300
GOLDEN_TEXT = {
    "picto_diverse": "828d83ef8b38fa4401e185d735442842046fe7b71c51e58ec45988313bb4491e",
    "picto_people": "517334a99ffa93dbed43a145f19cbd941720344baaaa3fe9a20f0bb150ad8222",
}
GOLDEN_PIXELS = {
    "picto_diverse": "8f45e7b1de47f7069b1c60cbf927c0bd73470e179ecfff70c43aae70bd6431e0",
    "picto_people": "d09a43188910f275e507ac7b253f3898fc5fa8b09ab791eb404499a63c1b7e3b",
}


@pytest.fixture(scope="module", params=list(SPECS))
def corpus(request):
    """1 000 test scenes of each corpus."""
    return make_corpus(request.param, {"test": 1000})


@pytest.fixture(scope="module")
def standard():
    """The standard test splits, as the design sizes them."""
    return {
        "picto_diverse": make_corpus("picto_diverse", {"test": 5000}),
        "picto_people": make_corpus("picto_people", {"test": 1000}),
    }


# ---- made by index -----------------------------------------------------------------------------------


def test_any_slice_by_any_worker_in_any_order_equals_the_whole(corpus):
    order = [812, 3, 977, 4]
    for index in order:
        scene = make_scene(corpus.name, index)
        assert scene == corpus.scenes[index]
        assert np.array_equal(render(scene), corpus.images[index])
    assert np.array_equal(corpus.images[order], np.stack([corpus.images[i] for i in order]))
    assert np.array_equal(corpus.images[10:14], corpus.images[np.arange(10, 14)])
    part = make_corpus(corpus.name, {"test": 5}, first=200)
    assert part.image_ids == corpus.image_ids[200:205]
    rows = np.isin(corpus.caption_image, range(200, 205))
    assert part.captions == [text for text, keep in zip(corpus.captions, rows, strict=True) if keep]


def test_the_size_of_a_split_changes_no_other():
    a = make_corpus("picto_diverse", {"train": 30, "val": 4, "test": 6})
    b = make_corpus("picto_diverse", {"train": 7, "val": 4, "test": 6})
    for split in ("val", "test"):
        assert a.subset(split).key == b.subset(split).key
        assert np.array_equal(a.subset(split).images[:], b.subset(split).images[:])
    assert a.split.tolist() == ["train"] * 30 + ["val"] * 4 + ["test"] * 6
    assert a.image_ids[30] == f"picto_diverse-0-{SPLIT_START['val']:08d}"
    assert a.images.shape == (40, 96, 96, 3)
    assert a.images[:2].dtype == np.uint8


def test_a_drawn_corpus_is_known_by_its_recipe_before_it_is_drawn(monkeypatch):
    from fico_utils.data.pictoscenes import corpus as pictoscenes

    def refuse(*_):
        raise AssertionError("a scene is made")

    with monkeypatch.context() as patch:
        patch.setattr(pictoscenes, "make_scene", refuse)
        whole = make_corpus("picto_diverse", {"train": 2000, "val": 300, "test": 5000})
        test = whole.subset("test")
        assert (test.n_img, test.n_txt, test.images.shape) == (5000, 25_010, (5000, 96, 96, 3))
        assert test.key == make_corpus("picto_diverse", {"test": 5000}).key == "520452793831ebdb"  # a store has it
        others = [make_corpus("picto_people", {"test": 5000}), make_corpus("picto_diverse", {"test": 4999})]
        others += [make_corpus("picto_diverse", {"test": 5000}, *more) for more in ((1, 0), (0, 1))]
        assert len({whole.key, test.key, *(other.key for other in others)}) == 6


def test_a_drawn_corpus_is_a_valid_corpus():
    drawn = make_corpus("picto_diverse", {"train": 300, "val": 4, "test": 6})
    for part in (drawn, drawn.subset("val")):
        part.validate()
        copy = part.select(range(part.n_img))
        assert (copy.captions, copy.n_txt) == (part.captions, len(part.captions))
        assert np.array_equal(copy.images[:3], part.images[:3])
    assert drawn.select(np.arange(300, 304)).key == drawn.subset("val").select(np.arange(4)).key


def test_seeds_corpora_and_indices_differ(corpus):
    assert len({(scene.background, scene.things) for scene in corpus.scenes}) == 1000
    assert make_scene(corpus.name, 5, seed=1).things != make_scene(corpus.name, 5, seed=0).things
    assert make_scene("picto_people", 5).things != make_scene("picto_diverse", 5).things


def test_captions_are_counted_as_in_mscoco(standard):
    counts = np.bincount(standard["picto_diverse"].caption_image)
    assert counts.sum() == 25_010
    assert np.unique(counts).tolist() == [5, 6, 7]
    assert counts[:1000].sum() == 5_002
    assert standard["picto_people"].n_txt == 5_000


# ---- what is drawn -----------------------------------------------------------------------------------


def test_tables_are_sound():
    nouns = [noun for term in p.TERMS for pair in term.nouns for noun in set(pair)]
    assert len(nouns) == len(set(nouns))  # one meaning a noun
    assert (len(p.LABEL_NAMES), len(p.PICTOGRAPHS), len(p.COLOUR_NAMES)) == (64, 77, 8)
    assert p.LABEL_NAMES[0] == "face"
    assert all(len(pictograph.glyph) == 1 for pictograph in p.PICTOGRAPHS)
    assert len({pictograph.glyph for pictograph in p.PICTOGRAPHS}) == 77
    assert all(p.TERMS[i].fits == {i} for i in range(77))
    for name, (_, inverse) in p.RELATIONS.items():
        assert np.array_equal(np.array(p.RELATED[name]), np.array(p.RELATED[inverse]).T)


def test_every_glyph_is_in_the_font_and_drawn():
    from matplotlib import get_data_path
    from matplotlib.ft2font import FT2Font

    in_font = FT2Font(f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf").get_charmap()
    assert all(ord(pictograph.glyph) in in_font for pictograph in p.PICTOGRAPHS)
    upright = {
        body[1][2][0].tobytes() + (b"" if body[1][2][1] is None else body[1][2][1].tobytes()) for body in atlas()
    }
    assert len(upright) == 77


def test_things_stand_in_their_cells_and_can_be_seen(corpus):
    masks, seen = atlas(), []
    for scene in corpus.scenes[:300]:
        assert len({thing.cell for thing in scene.things}) == len(scene.things)
        owner = np.full((96 + 80, 96 + 80), -1)
        area = []
        for k, thing in enumerate(scene.things):
            assert thing.cell == thing.y // CELL * p.GRID + thing.x // CELL
            assert thing.colour in p.VISIBLE[scene.background]
            body = masks[thing.category][thing.size][thing.rotation][0][:, :, 0] > 0.5
            top, left = (c + 40 - body.shape[0] // 2 for c in (thing.y, thing.x))
            owner[top : top + len(body), left : left + len(body)][body] = k
            area.append(body.sum())
        inside = owner[40:136, 40:136]
        seen += [(inside == k).sum() / area[k] for k in range(len(area))]
    assert min(seen) > 0.4
    assert np.mean(np.array(seen) > 0.95) > 0.85


def test_targets_of_cells_and_labels_say_what_is_there(corpus):
    targets, labels = scene_targets(corpus.scenes), labels_of(corpus.scenes)
    assert np.array_equal(labels, corpus.labels)
    shapes = dict.fromkeys(("category", "colour", "size"), (1000, 36)) | {"background": (1000,)}
    assert {name: target.shape for name, target in targets.items()} == shapes
    for row, scene in enumerate(corpus.scenes):
        assert (targets["category"][row] >= 0).sum() == len(scene.things)
        assert {p.LABEL_NAMES[k] for k in np.flatnonzero(labels[row])} == {
            p.PICTOGRAPHS[k].label for k in targets["category"][row] if k >= 0
        }
        for thing in scene.things:
            assert targets["colour"][row, thing.cell] == thing.colour
            assert targets["size"][row, thing.cell] == thing.size


# ---- what is said ------------------------------------------------------------------------------------


def slowly_true(caption, scene):
    """The definition: some choice of different things fits every mention, bounds and relation."""

    def fits(thing, mention, with_place=True):
        return (
            thing.category in p.TERMS[mention.term].fits
            and mention.colour in (-1, thing.colour)
            and mention.size in (-1, thing.size)
            and (mention.place == -1 or thing.cell in p.PLACES[mention.place][1])
        )

    if not caption.low <= len(scene.things) <= caption.high:
        return False
    if caption.background != -1 and scene.background not in p.BACKGROUND_TERMS[caption.background][1]:
        return False
    taken = set()
    for mention in caption.mentions:
        members = {k for k, thing in enumerate(scene.things) if fits(thing, mention)}
        if not mention.low <= len(members) <= mention.high:
            return False
        if mention.low > 1:
            if taken & members:
                return False
            taken |= members
    single = [k for k, mention in enumerate(caption.mentions) if mention.low == 1]
    for choice in permutations([k for k in range(len(scene.things)) if k not in taken], len(single)):
        chosen = {m: scene.things[k] for m, k in zip(single, choice, strict=True)}
        if all(fits(thing, caption.mentions[m]) for m, thing in chosen.items()):
            if not caption.relation:
                return True
            if p.RELATED[caption.relation][chosen[0].cell, chosen[1].cell]:
                return True
    return False


def test_truth_equals_the_definition(corpus):
    scenes = corpus.scenes[:150]
    captions = [caption for scene in scenes for caption in captions_of(scene)]
    truth = np.array([np.isin(np.arange(len(scenes)), rows) for rows in true_rows(captions, scenes)])
    slow = np.array([[slowly_true(caption, scene) for scene in scenes] for caption in captions])
    assert np.array_equal(truth, slow)
    assert truth.sum() > 1.5 * len(captions)


def test_every_caption_is_true_of_its_own_scene(corpus):
    truth = truth_matrix(corpus)
    assert (truth[corpus.caption_image, np.arange(corpus.n_txt)] == 1).all()


def test_facts_are_what_the_words_say(corpus):
    """Everything stated is said, and no colour, size or number is said that is not stated."""
    background_words = [word for words, _ in p.BACKGROUND_TERMS for word in words]
    for scene in corpus.scenes[:400]:
        for caption in captions_of(scene):
            text = caption.text.lower()
            for mention in caption.mentions:
                assert any(noun[mention.low > 1] in text for noun in p.TERMS[mention.term].nouns)
            assert (caption.relation is None) or any(
                w in text for name in (caption.relation, p.RELATIONS[caption.relation][1]) for w in p.RELATIONS[name][0]
            )
            said = caption.background != -1
            assert said == any(
                f"{word} background" in text or f"on {word}." in text or f"background is {word}." in text
                for word in background_words
            )
            body = re.sub(r"(light|pale|dark) (blue|green)|(on|the background is) \w+\.$|\w+ background", " ", text)
            for words, field in ((tuple(c[2] for c in p.COLOURS.values()), "colour"), (p.SIZE_WORDS, "size")):
                stated = sorted(getattr(m, field) for m in caption.mentions if getattr(m, field) != -1)
                tokens = re.findall(r"[a-z][a-z'-]*", body)
                assert sorted(k for t in tokens for k, ws in enumerate(words) if t in ws) == stated, text
            places = sum(mention.place != -1 for mention in caption.mentions)
            assert (
                len(
                    re.findall(
                        r"(in|at|on|near) (the|a|one) (top|bottom|upper|lower|left|right|middle|centre|"
                        r"corner)( |,|\.|$)",
                        text,
                    )
                )
                >= places
            )


def test_grammar(corpus):
    for text in corpus.captions:
        assert re.fullmatch(r"[A-Z][a-zA-Z ,:'-]*\.", text)
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]|  | ,|\b(\w+) \1\b", text.lower()), text
        assert not re.search(r"there is (two|three|four|five|some|several)|there are an? ", text.lower()), text
    words = {word for text in corpus.captions for word in re.findall(r"[a-z'-]+", text.lower())}
    assert 300 < len(words) < 600
    assert len(set(corpus.captions)) > 0.95 * len(corpus.captions)


# ---- calibration -------------------------------------------------------------------------------------


def chance_map_at_n(labels):
    """Expected AP of a random ranking of the images, mean over the images as queries."""
    labels = labels.astype(np.float32)
    n = len(labels)
    relevant = (labels @ labels.T > 0).sum(1)
    harmonic = (1 / np.arange(1, n + 1)).sum()
    return (((relevant - 1) / (n - 1) * (n - harmonic) + harmonic) / n).mean()


def test_calibration_on_the_standard_test_splits(standard):
    diverse, people = standard["picto_diverse"], standard["picto_people"]
    assert chance_map_at_n(diverse.labels) == pytest.approx(0.33, abs=0.02)
    assert chance_map_at_n(people.labels) == pytest.approx(0.887, abs=0.01)
    assert diverse.labels.sum(1).mean() == pytest.approx(2.9, abs=0.1)
    assert perfect_retriever(diverse)["t2i_recall_at_1"] == pytest.approx(0.78, abs=0.04)
    assert perfect_retriever(people)["t2i_recall_at_1"] == pytest.approx(0.92, abs=0.03)


def test_perfect_retriever_is_what_its_similarity_scores():
    corpus = make_corpus("picto_diverse", {"test": 200})
    similarity, truth = perfect_similarity(corpus), truth_matrix(corpus)
    column = np.arange(corpus.n_txt)

    def at_1(scores, own):
        top = scores == scores.max(0)
        return ((top & own).sum(0) / top.sum(0)).mean()

    own = np.zeros_like(truth, bool)
    own[corpus.caption_image, column] = True
    scores = perfect_retriever(corpus)
    assert scores["t2i_recall_at_1"] == pytest.approx(at_1(similarity, own))
    assert scores["t2i_recall_at_1"] == pytest.approx(at_1(truth, own))
    assert scores["i2t_recall_at_1"] == pytest.approx(at_1(similarity.T, own.T))
    assert scores["true_images_per_caption"] == pytest.approx(truth.sum(0).mean())


# ---- the same everywhere -----------------------------------------------------------------------------


def digest_of_text(name):
    digest = hashlib.sha256()
    for index in range(GOLDEN_SCENES):
        scene = make_scene(name, index)
        digest.update(
            repr(
                (
                    scene.background,
                    [tuple(thing) for thing in scene.things],
                    scene.light,
                    scene.noise,
                    [caption.text for caption in captions_of(scene)],
                )
            ).encode()
        )
    return digest.hexdigest()


@pytest.mark.parametrize("name", list(SPECS))
def test_golden_hash_of_scenes_and_captions(name):
    """Weights of the backbones name their scenes and do not hash them: with another hash here, make them again."""
    assert digest_of_text(name) == GOLDEN_TEXT[name]


@pytest.mark.parametrize("name", list(SPECS))
def test_golden_hash_of_pixels(name):
    import matplotlib

    constraints = (Path(__file__).parents[2] / "constraints.txt").read_text(encoding="utf-8")
    pinned = re.search(r"^matplotlib==(\S+)", constraints, re.MULTILINE).group(1)
    if matplotlib.__version__ != pinned:
        pytest.skip(f"the bytes belong to matplotlib {pinned}; here is {matplotlib.__version__}")
    pixels = b"".join(render(make_scene(name, index)).tobytes() for index in range(GOLDEN_SCENES))
    assert hashlib.sha256(pixels).hexdigest() == GOLDEN_PIXELS[name]


def test_time_of_a_scene_is_printed(capsys):
    atlas()
    start = time.perf_counter()
    corpus = make_corpus("picto_diverse", {"train": 300})
    made = time.perf_counter()
    pictures = corpus.images[:]
    done = time.perf_counter()
    with capsys.disabled():
        print(f"\na scene: {(made - start) / 0.3:.2f} ms graph and captions, {(done - made) / 0.3:.2f} ms picture")
    assert pictures.shape == (300, 96, 96, 3)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("picto_cats", {"test": 3}), "no embedded corpus 'picto_cats'"),
        (("picto_people", {"dev": 3}), "no split 'dev'"),
        (("picto_people", {"test": -1}), "size -1"),
        (("picto_people", {"test": 2.5}), "size 2.5"),
        (("picto_people", {"test": 10_000_001}), "from 0 to 10000000"),
        (("picto_people", {}), "asks for no scene"),
        (("picto_people", {"test": 3}, -1), "seed=-1"),
        (("picto_people", {"test": 3}, "0"), "seed='0'"),
    ],
)
def test_bad_arguments_are_refused(arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        make_corpus(*arguments)


def test_truth_needs_scene_graphs_that_match():
    from dataclasses import replace

    corpus = make_corpus("picto_people", {"test": 2}).select([0, 1])
    with pytest.raises(InputError, match="no scene graphs"):
        perfect_retriever(replace(corpus, scenes=None))
    with pytest.raises(InputError, match=r"'A dog\.' of image row 0 is not of its scene"):
        truth_matrix(replace(corpus, captions=["A dog.", *corpus.captions[1:]]))
