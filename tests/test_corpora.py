"""Corpora that are not drawn, through the same functions as those that are."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

import fico_utils
from fico_utils import experiment, profiles, registry
from fico_utils.data.pictoscenes import make_corpus
from fico_utils.data.text import words
from fico_utils.errors import InputError
from fico_utils.evaluation import evaluate, summarise
from fico_utils.experiment import features
from fico_utils.experiment.corpora import instance_relevance
from fico_utils.extras.corpora.folder import export_folder
from fico_utils.profiles import CONFIGS, profile_names, profile_settings

DRAWN = "picto_diverse"
TOY = {
    "n_train": {DRAWN: 40},
    "n_val": {DRAWN: 10},
    "n_test": {DRAWN: 10},
    "backbones": {kind: {"scenes": 40, "epochs": 1} for kind in ("regions", "patches")},
    "doc2vec_epochs": 1,
    "epochs": {"query2label": 1, "beit3": 1, "scan": 1, "ucch": 1},
    "sizes": {"beit3": {"width": 16, "heads": 2}, "scan": {"d": 8}, "ucch": {"hidden": 16, "bits": 16}},
}


@pytest.fixture(autouse=True)
def known_corpora():
    yield
    registry.use_rows({}, "no folder")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A folder corpus: drawn scenes, as anybody's pictures would come."""
    folder = tmp_path_factory.mktemp("data") / "mine"
    return export_folder(make_corpus("picto_people", {"train": 40, "val": 10, "test": 12}), folder)


@pytest.fixture
def data_dir(exported, tmp_path):
    shutil.copytree(exported, tmp_path / "data" / "mine")
    return tmp_path / "data"


def setup(data_dir, **changed):
    return fico_utils.setup("mini", 0, str(data_dir.parent / "results"), data_dir=str(data_dir), **{**TOY, **changed})


@pytest.mark.parametrize("system", ["beit3", "ucch", "scan"])
def test_a_folder_is_trained_on_and_scored_like_any_corpus(data_dir, system):
    run = setup(data_dir)
    part = experiment.corpus(run, "mine").subset("test")
    assert registry.corpus("mine").folder == str(data_dir / "mine")
    model = experiment.new_model(run, system, "mine")
    assert getattr(model.config, "n_images", 40) == 40
    stored = experiment.embed(run, system, "mine")
    labels = experiment.labels(run, "mine", "test")
    table = evaluate(**experiment.comparable(system, stored), caption_image=part.caption_image, labels=labels)
    assert table.value.between(0, 1)[table.metric.isin(["recall", "map"])].all()
    assert experiment.weights_origin(run, system, "mine") == "trained"
    again = experiment.embed(run, system, "mine")
    assert all(np.array_equal(again[name], array) for name, array in stored.items())


def test_a_row_that_ships_for_drawn_scenes_alone_is_trained_as_standard_does(data_dir):
    run = setup(data_dir)
    assert "adv_64" not in run["epochs"]
    served = experiment.serve(run, "adv_64", "mine")
    epochs = served.run["epochs"]["adv_64"]
    assert served.origin == "trained"
    assert epochs == profile_settings("standard")["epochs"]["adv_64"]
    assert set(experiment.embed(run, "adv_64", "mine")) == {"img", "txt"}
    assert len(experiment.serve(run, "adv_64", "mine").log) == epochs


def test_a_caption_may_be_right_for_every_picture_that_has_it(data_dir):
    """Against a loop over pairs; with one caption for all pictures, every answer is right."""
    path = data_dir / "mine" / "captions.csv"
    rows = [line.split(",", 1) for line in path.read_text().splitlines()]
    path.write_text(
        "\n".join([",".join(rows[0])] + [f"{image},{text}\n{image},One for ALL!" for image, text in rows[1:]])
    )
    run, partner = setup(data_dir, relevance="equal_captions"), setup(data_dir)
    shown = experiment.part(run, "mine", "test")
    texts = [" ".join(words(caption)) for caption in shown.captions]
    own = [{t for t, i in zip(texts, shown.caption_image, strict=True) if i == image} for image in range(shown.n_img)]
    pairs = [(i, c) for i in range(shown.n_img) for c, text in enumerate(texts) if text in own[i]]
    assert instance_relevance(run, shown).tolist() == [list(pair) for pair in pairs]
    assert instance_relevance(partner, shown) is None
    equal, alone = (
        pd.DataFrame(summarise(experiment.score(given, "ucch", "mine"), "recall@1 map@N")).set_index("direction")
        for given in (run, partner)
    )
    scores = experiment.comparable("ucch", experiment.embed(run, "ucch", "mine"))
    expected = evaluate(**scores, caption_image=shown.caption_image, relevance=np.array(pairs), labels=shown.labels)
    judged = expected[(expected.metric == "recall") & (expected.k == "1")].set_index("direction").value
    first, of_partner = (t[t.metric == "recall"] for t in (equal, alone))
    assert first.value.to_dict() == judged.to_dict()
    assert (first.value > of_partner.value).all()
    assert (first.chance > of_partner.chance).all()
    assert equal[equal.metric == "map"].equals(alone[alone.metric == "map"])  # categories are what they were
    with pytest.raises(InputError, match="relevance is 'all'; expected one of partner, equal_captions"):
        experiment.score(setup(data_dir, relevance="all"), "ucch", "mine")


def test_peoples_words_get_a_doc2vec_of_their_own(data_dir):
    run = setup(data_dir)
    own, drawn = experiment.doc2vec(run, "mine", "test"), experiment.doc2vec(run, DRAWN, "test")
    assert (len(own), own.shape[1]) == (experiment.corpus(run, "mine").subset("test").n_txt, drawn.shape[1])
    assert {p.name.split("__s0")[0] for p in run.store.files("models")} >= {"doc2vec__mine", "doc2vec"}


