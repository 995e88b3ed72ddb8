"""What ships: cards say what is read from the artefact and the measured rows, and what they say can be repeated."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys

import pytest

import fico_utils
from fico_utils import experiment, provenance
from fico_utils.artifacts import SUMS, damage_of, header_of, shipped_sums
from fico_utils.errors import InputError
from fico_utils.evaluation import evaluate
from fico_utils.experiment import weights
from fico_utils.extras import shipping
from fico_utils.files import read_arrays, sha256_file
from fico_utils.models import ucch
from fico_utils.provenance import PROJECT
from fico_utils.results import store

NAME = "picto_diverse"
TOY = {
    "threads": 1,
    "corpora": [NAME],
    "systems": ["ucch"],
    "n_train": {NAME: 40},
    "n_val": {NAME: 10},
    "n_test": {NAME: 20},
    "backbones": {kind: {"scenes": 40, "epochs": 1} for kind in ("regions", "patches")},
    "live_backbones": ["regions", "patches"],
    "doc2vec_epochs": 1,
    "epochs": {"query2label": 1, "ucch": 3},
    "sizes": {"ucch": {"hidden": 16, "bits": 16}},
}
FILE = f"ucch__{NAME}"


def setup(folder, **changed):
    return fico_utils.setup("mini", 0, str(folder), **{**TOY, **changed})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run that trained one system, with nothing shipped, and measured it."""
    run = setup(tmp_path_factory.mktemp("trained"))
    experiment.backbone(run, live=True)
    experiment.doc2vec_weights(run, live=True)
    experiment.label_generator(run, live=True)
    experiment.train(run, "ucch", NAME)
    part = experiment.corpus(run, NAME).subset("test")
    stored = experiment.comparable("ucch", experiment.embed(run, "ucch", NAME))
    table = evaluate(**stored, caption_image=part.caption_image, labels=part.labels, intervals=True)
    store.write_part(run, "metrics", FILE, store.score_rows(table, "ucch", NAME))
    store.merge(run, "metrics")
    return run


def card_of(run, name):
    return shipping.weights_card(run, name, shipping.trained_weights(run)[name])


def facts(text: str) -> dict[str, str]:
    """The rows of a card's first table."""
    return dict(re.findall(r"^\| ([a-z, ]+) \| (.*) \|$", text.partition("## ")[0], re.MULTILINE))


def blocks(text: str) -> dict[str, str]:
    """Fenced blocks by language."""
    return dict(re.findall(r"```(\w+)\n(.*?)\n```", text, re.DOTALL))


def test_a_card_says_what_the_file_holds(trained):
    text = card_of(trained, FILE)
    path = shipping.trained_weights(trained)[FILE].path
    arrays, header, said = read_arrays(path), header_of(path), facts(text)
    assert text.startswith(f"# UCCH on {NAME}\n")
    assert header["digest"] in said["digest of the content"]
    assert "float16" in said["file"]
    numbers = int(said["parameters"].partition(" numbers")[0].replace(" ", ""))
    assert numbers == sum(a.size for a in arrays.values())
    assert said["serves"] == "UCCH"
    assert said["corpus"].startswith(f"{NAME}: 40 train, 10 val, 20 test images")
    assert said["profile, seed"] == "mini, 0"
    assert said["code"] == f"commit {provenance.commit()}, version 1 of ucch"
    assert json.loads(blocks(text)["json"]) == header["recipe"]


def test_a_card_says_how_the_training_went(trained):
    said, log = facts(card_of(trained, FILE)), experiment.serve(trained, "ucch", NAME).log
    minutes = sum(row["seconds"] for row in log) / 60
    assert said["training"].startswith(f"3 epochs, {minutes:.1f} minutes with validation, 1 CPU thread;")
    best = max(row["score"] for row in log)
    first = next(row["epoch"] for row in log if row["score"] == best)
    assert said["validation"].startswith(f"{best:.4f} ")
    assert f"after epoch {first:.0f}, which is kept" in said["validation"]


def test_a_card_tells_what_differs_from_the_original(trained):
    told = card_of(trained, FILE).partition("differs from the original\n")[2].partition("\n## ")[0]
    assert told.strip() == ucch.__doc__.strip()
    assert "Scaled down" in told


def test_a_card_gives_the_measured_rows_with_their_intervals(trained):
    text = card_of(trained, FILE)
    row = next(line for line in text.splitlines() if line.startswith("| UCCH |")).split(" | ")[1:]
    with open(trained.path("metrics.csv"), newline="", encoding="utf-8") as file:
        found = {(r["direction"], r["metric"], r["k"]): r for r in csv.DictReader(file) if r["source"] == "ours"}
    expected = [found[d, metric, k] for metric, k in shipping.SHOWN for d in ("i2t", "t2i")]
    assert len(row) == len(expected) == 8
    for cell, measured in zip(row, expected, strict=True):
        assert re.match(r"[\d.]+", cell)[0] == f"{float(measured['value']):.3f}"
        assert f"[{float(measured['ci_low']):.3f}, {float(measured['ci_high']):.3f}]" in cell


