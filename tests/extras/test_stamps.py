"""The stamps corpus, and what every corpus from packages of Debian has in common, on a small package that is made here.

Nothing is downloaded: apt-get is a stand-in that copies the package, dpkg-deb is one that unpacks it with tar.
"""

from __future__ import annotations

import io
import json
import os
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fico_utils import registry
from fico_utils.errors import InputError
from fico_utils.extras.corpora import fetching
from fico_utils.extras.corpora.debian import Package, build_corpus, fetch_source
from fico_utils.extras.corpora.fetching import fetch
from fico_utils.extras.corpora.folder import read_folder
from fico_utils.extras.corpora.stamps import IN_OPENCLIPART, STAMPS, find_pictures
from fico_utils.files import sha256_file

SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="{}pt" height="{}pt"><rect width="9" height="9" fill="red"/></svg>'
#: Letters of all scripts, marks and spaces, without what ends a line.
WRITTEN = st.characters(exclude_categories=("C", "Zl", "Zp"))


@pytest.fixture
def renderer(monkeypatch):
    """A stand-in for resvg-py: blue of the wanted size, an error where the file is no SVG; gives the calls."""
    calls = []

    def svg_to_bytes(svg_path, width, height, **options):
        calls.append((Path(svg_path).name, width, height, options))
        if not Path(svg_path).read_text(encoding="utf-8").endswith("</svg>"):
            raise ValueError("the document does not have a root node")
        file = io.BytesIO()
        Image.new("RGBA", (width, height), (0, 0, 99 + len(calls), 255)).save(file, "PNG")
        return file.getvalue()

    monkeypatch.setitem(sys.modules, "resvg_py", SimpleNamespace(svg_to_bytes=svg_to_bytes))
    return calls


def stamp(tree, name, text, colour=None, kind="png"):
    """One stamp; pictures differ unless a colour is given. Without a kind it has no picture, without a text no text."""
    (tree / name).parent.mkdir(parents=True, exist_ok=True)
    if text is not None:
        (tree / f"{name}.txt").write_text(text, encoding="utf-8")
    if kind == "svg":
        (tree / f"{name}.svg").write_text(SVG.format(30, 15), encoding="utf-8")
    elif kind:
        number = len(list(tree.rglob("*.png")))
        Image.new("RGBA", (12, 9), colour or (number, 255 - number, 7, 255)).save(tree / f"{name}.png")


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "root" / STAMPS.tree
    stamp(root, "animals/mammals/cats/cartoon/lion", "A happy  lion!\r\nde.utf8=Ein Löwe.\nca@valencia.utf8=Un lleó.\n")
    stamp(root, "animals/frog", "A frog.\nfr.utf8=\nde.utf8=Ein Frosch.\n")
    stamp(root, "animals/frog-1", "A frog.\n")
    stamp(root, "animals/frog_mirror", None)
    stamp(root, "animals/frog_flip", None, kind="svg")
    stamp(root, "animals/e.coli", "\ufeffA = 1?\nA line that is no translation\nde.utf8=x=y\n")
    stamp(root, "clothes/hat", "A hat.\n", kind="svg")
    stamp(root, "clothes/both", "Both kinds.\n", colour=(9, 9, 9, 255))
    (root / "clothes" / "both.svg").write_text("<svg", encoding="utf-8")
    stamp(root, "clothes/torn", "Torn.\n", kind="svg")
    (root / "clothes" / "torn.svg").write_text("<svg", encoding="utf-8")
    stamp(root, "military/fireman", "A fireman.\n", colour=(1, 2, 3, 255))
    stamp(root, "people/fireman", "A fireman.\n", colour=(1, 2, 3, 255))
    stamp(root, "people/latin", None)
    (root / "people" / "latin.txt").write_bytes("Ren\u00e9".encode("latin-1"))
    stamp(root, "people/german", "de.utf8=Nur deutsch.\n")
    stamp(root, "seasonal/gift", "A gift.\n", kind=None)
    stamp(root, "seasonal/numbers", "42\n")
    stamp(root, "seasonal/ghost", "A ghost.\n", colour=(255, 255, 255, 255))
    stamp(root, "seasonal/hidden", "Hidden.\n", colour=(0, 0, 0, 0))
    stamp(root, "symbols/alphabets/english/a", "The letter A.\n")
    stamp(root, "town/flags/redflag", "A red flag.\n")
    stamp(root, IN_OPENCLIPART[0], "A drawing that Openclipart has.\n")
    stamp(root, f"{IN_OPENCLIPART[0]}-2", "Another one.\n")
    stamp(root, "town/flagstaff", "A flagstaff.\n")
    for file in ("animals/frog.ogg", "animals/frog.dat"):
        (root / file).write_bytes(b"sound")
    return root