def test_a_path_gives_a_corpus_that_is_known_by_its_name(exported, tmp_path):
    run = setup(tmp_path / "empty")
    corpus = experiment.corpus(run, str(exported))
    assert corpus.name == "mine"
    assert experiment.visual(run, corpus.name, "test")["regions"].shape == (12, 36, 192)
    with pytest.raises(InputError, match=r"unknown corpus 'yours'; expected one of .*, or a folder with images/"):
        experiment.corpus(run, "yours")


def test_features_follow_the_content_of_the_pictures(data_dir):
    run = setup(data_dir)
    name = experiment.corpus(run, "mine").image_ids[-1]
    before, key = experiment.visual(run, "mine", "test"), features.visual_keys(run, "mine")
    assert len(features.visual_keys(run, DRAWN)) == 1  # of drawn corpora the backbone alone, as shipped weights say
    Image.new("RGB", (96, 96), (255, 0, 0)).save(data_dir / "mine" / "images" / name)
    captions = data_dir / "mine" / "captions.csv"
    captions.write_text(captions.read_text() + f"{name},one more caption\n")  # read again, for a file of it changed
    assert experiment.corpus(run, "mine").captions[-1] == "one more caption"
    after = experiment.visual(run, "mine", "test")
    assert features.visual_keys(run, "mine") != key
    assert np.array_equal(before["regions"][:-1], after["regions"][:-1])
    assert not np.array_equal(before["regions"][-1], after["regions"][-1])


def test_regions_that_somebody_brings_serve_instead_of_the_backbone(data_dir):
    corpus = experiment.corpus(setup(data_dir), "mine")
    folder, rng = data_dir / "mine" / "scan_arrays", np.random.default_rng(0)
    folder.mkdir()
    for split, n in (("train", 30), ("dev", 10), ("test", 10)):
        np.save(folder / f"{split}_ims.npy", rng.standard_normal((n, 36, 24)).astype(np.float32))
        (folder / f"{split}_caps.txt").write_text("\n".join(corpus.captions[: 5 * n]), encoding="utf-8")
    run = setup(data_dir, visual_features="scan_arrays")
    assert experiment.corpus(run, "mine").subset("train").n_img == 30
    found = experiment.visual(run, "mine", "test")
    assert np.array_equal(found["regions"], np.load(folder / "test_ims.npy"))
    assert found["global"].shape == (10, 48)
    assert experiment.visual(run, DRAWN, "test")["regions"].shape == (10, 36, 192)
    first = experiment.embed(run, "scan", "mine")["sim_i2t"]
    assert first.shape == (10, 50)
    arrays = np.load(folder / "test_ims.npy")
    np.save(folder / "test_ims.npy", arrays[::-1])
    features_key = features.visual_keys(setup(data_dir, visual_features="scan_arrays"), "mine")
    assert features_key != features.visual_keys(setup(data_dir), "mine")


def test_a_corpus_without_labels_has_no_category_level(data_dir):
    (data_dir / "mine" / "labels.csv").unlink()
    run = setup(data_dir)
    assert experiment.labels(run, "mine", "test", required=False) is None
    with pytest.raises(InputError, match="corpus 'mine' has no labels"):
        experiment.labels(run, "mine", "test")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"visual_features": "vgg"}, "visual_features is 'vgg'; expected one of backbone, scan_arrays"),
        ({"visual_features": "scan_arrays"}, "scan_arrays has no file train_ims.npy"),
        ({"image_size": 64}, "brought to 64 x 64 pixels and the backbone reads 96 x 96; set image_size=96"),
    ],
)
def test_wrong_settings_are_one_sentence(data_dir, changed, said):
    with pytest.raises(InputError, match=said) as error:
        experiment.visual(setup(data_dir, **changed), "mine", "test")
    assert "\n" not in str(error.value)


def test_flickr30k_and_mscoco_say_what_is_missing(data_dir):
    run = fico_utils.setup("full", 0, str(data_dir.parent / "results"), data_dir=str(data_dir))
    for name in run["corpora"]:
        with pytest.raises(InputError, match=f"get it with `python -m fico_utils fetch {name}`"):
            experiment.corpus(run, name)


def test_every_profile_is_complete_and_says_only_what_differs_from_the_base():
    files = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in CONFIGS.glob("*.yaml")}
    base = files.pop("base")
    assert files.keys() == set(profile_names()) >= {"mini", "standard", "precomputed", "full"}
    for name, own in files.items():
        assert own["profile"] == name
        assert profile_settings(name) == base | own
        assert not [key for key, value in own.items() if key != "profile" and value == base[key]]
    assert profile_settings("mini") == base, "the notebooks' defaults are those of the base"
    assert base["corpora"] == ["picto_diverse", "picto_people"]  # mini asks for nothing that is fetched


@pytest.mark.parametrize(
    ("line", "sentence"),
    [("sede: 1", "has a parameter 'sede', which"), ("threads: many", "parameter threads was given 'many'")],
)
def test_a_profile_with_a_slip_is_refused(tmp_path, monkeypatch, line, sentence):
    (tmp_path / "base.yaml").write_text((CONFIGS / "base.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "own.yaml").write_text(f"profile: own\n{line}\n", encoding="utf-8")
    monkeypatch.setattr(profiles, "CONFIGS", tmp_path)
    with pytest.raises(InputError, match=sentence):
        profile_settings("own")
