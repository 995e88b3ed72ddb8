"""Captions said again and captions with one thing wrong."""

from __future__ import annotations

import re
import time
from functools import cache

import pytest

from fico_utils.data.pictoscenes import SPECS, captions_of, make_scene
from fico_utils.data.pictoscenes.captions import OPENINGS
from fico_utils.data.pictoscenes.tables import BACKGROUND_TERMS, COLOURS, PLACES, RELATIONS, SIZE_WORDS, TERMS
from fico_utils.data.rewriting import adversarial, rephrased

SCENES = 150
FOREIGN = [
    "Two young guys with shaggy hair look at their hands while hanging out in the yard.",
    "Several men in hard hats are operating a giant pulley system.",
    "A child in a pink dress is climbing up a set of stairs in an entry way.",
    "Dog",
    "dog dog",
    "A Man, a Plan",
    "Straße und café",
    "",
]


@pytest.fixture(scope="module")
def captions():
    """Captions of both corpora, and some of neither."""
    return [c.text for corpus in SPECS for i in range(SCENES) for c in captions_of(make_scene(corpus, i))] + FOREIGN


@pytest.fixture(scope="module")
def same(captions):
    return rephrased(captions, 2, seed=0)


@pytest.fixture(scope="module")
def wrong(captions):
    return adversarial(captions, 4, seed=0)


def words(text):
    return re.findall(r"[\w'-]+", text.lower())


LEXICON = {
    word
    for text in (
        *(form for term in TERMS for noun in term.nouns for form in noun),
        *(word for _, _, colour in COLOURS.values() for word in colour),
        *(word for table in (SIZE_WORDS, *([t[0]] for t in (*PLACES, *RELATIONS.values(), *BACKGROUND_TERMS)))
          for phrases in table for word in phrases),
        *OPENINGS,
        "a an one two three four five just only a single some several",
        "thing object drawing things objects drawings",
    )
    for word in words(text)
}  # fmt: skip


# an oracle of its own for what a caption says: nouns taken out longest first, each read as its term
_TERM = {form: i for i, term in enumerate(TERMS) for noun in term.nouns for form in noun}
_LONGEST_FIRST = [
    (form, re.compile(rf"(?<![\w'-]){re.escape(form)}(?![\w'-])")) for form in sorted(_TERM, key=len, reverse=True)
]


@cache
def objects(text):
    text, found = text.lower(), []
    for opening in sorted(OPENINGS, key=len, reverse=True):
        if text.startswith(opening.lower() + " "):
            text = text[len(opening) :]
            break
    for form, pattern in _LONGEST_FIRST:
        if form in text:
            text, n = pattern.subn("#", text)
            found += [_TERM[form]] * n
    return sorted(found)


def test_as_many_as_asked_for(captions, same, wrong):
    assert [len(s) for s in same] == [2] * len(captions)
    assert [len(w) for w in wrong] == [4] * len(captions)
    assert rephrased([], 2, seed=0) == adversarial([], 2, seed=0) == []


def test_an_adversary_is_never_the_caption(captions, wrong):
    assert all(text != caption for caption, texts in zip(captions, wrong, strict=True) for text in texts)


def test_adversaries_differ_where_the_caption_allows_it(wrong):
    assert sum(len(set(texts)) == 4 for texts in wrong) > 0.98 * len(wrong)


def test_an_adversary_has_one_thing_wrong(captions, wrong):
    """In captions of the grammar: the words around one phrase are those of the caption."""
    ours = len(captions) - len(FOREIGN)
    for caption, texts in zip(captions[:ours], wrong[:ours], strict=True):
        for text in texts:
            a, b = ([w for w in words(t) if w not in ("a", "an")] for t in (caption, text))
            head = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
            longest = min(len(a), len(b)) - head
            tail = next((i for i in range(longest) if a[-1 - i] != b[-1 - i]), longest)
            assert len(a) - head - tail <= 7
            before, after = objects(caption), objects(text)
            assert len(before) == len(after)
            assert sum(t not in after for t in before) <= 1


def test_another_object_is_none_that_the_caption_mentions(captions, wrong):
    for caption, texts in zip(captions, wrong, strict=True):
        mentioned = objects(caption)
        for text in texts:
            for term in set(objects(text)) - set(mentioned):
                assert all(TERMS[term].fits.isdisjoint(TERMS[other].fits) for other in mentioned)


def test_rephrasing_keeps_the_objects(captions, same):
    for caption, texts in zip(captions, same, strict=True):
        assert all(objects(text) == objects(caption) for text in texts)


def test_most_captions_can_be_said_otherwise(captions, same):
    ours = len(captions) - len(FOREIGN)
    changed = [text != c for c, texts in zip(captions[:ours], same[:ours], strict=True) for text in texts]
    assert sum(changed) > 0.98 * len(changed)


def test_every_new_word_is_the_grammars(captions, same, wrong):
    for caption, *texts in zip(captions, same, wrong, strict=True):
        kept = set(words(caption))
        for text in (t for part in texts for t in part):
            assert set(words(text)) - kept <= LEXICON


def test_articles_fit(captions, same, wrong):
    ours = len(captions) - len(FOREIGN)
    for text in (t for part in (same[:ours], wrong[:ours]) for texts in part for t in texts):
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", text.lower()), text
        assert text[0].isupper()


def test_what_is_drawn_depends_on_seed_and_caption_alone(captions, same, wrong):
    part = captions[50:90][::-1]
    assert rephrased(part, 2, seed=0) == same[50:90][::-1]
    assert adversarial(part, 4, seed=0) == wrong[50:90][::-1]
    assert rephrased(part, 2, seed=1) != same[50:90][::-1]
    assert adversarial(part, 4, seed=1) != wrong[50:90][::-1]


@pytest.mark.parametrize(
    ("caption", "some", "none"),
    [
        ("Red to the left of blue.", ["right of", "golden to the left"], ["above", "red to the left of blue"]),
        ("On a navy background, two zebras.", ["four zebras", "pink"], ["dark blue", "a dark b", "one zebra"]),
        ("A zebra far from here.", ["close to here", "near here"], ["left", "far"]),
        ("A zebra in a corner.", ["in the middle", "in the centre"], ["top", "corner"]),
        ("A big zebra at the top.", ["a tiny zebra", "at the bottom"], ["huge", "large", "upper"]),
        ("Some things.", ["just one thing", "a single"], ["several"]),
    ],
)
def test_each_kind_of_fact_is_contradicted(caption, some, none):
    texts = [t.lower() for seed in range(60) for t in adversarial([caption], 2, seed=seed)[0]]
    for phrase in some:
        assert any(phrase in text for text in texts), phrase
    for phrase in none:
        assert not any(phrase in text for text in texts), phrase


def test_words_change_places_where_nothing_is_known():
    caption = "The zebra chased a giraffe."
    texts = adversarial([caption], 3, seed=0)[0]
    assert all(sorted(words(t)) == sorted(words(caption)) and t != caption for t in texts)
    assert rephrased([caption], 1, seed=0) == [[caption]]


def test_a_corpus_takes_seconds(captions):
    started = time.process_time()
    rephrased(captions, 2, seed=3), adversarial(captions, 4, seed=3)
    assert (time.process_time() - started) / len(captions) < 2e-3
