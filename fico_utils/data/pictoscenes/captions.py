"""Captions of PictoScenes: what a person might write, each with the facts it states.

A caption names some of what is there. "a red cat" says that at least one thing fits; "two red cats" that
exactly two do; "some cats" that two or more do, "several cats" three or more. Different phrases of one
caption mean different things.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from fico_utils.data.pictoscenes import tables
from fico_utils.data.pictoscenes.scene import MAX_THINGS, Scene, Spec, n_captions, shuffle, spec_of, stream

ANY = -1
OPENINGS = (
    "a picture of", "a drawing of", "an image of", "a picture showing", "a scene with", "we see", "I can see",
    "here you see",
)  # fmt: skip
Draw = Callable[[], float]  # the next random number in [0, 1)


class Mention(NamedTuple):
    """From `low` to `high` things fit `term`, `colour`, `size` and `place` (indices; -1: not said)."""

    term: int
    colour: int = ANY
    size: int = ANY
    place: int = ANY
    low: int = 1
    high: int = MAX_THINGS


class Caption(NamedTuple):
    """A sentence and all that it states.

    relation: the one of RELATIONS in which the thing of the first mention stands to that of the second, or None.
    background: index in BACKGROUND_TERMS, or -1. low, high: bounds of how many things the scene has.
    """

    text: str
    mentions: tuple[Mention, ...]
    relation: str | None
    background: int
    low: int = 0
    high: int = MAX_THINGS


def _pick(draw: Draw, options: Sequence) -> Any:
    return options[int(draw() * len(options))]


def _with_article(words: str) -> str:
    return ("an " if words[0] in "aeiou" else "a ") + words


def _choose_term(draw: Draw, category: int) -> int:
    """The thing's own name or a hypernym, this more often for a face, as people say "a man" for anyone."""
    hypernyms = tables.HYPERNYMS[category]
    if hypernyms and draw() < (0.30 if category < tables.N_FACES else 0.10):
        return _pick(draw, hypernyms)
    return category


def _noun_phrase(draw: Draw, mention: Mention) -> str:
    """The noun phrase of a mention, with its article or number, without its place."""
    nouns = tables.TERMS[mention.term].nouns
    noun = nouns[0] if draw() < 0.6 else _pick(draw, nouns)
    words = noun[mention.low > 1]
    if mention.colour != ANY:
        name = tables.COLOUR_NAMES[mention.colour]
        if " " not in words and draw() < 0.1:
            words = f"{words} {_pick(draw, ('in', 'drawn in', 'coloured'))} {name}"
        else:
            words = f"{_pick(draw, tables.COLOURS[name][2])} {words}"
    if mention.size != ANY:
        words = f"{_pick(draw, tables.SIZE_WORDS[mention.size])} {words}"
    if mention.low == 1:
        return _with_article(words)
    if mention.high > mention.low:
        return ("several " if mention.low > 2 else "some ") + words
    if mention.low == 2 and "pair" not in words and draw() < 0.15:
        return f"a pair of {words}"
    return f"{tables.NUMBERS[mention.low]} {words}"


def _mention_group(draw: Draw, spec: Spec, scene: Scene, thing: int, used: set) -> tuple[Mention, list[int]] | None:
    """Several like things as one mention, where there are some that no other mention uses."""
    things, term = scene.things, _choose_term(draw, scene.things[thing].category)
    colour = things[thing].colour if draw() < 0.5 else ANY
    fits = tables.TERMS[term].fits
    members = [i for i, other in enumerate(things) if other.category in fits and colour in (ANY, other.colour)]
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


def _mention_single(draw: Draw, spec: Spec, scene: Scene, thing: int) -> tuple[Mention, list[int]]:
    """One thing as a mention, without its place, which only some sentences have room for."""
    category, colour, size = scene.things[thing][:3]
    term = _choose_term(draw, category)
    colour = colour if draw() < spec.tell_colour else ANY
    return Mention(term, colour, size if draw() < spec.tell_size else ANY), [thing]


def _join(draw: Draw, phrases: list[str]) -> str:
    if len(phrases) == 1:
        return phrases[0]
    last = _pick(draw, (" and ", " and ", " with ", " along with ")) if len(phrases) == 2 else " and "
    return ", ".join(phrases[:-1]) + last + phrases[-1]


def _list_sentence(draw: Draw, phrases: list[str]) -> str:
    body = _join(draw, phrases)
    shape = draw()
    if shape < 0.40:
        return body
    if shape < 0.60:
        return ("there is " if body.startswith(("a ", "an ")) else "there are ") + body
    return f"{_pick(draw, OPENINGS)} {body}"