def test_the_recipe_of_a_card_gives_the_same_weights(trained, tmp_path):
    recipe = blocks(card_of(trained, FILE))["python"].replace('"again"', repr(str(tmp_path)))
    done = subprocess.run([sys.executable, "-c", recipe], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    path = shipping.trained_weights(trained)[FILE].path
    again = tmp_path / "mini" / "models" / path.name
    assert header_of(again)["digest"] == header_of(path)["digest"]


def test_shared_pieces_have_cards_without_a_test_table(trained):
    text = card_of(trained, "backbone")
    assert "experiment.backbone_weights(run, live=True)" in blocks(text)["python"]
    assert "Test split" not in text
    assert json.loads(blocks(text)["json"])["producer"] == "backbone"


def test_the_call_that_makes_a_shared_piece_names_its_kind_and_corpus():
    assert shipping._title("patch_backbone")[1] == 'experiment.backbone_weights(run, live=True, kind="patches")'
    title, made = shipping._title("doc2vec__flickr30k")
    assert title.endswith("on flickr30k")
    assert made == 'experiment.doc2vec_weights(run, live=True, name="flickr30k")'


def test_the_rows_of_both_systems_that_share_weights_are_on_the_card(tmp_path):
    run, lines = setup(tmp_path), [
        "profile,source,system,corpus,split,task,direction,metric,k,value,ci_low,ci_high,chance,n_query,status,run",
        f"mini,ours,xvlm,{NAME},test,instance,t2i,recall,1,0.5,0.4,0.6,0.001,9,ok,mini-s0",
        f"mini,ours,xvlm,{NAME},test,category,t2i,map,N,,,,,9,undefined,mini-s0",
        f"mini,ours,xvlm_nf,{NAME},test,instance,t2i,recall,1,0.25,,,0.001,9,ok,mini-s0",
        f"mini,ours,xvlm_nf,{NAME},test,instance,i2t,recall,1,0.75,,,0.001,9,ok,mini-s1",  # another seed's
    ]  # fmt: skip
    run.path("metrics.csv").parent.mkdir(parents=True, exist_ok=True)
    run.path("metrics.csv").write_text("\n".join(lines) + "\n")
    table = shipping._measured(run, "xvlm", NAME)
    fused, dual = (next(line for line in table if line.startswith(f"| {name} |")) for name in ("X-VLM", "X-VLM NF"))
    assert fused.split(" | ")[2] == "0.500 [0.400, 0.600]"
    assert fused.endswith("| undefined |")
    assert dual.split(" | ")[1:3] == ["not measured", "0.250"]


def test_what_was_not_measured_is_said(tmp_path):
    assert shipping._measured(setup(tmp_path), "ucch", NAME) == ["Not measured in this run; notebook 04 measures it."]


def test_what_ships_is_the_artefact_itself_with_a_card_and_the_vocabulary(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "SHIPPED", tmp_path)
    (tmp_path / SUMS).write_text("0123  other/kept.json\n")
    *paths, sums = shipping.ship(trained)
    names = {p.relative_to(tmp_path / "mini").as_posix() for p in paths}
    pieces = ("backbone", "doc2vec", "query2label", FILE)
    assert names == {
        *(f"{n}{s}" for n in pieces for s in (".safetensors", ".md")),
        f"vocabulary__{NAME}.json",
        "README.md",
    }
    binary = {p.relative_to(tmp_path).as_posix(): p for p in paths if p.suffix != ".md"}
    assert not any(map(damage_of, binary.values()))
    assert sums == tmp_path / SUMS
    said = {name: sha256_file(path) for name, path in binary.items()} | {"other/kept.json": "0123"}
    assert shipped_sums(tmp_path) == said
    assert (tmp_path / "mini" / f"{FILE}.md").read_text(encoding="utf-8") == card_of(trained, FILE)


def test_the_list_of_weights_sums_up_the_trainings(trained):
    log = experiment.serve(trained, "ucch", NAME).log
    lines = shipping.weights_contents(trained, shipping.trained_weights(trained)).splitlines()
    rows = {line.split("]")[0][3:]: line.split(" | ")[1:] for line in lines if line.startswith("| [")}
    size = shipping.trained_weights(trained)[FILE].path.stat().st_size / 2**20
    best, minutes = max(row["score"] for row in log), sum(row["seconds"] for row in log) / 60
    assert rows[f"UCCH on {NAME}"] == [f"{size:.2f}", "3", f"{minutes:.1f}", f"{best:.3f} |"]
    assert rows[shipping.SHARED["backbone"][0]][1:] == ["–", "–", "– |"]


def test_other_settings_than_those_of_the_training_are_refused(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "SHIPPED", tmp_path)
    other = setup(trained.root.parent, epochs={**TOY["epochs"], "ucch": 4})
    with pytest.raises(InputError, match=r"ucch__picto_diverse was not trained in this run"):
        shipping.ship(other)
    assert list(tmp_path.iterdir()) == []


def test_the_commit_is_that_of_the_checkout(tmp_path, monkeypatch):
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=PROJECT, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        assert provenance.commit().split()[0] == done.stdout.strip()
    provenance.commit.cache_clear()
    monkeypatch.setattr(provenance, "PROJECT", tmp_path)
    assert provenance.commit() == "unknown"
    provenance.commit.cache_clear()


@pytest.mark.parametrize("profile", ["mini", "standard"])
def test_a_folder_of_shipped_weights_has_a_card_for_each_and_every_system_measured(profile):
    folder = weights.SHIPPED / profile
    assert {p.stem for p in folder.glob("*.md")} == {"README", *(p.stem for p in folder.glob("*.safetensors"))}
    for path in folder.glob("*.safetensors"):
        text = path.with_suffix(".md").read_text(encoding="utf-8")
        assert header_of(path)["digest"] in text, path.name
        assert "Not measured" not in text, path.name
