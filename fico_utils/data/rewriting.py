"""Captions said again in other words, and captions with one thing wrong: what a system trained against them reads.

Made from the text alone, with the words of PictoScenes' grammar: a phrase it knows is exchanged for one of the same
meaning, or for one that contradicts it. Captions of other corpora pass too; the words it does not know stay. A caption
with one thing wrong may by chance be true of its picture (another object that is there, but was not mentioned).
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import NamedTuple

from fico_utils.data.pictoscenes.captions import OPENINGS
from fico_utils.data.pictoscenes.tables import BACKGROUND_TERMS, COLOURS, NUMBERS, PLACES, RELATIONS, SIZE_WORDS, TERMS

VERSIONS = {"rewriting": 1}
_VAGUE = ("thing", "object", "drawing")
_OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above", "near": "far", "far": "near"}
_OPENS = re.compile(rf"(?:{'|'.join(o.lower() for o in OPENINGS)}|there is|there are) ")
_VERB = re.compile(r"\b(?:is|are|sits|stands|can be seen)\b")
_BEGINNING = re.compile(rf"(?:an?|some|several|just|only|nothing but|{'|'.join(NUMBERS[1:])}) ")
_ARTICLE = re.compile(r"\b([Aa])n? $")
_WORD = re.compile(r"[\w'-]+")
#: Words that carry no content: the last to be swapped where nothing else can be changed.
_FUNCTION = frozenset(
    _WORD.findall(
        "a an the of in on at to from with by and or for as is are was were be been has have it its his her their this "
        "that these those there here we i you he she they can see seen some"
    )
)

Meaning = tuple[str, object]  # kind, which


class _Span(NamedTuple):
    """Characters `start` to `end` of a caption, which mean `meaning`."""

    start: int
    end: int
    meaning: Meaning


#: Every meaning with the phrases that say it.
_SAY: dict[Meaning, tuple[str, ...]] = {
    **{("noun", (i, n)): tuple(noun[n] for noun in term.nouns) for i, term in enumerate(TERMS) for n in (0, 1)},
    **{("colour", name): tuple(dict.fromkeys(words)) for name, (_, _, words) in COLOURS.items()},
    **{("size", i): words for i, words in enumerate(SIZE_WORDS)},
    **{("count", i): (word,) for i, word in enumerate(NUMBERS) if i > 1},
    **{("place", i): words for i, (words, _) in enumerate(PLACES)},
    **{("relation", name): words for name, (words, _) in RELATIONS.items()},
    **{("background", i): words for i, (words, _) in enumerate(BACKGROUND_TERMS)},
    **{("things", plural): tuple(noun + "s" * plural for noun in _VAGUE) for plural in (0, 1)},
    **{("how many", word): tuple(f"{word} {noun}s" for noun in _VAGUE) for word in ("some", "several")},
    ("how many", "one"): tuple(f"{word} {noun}" for word in ("just one", "only one", "a single") for noun in _VAGUE),
}


def _contradicts(a: Meaning, b: Meaning) -> bool:
    """Is b said of the same thing as a, in the same form, and never true together with it?"""
    (kind, x), (other, y) = a, b
    if kind != other or x == y:
        return False
    if kind == "noun":
        return x[1] == y[1] and TERMS[x[0]].fits.isdisjoint(TERMS[y[0]].fits)
    if kind in ("place", "background"):
        table = PLACES if kind == "place" else BACKGROUND_TERMS
        return table[x][1].isdisjoint(table[y][1])
    if kind == "relation":
        return _OPPOSITE[x] == y
    if kind == "how many":
        return "one" in (x, y)
    return kind != "things"


_WRONG = {a: tuple(b for b in _SAY if _contradicts(a, b)) for a in _SAY}
_MEANS = {phrase: meaning for meaning, phrases in _SAY.items() for phrase in phrases if meaning[0] != "background"}
_BACKGROUND = {phrase: ("background", i) for i, (words, _) in enumerate(BACKGROUND_TERMS) for phrase in words}
# of several phrases, the longest that matches
_GROUND, _OTHER = ("|".join(map(re.escape, sorted(table, key=len, reverse=True))) for table in (_BACKGROUND, _MEANS))
# a colour word is the background's before "background", after "the background is", and at the end after "on"
_KNOWN = re.compile(
    rf"(?<![\w'-])(?:(?P<ground>(?:{_GROUND})(?= background\b)|(?<=background is )(?:{_GROUND})"
    rf"|(?<= on )(?:{_GROUND})(?=\W*$))|(?:{_OTHER}))(?![\w'-])"
)
_GLUE = (
    "there is there are is sits stands can be seen just only nothing but among other things one a an the in drawn "
    "coloured some several pair of and with along plus also it on against front background"
)
_LEXICON = frozenset(_WORD.findall(" ".join([*_MEANS, *_BACKGROUND, *OPENINGS, _GLUE]).lower()))


def _read(caption: str) -> list[_Span]:
    """The phrases known in a caption, after its opening."""
    text = _lower(caption)
    opening = _OPENS.match(text)
    matches = _KNOWN.finditer(text, opening.end() if opening else 0)
    return [_Span(*m.span(), (_BACKGROUND if m["ground"] else _MEANS)[m.group()]) for m in matches]


def _lower(caption: str) -> str:
    """The caption in lower case, letter by letter at the same place."""
    return "".join(letter.lower() if len(letter.lower()) == 1 else letter for letter in caption)


def _replace(caption: str, edits: Sequence[tuple[_Span, str]]) -> str:
    """The caption with phrases exchanged; articles and the first letter fit."""
    out, at = "", 0
    for span, phrase in edits:
        out += caption[at : span.start]
        article = _ARTICLE.search(out)
        if article:
            out = out[: article.start()] + article[1] + ("n " if phrase[0] in "aeiou" else " ")
        out, at = out + phrase, span.end
    return _as_written(caption, out + caption[at:])


def _as_written(caption: str, text: str) -> str:
    """The text with a capital where the caption has one at its start."""
    return text[:1].upper() + text[1:] if caption[:1].isupper() else text


def _say(rng: random.Random, caption: str, span: _Span, meaning: Meaning) -> str:
    """A phrase for a meaning in the place of a span, where possible not the one that stands there."""
    now = caption[span.start : span.end].lower()
    paired = caption[: span.start].lower().endswith("pair of ")
    phrases = [p for p in _SAY[meaning] if p != now and not (paired and p.startswith("pairs of"))]
    return rng.choice(phrases) if phrases else now


def _reframe(rng: random.Random, caption: str) -> str:
    """The caption with another opening, with none, or with one where it had none and can take one."""
    lower = _lower(caption)
    opening = _OPENS.match(lower)
    if opening:
        body = caption[opening.end() :]
        choices = [o for o in OPENINGS if o.lower() + " " != opening.group()]
        return _as_written(caption, rng.choice([*(f"{o} " for o in choices), ""]) + body)
    body = lower.replace("the background is", "")
    if not _BEGINNING.match(lower) or _VERB.search(body) or not _LEXICON.issuperset(_WORD.findall(lower)):
        return caption
    return _as_written(caption, f"{rng.choice(OPENINGS)} {lower}")


def _rephrase(rng: random.Random, caption: str, spans: list[_Span]) -> str:
    """One caption of the same meaning."""
    edits = [(span, _say(rng, caption, span, span.meaning)) for span in spans if rng.random() < 0.6]
    text = _replace(caption, edits)
    return _reframe(rng, text) if rng.random() < 0.5 or text == caption else text


def _falsify(rng: random.Random, caption: str, spans: list[_Span], nouns: frozenset[int]) -> str:
    """One caption with one phrase exchanged for one that contradicts it, and no noun for one that fits `nouns`."""
    span = rng.choice(spans)
    wrong = _WRONG[span.meaning]
    meaning = rng.choice(wrong)
    if meaning[0] == "noun" and not nouns.isdisjoint(TERMS[meaning[1][0]].fits):
        wrong = [other for other in wrong if nouns.isdisjoint(TERMS[other[1][0]].fits)]
        if not wrong:
            return caption
        meaning = rng.choice(wrong)
    return _replace(caption, [(span, _say(rng, caption, span, meaning))])


def _swap(rng: random.Random, caption: str) -> str:
    """The caption with two words exchanged, content words where it has two; a caption of one word becomes another."""
    words = list(_WORD.finditer(caption))
    for chosen in ([w for w in words if w.group().lower() not in _FUNCTION], words):
        if len({w.group().lower() for w in chosen}) > 1:
            first = rng.choice(chosen)
            second = rng.choice([w for w in chosen if w.group().lower() != first.group().lower()])
            a, b = sorted((first, second), key=lambda w: w.start())
            middle = caption[a.end() : b.start()]
            return caption[: a.start()] + b.group() + middle + a.group() + caption[b.end() :]
    nouns = [phrase for term in TERMS for phrase, _ in term.nouns if phrase != caption.lower()]
    return rng.choice(nouns)


def rephrased(captions: Sequence[str], n: int, seed: int) -> list[list[str]]:
    """For each caption, `n` captions that say the same in other words; `seed` and the caption alone decide which.

    Synonyms from the grammar of PictoScenes (nouns, colours, sizes, places, relations, backgrounds), and another
    opening. A caption in which nothing can be exchanged comes back as it is.

    >>> rephrased(["A mug above a dog."], 1, seed=0)
    [['A coffee cup over a dog.']]
    """
    result = []
    for caption in captions:
        rng, spans = random.Random(f"same {seed} {caption}"), _read(caption)
        result.append([_rephrase(rng, caption, spans) for _ in range(n)])
    return result


def adversarial(captions: Sequence[str], n: int, seed: int) -> list[list[str]]:
    """For each caption, `n` captions of the same frame with one thing wrong; as many different ones as there are.

    Another object, colour, size, count or background, the opposite relation, or another place. Where none of these is
    said, two words change places. The caption itself is never among them.

    >>> adversarial(["A red dog above two men."], 2, seed=0)
    [['A violet dog above two men.', 'A red dog beneath two men.']]
    """
    result = []
    for caption in captions:
        rng, spans = random.Random(f"wrong {seed} {caption}"), _read(caption)
        nouns = frozenset().union(*(TERMS[s.meaning[1][0]].fits for s in spans if s.meaning[0] == "noun"))
        spans = [span for span in spans if _WRONG[span.meaning]]
        texts: dict[str, None] = {}  # in the order in which they were found
        for _ in range(4 * n):
            texts[_falsify(rng, caption, spans, nouns) if spans else _swap(rng, caption)] = None
            texts.pop(caption, None)
            if len(texts) == n:
                break
        found = list(texts) or [_swap(rng, caption)]
        result.append([found[i % len(found)] for i in range(n)])
    return result
