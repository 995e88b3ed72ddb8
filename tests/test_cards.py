"""Cards of weights: what they say is read from the file, the log and the measured rows, and it can be repeated."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys

import numpy as np
import pytest

import fico_utils
from fico_utils import experiment, workspace
from fico_utils.errors import InputError
from fico_utils.evaluation import evaluate
from fico_utils.experiment import cards, weights
from fico_utils.models import ucch
from fico_utils.results import store
from fico_utils.workspace import PROJECT, read_arrays, read_metadata, sha256_file, write_arrays

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
    experiment.train(run, "ucch", NAME)
    part = experiment.corpus(run, NAME).subset("test")
    stored = experiment.comparable("ucch", experiment.embeddings(run, "ucch", NAME))
    table = evaluate(**stored, caption_image=part.caption_image, labels=part.labels, intervals=True)
    store.write_part(run, "metrics", FILE, store.score_rows(table, "ucch", NAME))
    store.merge(run, "metrics")
    return run


def facts(text: str) -> dict[str, str]:
    """The rows of a card's first table."""
    return dict(re.findall(r"^\| ([a-z, ]+) \| (.*) \|$", text.partition("## ")[0], re.MULTILINE))


def blocks(text: str) -> dict[str, str]:
    """Fenced blocks by language."""
    return dict(re.findall(r"```(\w+)\n(.*?)\n```", text, re.DOTALL))


def test_a_card_says_what_the_file_holds(trained):
    text = cards.card(trained, FILE)
    path = trained.path("models", f"{FILE}.safetensors")
    arrays, header, said = read_arrays(path), read_metadata(path), facts(text)
    assert text.startswith(f"# UCCH on {NAME}\n")
    assert sha256_file(path) in said["file"]
    assert "float16" in said["file"]
    numbers = int(said["parameters"].partition(" numbers")[0].replace(" ", ""))
    assert numbers == sum(a.size for a in arrays.values())
    assert said["serves"] == "UCCH"
    assert said["corpus"].startswith(f"{NAME}: 40 train, 10 val, 20 test images")
    assert all(key in said["corpus"] for key in header["settings"]["train"])
    assert said["profile, seed"] == "mini, 0"
    assert said["code"] == f"commit {workspace.commit()}"
    assert json.loads(blocks(text)["json"]) == header["settings"]


def test_a_card_says_how_the_training_went(trained):
    said, log = facts(cards.card(trained, FILE)), experiment.training_log(trained, "ucch", NAME)
    minutes = sum(row["seconds"] for row in log) / 60
    assert said["training"].startswith(f"3 epochs, {minutes:.1f} minutes with validation, 1 CPU thread;")
    best = max(row["score"] for row in log)
    first = next(row["epoch"] for row in log if row["score"] == best)
    assert said["validation"].startswith(f"{best:.4f} ")
    assert f"after epoch {first:.0f}, which is kept" in said["validation"]


def test_a_card_tells_what_differs_from_the_original(trained):
    told = cards.card(trained, FILE).partition("differs from the original\n")[2].partition("\n## ")[0]
    assert told.strip() == ucch.__doc__.strip()
    assert "Scaled down" in told


def test_a_card_gives_the_measured_rows_with_their_intervals(trained):
    text = cards.card(trained, FILE)
    row = next(line for line in text.splitlines() if line.startswith("| UCCH |")).split(" | ")[1:]
    with open(trained.path("metrics.csv"), newline="", encoding="utf-8") as file:
        found = {(r["direction"], r["metric"], r["k"]): r for r in csv.DictReader(file) if r["source"] == "ours"}
    expected = [found[d, metric, k] for metric, k in cards.SHOWN for d in ("i2t", "t2i")]
    assert len(row) == len(expected) == 8
    for cell, measured in zip(row, expected, strict=True):
        assert re.match(r"[\d.]+", cell)[0] == f"{float(measured['value']):.3f}"
        assert f"[{float(measured['ci_low']):.3f}, {float(measured['ci_high']):.3f}]" in cell


def test_the_recipe_of_a_card_gives_the_same_weights(trained, tmp_path):
    recipe = blocks(cards.card(trained, FILE))["python"].replace('"again"', repr(str(tmp_path)))
    done = subprocess.run([sys.executable, "-c", recipe], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, second = (read_arrays(p) for p in (trained.path("models", f"{FILE}.safetensors"),
                                              tmp_path / "mini" / "models" / f"{FILE}.safetensors"))  # fmt: skip
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[n], second[n]) for n in first)


