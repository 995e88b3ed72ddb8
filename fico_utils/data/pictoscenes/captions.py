"""Captions of PictoScenes: what a person might write, each with the facts it states.

A caption names some of what is there. "a red cat" says that at least one thing fits; "two red cats" that
exactly two do; "some cats" that two or more do, "several cats" three or more. Different phrases of one
caption mean different things.
"""

from __future__ import annotations

from typing import NamedTuple

from fico_utils.data.pictoscenes.scene import MAX_THINGS, Scene, n_captions, spec_of, stream
from fico_utils.data.pictoscenes.tables import (
    BACKGROUND_TERMS,
    COLOUR_NAMES,
    COLOURS,
    HYPERNYMS,
    N_FACES,
    NUMBERS,
    OWN_TERM,
    PLACES,
    PLACES_OF_CELL,
    RELATED,
    RELATIONS,
    SIZE_WORDS,
    TERMS,
)

_COLOUR_WORDS = tuple(words for _, _, words in COLOURS.values())
ANY = -1


class Mention(NamedTuple):
    """From `low` to `high` things fit `term`, `colour`, `size` and `place` (indices; -1: not said)."""

    term: int
    colour: int
    size: int
    place: int
    low: int
    high: int


class Facts(NamedTuple):
    """All that a caption states.

    relation: (name in RELATIONS, a, b): the thing of mention a stands so to that of mention b; or None.
    background: index in BACKGROUND_TERMS, or -1. low, high: bounds of how many things the scene has.
    """

    mentions: tuple[Mention, ...]
    relation: tuple[str, int, int] | None
    background: int
    low: int
    high: int


class Caption(NamedTuple):
    """A sentence and the facts it states."""

    text: str
    facts: Facts


class _Phrase(NamedTuple):
    text: str
    plural: bool = False


def _pick(draw, options):
    return options[int(draw() * len(options))]


def _with_article(words: str) -> str:
    return ("an " if words[0] in "aeiou" else "a ") + words


def _term(draw, category: int) -> int:
    """The thing's own name or a hypernym, this more often for a face, as people say "a man" for anyone."""
    hypernyms = HYPERNYMS[category]
    if hypernyms and draw() < (0.30 if category < N_FACES else 0.10):
        return _pick(draw, hypernyms)
    return OWN_TERM[category]


def _words(draw, mention: Mention) -> _Phrase:
    """The noun phrase of a mention, with its article or number, without its place."""
    nouns = TERMS[mention.term].nouns
    noun = nouns[0] if draw() < 0.6 else _pick(draw, nouns)
    plural = mention.low > 1
    words = noun[plural]
    if mention.colour != ANY:
        if " " not in words and draw() < 0.1:
            words = f"{words} {_pick(draw, ('in', 'drawn in', 'coloured'))} {COLOUR_NAMES[mention.colour]}"
        else:
            words = f"{_pick(draw, _COLOUR_WORDS[mention.colour])} {words}"
    if mention.size != ANY:
        words = f"{_pick(draw, SIZE_WORDS[mention.size])} {words}"
    if not plural:
        return _Phrase(_with_article(words), False)
    if mention.high > mention.low:
        return _Phrase(("several " if mention.low > 2 else "some ") + words, True)
    if mention.low == 2 and "pair" not in words and draw() < 0.15:
        return _Phrase(f"a pair of {words}", False)
    return _Phrase(f"{NUMBERS[mention.low]} {words}", True)


def _group(draw, spec, scene: Scene, thing: int, used: set) -> tuple[Mention, list[int]] | None:
    """Several like things as one mention, where there are some that no other mention uses."""
    things, term = scene.things, _term(draw, scene.things[thing].category)
    colour = things[thing].colour if draw() < 0.5 else ANY
    members = [
        i for i, other in enumerate(things) if other.category in TERMS[term].fits and colour in (ANY, other.colour)
    ]
    if len(members) < 2 or not used.isdisjoint(members):
        return None
    if colour == ANY and len({things[i].colour for i in members}) == 1 and draw() < spec.tell_colour:
        colour = things[thing].colour
    size = things[thing].size
    if len({things[i].size for i in members}) > 1 or draw() >= spec.tell_size:
        size = ANY
    low = high = len(members)
    if draw() < 0.15:
        low, high = min(low, 3), MAX_THINGS
    return Mention(term, colour, size, ANY, low, high), members


def _single(draw, spec, thing) -> Mention:
    """One thing as a mention, without its place, which only some sentences have room for."""
    term = _term(draw, thing.category)
    colour = thing.colour if draw() < spec.tell_colour else ANY
    size = thing.size if draw() < spec.tell_size else ANY
    return Mention(term, colour, size, ANY, 1, MAX_THINGS)


def _join(draw, phrases: list[str]) -> str:
    if len(phrases) == 1:
        return phrases[0]
    last = _pick(draw, (" and ", " and ", " with ", " along with ")) if len(phrases) == 2 else " and "
    return ", ".join(phrases[:-1]) + last + phrases[-1]


OPENINGS = (
    "a picture of", "a drawing of", "an image of", "a picture showing", "a scene with", "we see", "I can see",
    "here you see",
)  # fmt: skip


def _list_sentence(draw, phrases: list[_Phrase]) -> str:
    body = _join(draw, [phrase.text for phrase in phrases])
    shape = draw()
    if shape < 0.40:
        return body
    if shape < 0.60:
        return ("there are " if phrases[0].plural else "there is ") + body
    return f"{_pick(draw, OPENINGS)} {body}"