def test_each_stamp_has_its_english_text_and_its_folder(tree, tmp_path, renderer):
    told = build_corpus(STAMPS, tree, tmp_path / "corpus")
    corpus = read_folder(tmp_path / "corpus", "stamps", size=16)
    assert dict(zip(corpus.image_ids, corpus.captions, strict=True)) == {
        "animals/e.coli.png": "A = 1?",
        "animals/frog-1.png": "A frog.",
        "animals/frog.png": "A frog.",
        f"{IN_OPENCLIPART[0]}-2.png": "Another one.",
        "animals/mammals/cats/cartoon/lion.png": "A happy lion!",
        "clothes/both.png": "Both kinds.",
        "clothes/hat.png": "A hat.",
        "military/fireman.png": "A fireman.",
        "town/flagstaff.png": "A flagstaff.",
    }
    assert corpus.label_names == ("animals", "clothes", "military", "people", "town")
    labels = {i: corpus.label_names[row.argmax()] for i, row in zip(corpus.image_ids, corpus.labels, strict=True)}
    assert {image: label for image, label in labels.items() if image.split("/")[0] != label} == {}
    firemen = corpus.labels[corpus.image_ids.index("military/fireman.png")]
    assert firemen.tolist() == [0, 0, 1, 1, 0]  # one picture, seen from both folders
    assert told["left_out"] == {
        "families": 2, "in Openclipart": 1, "picture without a text file": 2, "text without a picture": 1,
        "unreadable": 2, "white on white": 2, "without a text of its own": 2, "same picture twice": 1,
    }  # fmt: skip
    assert [call[0] for call in renderer] == ["hat.svg", "torn.svg"]  # a PNG goes before an SVG
    assert Image.open(tmp_path / "corpus" / "images" / "clothes" / "hat.png").size == (512, 512)