def test_shared_pieces_have_cards_without_a_test_table(trained):
    text = cards.card(trained, "backbone")
    assert "experiment.backbone(run, live=True)" in blocks(text)["python"]
    assert "Test split" not in text
    assert json.loads(blocks(text)["json"]) == read_metadata(trained.path("models", "backbone.safetensors"))["settings"]


def test_the_call_that_makes_a_shared_piece_names_its_kind_and_corpus():
    assert cards._title("patch_backbone", {})[1] == 'experiment.backbone(run, live=True, kind="patches")'
    title, made = cards._title("doc2vec__flickr30k", {})
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
    table = cards._measured(run, "xvlm", NAME)
    fused, dual = (next(line for line in table if line.startswith(f"| {name} |")) for name in ("X-VLM", "X-VLM NF"))
    assert fused.split(" | ")[2] == "0.500 [0.400, 0.600]"
    assert fused.endswith("| undefined |")
    assert dual.split(" | ")[1:3] == ["not measured", "0.250"]


def test_what_was_not_measured_is_said(tmp_path):
    assert cards._measured(setup(tmp_path), "ucch", NAME) == ["Not measured in this run; notebook 04 measures it."]


def test_cards_are_written_beside_the_weights(trained, tmp_path):
    paths = cards.write(trained, ["backbone", FILE], tmp_path)
    assert [p.name for p in paths] == ["backbone.md", f"{FILE}.md", "README.md"]
    assert paths[1].read_text(encoding="utf-8") == cards.card(trained, FILE)


def test_the_list_of_weights_sums_up_the_trainings(trained):
    log = experiment.training_log(trained, "ucch", NAME)
    lines = cards.contents(trained, ["backbone", FILE]).splitlines()
    rows = {line.split("]")[0][3:]: line.split(" | ")[1:] for line in lines if line.startswith("| [")}
    size = trained.path("models", f"{FILE}.safetensors").stat().st_size / 2**20
    best, minutes = max(row["score"] for row in log), sum(row["seconds"] for row in log) / 60
    assert rows[f"UCCH on {NAME}"] == [f"{size:.2f}", "3", f"{minutes:.1f}", f"{best:.3f} |"]
    assert rows[cards.SHARED["backbone"][0]][1:] == ["–", "–", "– |"]


def test_other_settings_than_those_of_the_training_are_refused(trained, tmp_path):
    other = setup(trained.root.parent, epochs={**TOY["epochs"], "ucch": 4})
    with pytest.raises(InputError, match=r"ucch__picto_diverse was trained with other settings.*train it again"):
        cards.write(other, ["backbone", FILE], tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("origin", ["shipped", None])
def test_weights_that_the_run_did_not_train_are_refused(tmp_path, origin):
    run = setup(tmp_path)
    header = {"key": "k", "settings": {"seed": 0}} | ({"origin": origin} if origin else {})
    write_arrays(run.path("models", "backbone.safetensors"), {"a": np.zeros(3, np.float16)}, header)
    with pytest.raises(InputError, match="was not trained in this run"):
        cards.card(run, "backbone")


def test_a_missing_or_foreign_log_is_refused(trained):
    path = trained.path("models", FILE, "log.csv")
    kept = path.read_text()
    try:
        path.write_text("\n".join(kept.splitlines()[:-1]) + "\n")
        with pytest.raises(InputError, match="holds 2 epochs, but ucch__picto_diverse was trained for 3"):
            cards.card(trained, FILE)
        path.unlink()
        with pytest.raises(InputError, match="does not exist; expected the log"):
            cards.card(trained, FILE)
    finally:
        path.write_text(kept)


def test_the_commit_is_that_of_the_checkout(tmp_path, monkeypatch):
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=PROJECT, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        assert workspace.commit().split()[0] == done.stdout.strip()
    monkeypatch.setattr(workspace, "PROJECT", tmp_path)
    assert workspace.commit() == "unknown"


@pytest.mark.parametrize("profile", ["mini", "standard"])
def test_a_folder_of_shipped_weights_has_a_card_for_each_and_every_system_measured(profile):
    folder = weights.SHIPPED / profile
    assert {p.stem for p in folder.glob("*.md")} == {"README", *(p.stem for p in folder.glob("*.safetensors"))}
    for path in folder.glob("*.safetensors"):
        text = path.with_suffix(".md").read_text(encoding="utf-8")
        assert sha256_file(path) in text, path.name
        assert "Not measured" not in text, path.name