def _relation_sentence(draw: Draw, phrases: list[str], name: str) -> str:
    """The first phrase stands in the relation `name` to the second; the others are added."""
    a, b, *others = phrases
    words, inverse = tables.RELATIONS[name]
    shape = draw()
    if shape < 0.35:
        text = f"{a} {_pick(draw, words)} {b}"
    elif shape < 0.60:
        text = f"{a} {_pick(draw, ('is', 'sits', 'stands', 'can be seen'))} {_pick(draw, words)} {b}"
    elif shape < 0.80:
        text = f"{a} with {b} {_pick(draw, tables.RELATIONS[inverse][0])} it"
    else:
        text = f"{_pick(draw, words)} {b} there is {a}"
    if not others:
        return text
    rest = _join(draw, others)
    return text + _pick(draw, (", and ", ", plus ", ", and also ", " and ")) + rest


def _finish(draw: Draw, text: str, background: int) -> str:
    """The sentence with its background, where one is said, a capital and a full stop."""
    if background != ANY:
        words = _pick(draw, tables.BACKGROUND_TERMS[background][0])
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


def _vague_caption(draw: Draw, scene: Scene) -> Caption:
    """A caption that says little: one kind of thing, or how many things there are."""
    n = len(scene.things)
    background = scene.background if draw() < 0.5 else ANY
    if draw() < 0.5:
        mention = Mention(_choose_term(draw, _pick(draw, scene.things).category))
        text = _list_sentence(draw, [_noun_phrase(draw, mention)])
        return Caption(_finish(draw, text, background), (mention,), None, background)
    noun, low, high = _pick(draw, ("thing", "object", "drawing")), n, n
    if n == 1:
        text = _pick(draw, ("just one ", "only one ", "a single ")) + noun
    elif draw() < 0.5:
        text = f"{tables.NUMBERS[n]} {noun}s"
    else:
        text, low, high = ("some " if n < 3 else "several ") + noun + "s", min(n, 3), MAX_THINGS
    return Caption(_finish(draw, text, background), (), None, background, low, high)


def _full_caption(draw: Draw, spec: Spec, scene: Scene) -> Caption:
    """A caption that mentions some things, each once, and where it is told their relation or the background."""
    things, n = scene.things, len(scene.things)
    wanted = min(n, 2 + (draw() < spec.tell_third) + (draw() < 0.15))
    mentions, referents, used = [], [], set()
    for i in shuffle(draw, list(range(n))):
        if i in used or len(used) >= wanted:
            continue
        group = _mention_group(draw, spec, scene, i, used) if n > 1 and draw() < 0.6 else None
        mention, members = group or _mention_single(draw, spec, scene, i)
        mentions.append(mention)
        referents.append(members)
        used.update(members)
    cells = [things[members[0]].cell for members in referents]
    relation = None
    if len(mentions) > 1 and mentions[0].low == mentions[1].low == 1 and draw() < 0.30:
        holding = [name for name, table in tables.RELATED.items() if table[cells[0], cells[1]]]
        relation = _pick(draw, holding) if holding else None
    background = ANY
    if draw() < spec.tell_background:
        background = scene.background
        wider = [t for t, (_, fits) in enumerate(tables.BACKGROUND_TERMS) if t >= 8 and background in fits]
        if wider and draw() < 0.15:
            background = wider[0]
    phrases = [_noun_phrase(draw, mention) for mention in mentions]
    if relation:
        text, low, high = _relation_sentence(draw, phrases, relation), 0, MAX_THINGS
    else:
        for k, mention in enumerate(mentions):
            places = tables.PLACES_OF_CELL[cells[k]]
            if mention.low == 1 and places and draw() < 0.22:
                mentions[k] = mention._replace(place=_pick(draw, places))
                phrases[k] += " " + _pick(draw, tables.PLACES[mentions[k].place][0])
        text, low, high = _mentions_sentence(draw, phrases, len(used), n)
    return Caption(_finish(draw, text, background), tuple(mentions), relation, background, low, high)


def _mentions_sentence(draw: Draw, phrases: list[str], n_said: int, n: int) -> tuple[str, int, int]:
    """A sentence of phrases that mention `n_said` of `n` things, and the bounds of `n` that it states."""
    ending, left = draw(), n - n_said
    if ending < 0.10 and left:
        more = "one other thing" if left == 1 else f"{tables.NUMBERS[left]} other things"
        return _list_sentence(draw, [*phrases, more]), n, n
    if ending < 0.15 and left:
        return _list_sentence(draw, phrases) + ", among other things", n_said + 1, MAX_THINGS
    if ending < 0.10 and n > 1:
        return f"{tables.NUMBERS[n]} things: {_join(draw, phrases)}", n, n
    if ending < 0.20 and not left:
        return _pick(draw, ("just ", "only ", "nothing but ")) + _join(draw, phrases), n, n
    return _list_sentence(draw, phrases), 0, MAX_THINGS


def captions_of(scene: Scene) -> tuple[Caption, ...]:
    """The captions of a scene, all true of it: a function of the scene alone."""
    spec = spec_of(scene.corpus)
    draw = stream(scene.corpus, scene.seed, scene.index, 1).random
    return tuple(
        _vague_caption(draw, scene) if draw() < spec.vague else _full_caption(draw, spec, scene)
        for _ in range(n_captions(scene.corpus, scene.index))
    )