@settings(max_examples=30)
@given(
    english=st.text(WRITTEN, min_size=1, max_size=20).filter(lambda text: any(map(str.isalpha, text))),
    others=st.dictionaries(st.from_regex(r"[a-z]{2,3}(_[A-Z]{2})?(@[a-z]+)?", fullmatch=True), st.text(WRITTEN)),
    start=st.sampled_from(["", "\ufeff"]),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_the_text_is_the_first_line_whatever_follows(tmp_path_factory, english, others, start, end):
    tree = tmp_path_factory.mktemp("tree")
    stamp(tree, "food/pie", None)
    lines = [english, *(f"{language}.utf8={text}" for language, text in others.items())]
    (tree / "food" / "pie.txt").write_bytes((start + "".join(f"{line}{end}" for line in lines)).encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "resvg_py", SimpleNamespace(svg_to_bytes=None))
        (picture,), left_out = find_pictures(tree)
    assert picture.texts == [" ".join(english.split())]
    assert not left_out


def test_splits_are_the_same_each_time_and_in_proportion(tmp_path, renderer):
    tree = tmp_path / "tree"
    for number in range(100):
        stamp(tree, f"{'animals' if number < 60 else 'food'}/{number % 7}/{number}", f"Thing {number}.\n")
    for name in ("one", "two"):
        build_corpus(STAMPS, tree, tmp_path / name)
    files = [
        [(tmp_path / name / f"{file}.csv").read_bytes() for file in ("captions", "labels", "splits")]
        for name in ("one", "two")
    ]
    assert files[0] == files[1]
    corpus = read_folder(tmp_path / "one")
    counts = {s: corpus.labels[corpus.split == s].sum(0).tolist() for s in ("train", "val", "test")}
    assert counts == {"train": [42, 28], "val": [6, 4], "test": [12, 8]}


@pytest.fixture
def machine(tree, tmp_path, monkeypatch):
    """Stand-ins for apt-get and dpkg-deb on the path, the made-up package, and its source."""
    tools, archive = tmp_path / "tools", tmp_path / "stamps_2.0_all.deb"
    with tarfile.open(archive, "w") as file:
        file.add(tmp_path / "root", ".")
    tools.mkdir()
    for name, script in (
        ("apt-get", f'echo "$@" >> {tools}/asked; cp {archive} "$PWD/"'),
        ("dpkg-deb", 'test "$1" = -x || exit 9; mkdir -p "$3" && tar -xf "$2" -C "$3"'),
    ):
        (tools / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    source = replace(STAMPS, packages=(Package("stamps", "2.0", sha256_file(archive)),))
    monkeypatch.setitem(fetching.SOURCES, "stamps", source)
    return SimpleNamespace(source=source, tools=tools, archive=archive, cache=tmp_path / "data")


def left_in(cache: Path) -> set[str]:
    return {path.name for path in cache.iterdir()} if cache.is_dir() else set()


def test_fetch_makes_the_corpus_once(machine, renderer):
    said: list[str] = []
    fetch(["stamps"], machine.cache, said.append, progress=False)
    folder = machine.cache / "stamps"
    assert (machine.tools / "asked").read_text(encoding="utf-8") == "download stamps=2.0\n"
    assert "photographs and drawings by many people, a sentence each; GPL 2 or later" in said[0]
    assert left_in(machine.cache) == {"stamps", "stamps-packages"}
    source = json.loads((folder / "source.json").read_text(encoding="utf-8"))
    assert source["packages"] == {"stamps 2.0": sha256_file(machine.archive)}
    info = registry.corpus("stamps")
    assert info.open_reader().read_pictures(machine.cache, size=8).n_img == source["pictures"] == 9
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")}
    fetch(["stamps"], machine.cache, said.append, progress=False)
    assert (machine.tools / "asked").read_text(encoding="utf-8").count("\n") == 1
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")} == before


def test_a_package_that_lies_there_needs_no_network(machine, renderer):
    (machine.tools / "apt-get").write_text("#!/bin/sh\nexit 100\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"apt-get download failed \(no reason given\); is there a network"):
        fetch_source(machine.source, machine.cache)
    machine.archive.rename(machine.cache / "stamps-packages" / machine.archive.name)
    assert read_folder(fetch_source(machine.source, machine.cache)).n_img == 9


def test_what_is_wrong_is_one_sentence_and_leaves_no_corpus(machine, renderer, monkeypatch):
    def refused(match, source=machine.source):
        with pytest.raises(InputError, match=match):
            fetch_source(source, machine.cache)
        assert left_in(machine.cache) <= {"stamps-packages"}

    (machine.tools / "apt-get").rename(machine.tools / "kept")
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(machine.tools))
        refused(r"there is no apt-get here; fetch it on a machine that has it, and copy the folder stamps to")
    (machine.tools / "apt-get").write_text("#!/bin/sh\necho \"E: Version '2.0' was not found\" >&2\nexit 100\n")
    (machine.tools / "apt-get").chmod(0o755)
    refused(r"apt-get download failed \(E: Version '2.0' was not found\)")
    (machine.tools / "kept").rename(machine.tools / "apt-get")
    other = replace(machine.source, packages=(Package("stamps", "2.0", "0" * 64),))
    refused(r"no stamps_\*.deb in .* is version 2.0 of stamps, whose SHA-256 is 0{64}: delete what lies there", other)
    empty = replace(machine.source, tree="usr/share/nothing")
    refused(r"has no picture with a text; expected the unpacked packages of stamps", empty)
    monkeypatch.setitem(sys.modules, "resvg_py", None)  # as where it is not installed
    refused(r"resvg-py, which is not installed: pip install resvg-py, and give the same command again")


def test_a_corpus_of_other_rules_and_files_of_ones_own_are_left_alone(machine, renderer):
    folder = fetch_source(machine.source, machine.cache)
    newer = replace(machine.source, rules=2)
    with pytest.raises(InputError, match=r"was made by version 1 of its rules, which are at 2: move it away, and give"):
        fetch_source(newer, machine.cache)
    (folder / "source.json").unlink()  # a folder of somebody's own says nothing of rules
    assert fetch_source(newer, machine.cache) == folder
    (folder / "captions.csv").unlink()
    files = sorted(folder.rglob("*"))
    with pytest.raises(InputError, match=r"holds files and no captions: move it away"):
        fetch_source(newer, machine.cache)
    assert sorted(folder.rglob("*")) == files


def test_resvg_draws_a_stamp_in_its_proportions(tree, tmp_path):
    pytest.importorskip("resvg_py")
    build_corpus(STAMPS, tree, tmp_path / "corpus")
    hat = np.asarray(Image.open(tmp_path / "corpus" / "images" / "clothes" / "hat.png"))
    assert hat.shape == (256, 512, 4)  # of 30 x 15 points
    assert hat[5, 5].tolist() == [255, 0, 0, 255]
    assert hat[-1, -1].tolist() == [0, 0, 0, 0]
