"""The Openclipart corpus, from a small tree built like the two Debian packages; nothing is downloaded."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from fico_utils.errors import InputError
from fico_utils.extras.corpora.debian import build_corpus
from fico_utils.extras.corpora.folder import read_folder
from fico_utils.extras.corpora.openclipart import OPENCLIPART, read_metadata

SVG = """<?xml version="1.0" encoding="UTF-8" standalone="no"?>
{doctype}<svg xmlns="http://www.w3.org/2000/svg" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:cc="http://web.resource.org/cc/" xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<metadata><rdf:RDF><cc:Work rdf:about=""><dc:title>{title}</dc:title><dc:description>{description}</dc:description>
<dc:subject><rdf:Bag>{keywords}</rdf:Bag></dc:subject>
<dc:publisher><cc:Agent><dc:title>Open Clip Art Library</dc:title></cc:Agent></dc:publisher>
<dc:creator><cc:Agent><dc:title>Somebody</dc:title></cc:Agent></dc:creator></cc:Work></rdf:RDF></metadata>
<path d="M 0 0"/><title>not this</title></svg>"""


def draw(tree, name, title="", description="", keywords=(), doctype="", colour=None):
    """One drawing in both trees; pictures differ unless a colour is given."""
    svg, png = tree / "svg" / f"{name}.svg", tree / "png" / f"{name}.png"
    for path in (svg, png):
        path.parent.mkdir(parents=True, exist_ok=True)
    words = "".join(f"<rdf:li>{word}</rdf:li>" for word in keywords)
    svg.write_text(SVG.format(title=title, description=description, keywords=words, doctype=doctype), encoding="utf-8")
    number = len(list((tree / "png").rglob("*.png")))
    Image.new("RGBA", (12, 9), colour or (number, 255 - number, 7, 255)).save(png)


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "usr" / "share" / "openclipart"
    draw(root, "animals/birds/duck_01", "A_yellow  duck", "A duck.", ["bird", "hash(0x89)", "yellow"])
    draw(root, "animals/frog_02", "Frog", "frog", ["11"])
    draw(root, "animals/cat_bob_01", "Clipart by Bob - cat_03", "A sleeping cat &amp; its ball", ["cat"])
    draw(root, "animals/dog_01", "Clipart by Bob - cat_03", "bob@example.org", ["dog", "mammal"])
    draw(root, "food/fruit/apple", "Apple", "HASH(0x8677e2c)", ["food", "fruit", "0xa127c5c"])
    draw(root, "food/pear", "Pear", "w " * 200, ["unsorted", "food"])
    draw(root, "shapes/stars/star_9pt", "gramastar", "", ["stars"])
    draw(root, "computer/icons/flat-theme/action/up", "Up", "", ["icon"])
    draw(root, "unsorted/thing", "A thing", "", [])
    draw(root, "tools/saw", "Saw", "A saw for wood", ["tool"], colour=(1, 2, 3, 255))
    draw(root, "unsorted/saw_copy", "Saw again", "", ["tool"], colour=(1, 2, 3, 255))
    draw(root, "food/huge", "Huge", "A huge picture")
    huge = bytearray((root / "png" / "food" / "huge.png").read_bytes())
    huge[16:24] = (20000).to_bytes(4, "big") * 2
    (root / "png" / "food" / "huge.png").write_bytes(huge)
    draw(root, "people/ent", "Entity", "", [], doctype='<!DOCTYPE svg [<!ENTITY ns "http://ns.adobe.com/">]>\n')
    for number in range(11):
        draw(root, f"transportation/road/sign{number}", "SVG Road Signs", "", ["roadsign", "UK"])
    (root / "svg" / "science").mkdir()
    (root / "svg" / "science" / "duck_01.svg").symlink_to("../animals/birds/duck_01.svg")
    (root / "svg" / "tools" / "gone.svg").symlink_to("../nowhere.svg")
    return root


def test_what_people_wrote_becomes_the_captions(tree, tmp_path):
    said = build_corpus(OPENCLIPART, tree, tmp_path / "corpus")
    corpus = read_folder(tmp_path / "corpus", "openclipart", size=16)
    texts = {
        i: [corpus.captions[t] for t in np.flatnonzero(corpus.caption_image == n)]
        for n, i in enumerate(corpus.image_ids)
    }
    assert texts == {
        "animals/birds/duck_01.png": ["A yellow duck", "A duck.", "bird, yellow"],
        "animals/cat_bob_01.png": ["A sleeping cat & its ball"],
        "animals/frog_02.png": ["Frog"],
        "food/fruit/apple.png": ["Apple", "food, fruit"],
        "food/pear.png": ["Pear"],
        "tools/saw.png": ["Saw", "A saw for wood"],
        "unsorted/thing.png": ["A thing"],
    }
    assert corpus.label_names == ("animals", "food", "science", "tools")
    labels = {
        i: [n for n, mark in zip(corpus.label_names, row, strict=True) if mark]
        for i, row in zip(corpus.image_ids, corpus.labels, strict=True)
    }
    assert labels["animals/birds/duck_01.png"] == ["animals", "science"]  # seen from both folders
    assert labels["unsorted/thing.png"] == []
    assert said["left_out"] == {
        "links": 2, "families": 2, "unreadable SVG": 1, "without a text of its own": 12, "same picture twice": 1,
        "too large or no PNG": 1,
    }  # fmt: skip
    assert corpus.images[:].shape == (7, 16, 16, 3)
    assert json.loads((tmp_path / "corpus" / "source.json").read_text(encoding="utf-8")) == said


def test_splits_are_the_same_each_time(tree, tmp_path):
    build_corpus(OPENCLIPART, tree, tmp_path / "one")
    build_corpus(OPENCLIPART, tree, tmp_path / "two")
    first, second = (tmp_path / name / "splits.csv" for name in ("one", "two"))
    assert first.read_bytes() == second.read_bytes()
    assert (
        set(read_folder(tmp_path / "one").split) == {"train", "val", "test"}
        or len(read_folder(tmp_path / "one").split) < 10
    )


def test_entities_are_not_expanded(tmp_path):
    levels = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 9))
    doctype = f'<!DOCTYPE svg [<!ENTITY l0 "lol">{levels}]>'
    path = tmp_path / "bomb.svg"
    path.write_text(SVG.format(title="&l8;", description="", keywords="", doctype=doctype), encoding="utf-8")
    with pytest.raises(InputError, match="declares the entity 'l0', which is not expanded"):
        read_metadata(path)
    outside = '<!DOCTYPE svg [<!ENTITY file SYSTEM "file:///etc/passwd">]>'
    path.write_text(SVG.format(title="&file;", description="", keywords="", doctype=outside), encoding="utf-8")
    with pytest.raises(InputError, match="declares the entity 'file'"):
        read_metadata(path)
    path.write_text("<svg><metadata>", encoding="utf-8")
    with pytest.raises(InputError, match="is no well-formed SVG"):
        read_metadata(path)
    path.write_text('<svg xmlns="http://www.w3.org/2000/svg"><path/></svg>', encoding="utf-8")
    assert read_metadata(path).title == ""


def test_another_tree_is_refused(tmp_path):
    with pytest.raises(InputError, match="has no picture with a text; expected the unpacked packages of openclipart"):
        build_corpus(OPENCLIPART, tmp_path, tmp_path / "corpus")