def _relation_sentence(draw, phrases: list[_Phrase], name: str) -> str:
    """The first phrase stands in the relation `name` to the second; the others are added."""
    a, b = phrases[0].text, phrases[1].text
    words, inverse = RELATIONS[name]
    shape = draw()
    if shape < 0.35:
        text = f"{a} {_pick(draw, words)} {b}"
    elif shape < 0.60:
        text = f"{a} {_pick(draw, ('is', 'sits', 'stands', 'can be seen'))} {_pick(draw, words)} {b}"
    elif shape < 0.80:
        text = f"{a} with {b} {_pick(draw, RELATIONS[inverse][0])} it"
    else:
        text = f"{_pick(draw, words)} {b} there is {a}"
    rest = _join(draw, [phrase.text for phrase in phrases[2:]]) if len(phrases) > 2 else ""
    return text + (_pick(draw, (", and ", ", plus ", ", and also ", " and ")) + rest if rest else "")


def _finish(draw, text: str, background: int) -> str:
    if background != ANY:
        words = _pick(draw, BACKGROUND_TERMS[background][0])
        shape = draw()
        if shape < 0.55:
            before = _pick(draw, ("on", "on", "against", "in front of"))
            text = f"{text} {before} {_with_article(words)} background"
        elif shape < 0.70 and background < 8:  # "on dark" is not English
            text = f"{text} on {words}"
        elif shape < 0.85 and not text.startswith(OPENINGS):
            text = f"on {_with_article(words)} background, {text}"
        else:
            text = f"{text}, the background is {words}"
    return text[0].upper() + text[1:] + "."


def _vague(draw, scene: Scene) -> Caption:
    """A caption that says little: one kind of thing, or how many things there are."""
    n = len(scene.things)
    low = high = n
    background = scene.background if draw() < 0.5 else ANY
    if draw() < 0.5:
        thing = scene.things[int(draw() * n)]
        mention = Mention(_term(draw, thing.category), ANY, ANY, ANY, 1, MAX_THINGS)
        text = _finish(draw, _list_sentence(draw, [_words(draw, mention)]), background)
        return Caption(text, Facts((mention,), None, background, 0, MAX_THINGS))
    noun = _pick(draw, ("thing", "object", "drawing"))
    if n == 1:
        text = _pick(draw, ("just one ", "only one ", "a single ")) + noun
    elif draw() < 0.5:
        text = f"{NUMBERS[n]} {noun}s"
    else:
        text, low, high = ("some " if n < 3 else "several ") + noun + "s", min(n, 3), MAX_THINGS
    return Caption(_finish(draw, text, background), Facts((), None, background, low, high))


def _caption(draw, spec, scene: Scene) -> Caption:
    things, n = scene.things, len(scene.things)
    if draw() < spec.vague:
        return _vague(draw, scene)
    wanted = min(n, 2 + (draw() < spec.tell_third) + (draw() < 0.15))
    order = list(range(n))
    for i in range(n - 1, 0, -1):
        j = int(draw() * (i + 1))
        order[i], order[j] = order[j], order[i]

    mentions, referents, used = [], [], set()
    for i in order:
        if i in used or len(used) >= wanted:
            continue
        group = _group(draw, spec, scene, i, used) if n > 1 and draw() < 0.6 else None
        mention, members = group or (_single(draw, spec, things[i]), [i])
        mentions.append(mention)
        referents.append(members)
        used.update(members)
    relation = None
    if len(mentions) > 1 and mentions[0].low == mentions[1].low == 1 and draw() < 0.30:
        a, b = (things[referents[k][0]].cell for k in (0, 1))
        holding = [name for name in RELATIONS if RELATED[name][a][b]]
        if holding:
            relation = (_pick(draw, holding), 0, 1)
    background = ANY
    if draw() < spec.tell_background:
        background = scene.background
        wider = [t for t in range(8, len(BACKGROUND_TERMS)) if background in BACKGROUND_TERMS[t][1]]
        if wider and draw() < 0.15:
            background = wider[0]

    phrases = [_words(draw, mention) for mention in mentions]
    low, high = 0, MAX_THINGS
    if relation:
        text = _finish(draw, _relation_sentence(draw, phrases, relation[0]), background)
        return Caption(text, Facts(tuple(mentions), relation, background, low, high))
    for k, mention in enumerate(mentions):
        places = PLACES_OF_CELL[things[referents[k][0]].cell]
        if mention.low == 1 and places and draw() < 0.22:
            place = _pick(draw, places)
            mentions[k] = mention._replace(place=place)
            phrases[k] = _Phrase(f"{phrases[k].text} {_pick(draw, PLACES[place][0])}", False)
    ending = draw()
    left = n - len(used)
    if ending < 0.10 and left:
        low = high = n
        more = _Phrase("one other thing" if left == 1 else f"{NUMBERS[left]} other things", left > 1)
        text = _list_sentence(draw, [*phrases, more])
    elif ending < 0.15 and left:
        low = len(used) + 1
        text = _list_sentence(draw, phrases) + ", among other things"
    elif ending < 0.10 and not left and n > 1:
        low = high = n
        text = f"{NUMBERS[n]} things: {_join(draw, [phrase.text for phrase in phrases])}"
    elif ending < 0.20 and not left:
        low = high = n
        text = _pick(draw, ("just ", "only ", "nothing but ")) + _join(draw, [phrase.text for phrase in phrases])
    else:
        text = _list_sentence(draw, phrases)
    return Caption(_finish(draw, text, background), Facts(tuple(mentions), None, background, low, high))


def captions_of(scene: Scene) -> tuple[Caption, ...]:
    """The captions of a scene, all true of it: a function of the scene alone."""
    spec = spec_of(scene.corpus)
    draw = stream(scene.corpus, scene.seed, scene.index, 1).random
    return tuple(_caption(draw, spec, scene) for _ in range(n_captions(scene.corpus, scene.index)))
