"""Load it or make it, on a toy corpus: what is trained, what is loaded, what ships."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import fico_utils
from fico_utils import experiment, registry
from fico_utils.errors import InputError
from fico_utils.evaluation import evaluate
from fico_utils.experiment import systems, weights
from fico_utils.extras.shipping import ship
from fico_utils.files import content_digest
from fico_utils.models import encoding, training
from tests.faults.content import flip_bit

NAME = "picto_diverse"
TOY = {
    "corpora": [NAME],
    "systems": ["beit3", "scan", "ucch"],
    "n_train": {NAME: 60},
    "n_val": {NAME: 10},
    "n_test": {NAME: 20},
    "backbones": {kind: {"scenes": 60, "epochs": 1} for kind in ("regions", "patches")},
    "live_backbones": ["regions", "patches"],
    "doc2vec_epochs": 1,
    "epochs": {"query2label": 1, "beit3": 1, "scan": 1, "ucch": 2},
    "sizes": {"beit3": {"width": 16, "heads": 2}, "scan": {"d": 8}, "ucch": {"hidden": 16, "bits": 16}},
}


def setup(folder, **changed):
    return fico_utils.setup("mini", 0, str(folder), **{**TOY, **changed})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run that trained everything, with nothing shipped."""
    run = setup(tmp_path_factory.mktemp("trained"))
    experiment.backbone(run, live=True)
    experiment.doc2vec_weights(run, live=True)
    experiment.label_generator(run, live=True)
    for system in TOY["systems"]:
        experiment.train(run, system, NAME)
    return run


@pytest.fixture
def shipped(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "SHIPPED", tmp_path / "weights")
    return ship(trained)


def no_training(*_, **__):
    raise AssertionError("nothing should be trained here")


def test_a_profile_gives_vision_language_systems_more_scenes(trained, tmp_path, monkeypatch):
    run = replace(trained, root=tmp_path, settings=trained.settings | {"n_train_vlp": {NAME: 150}})
    assert [len(systems.inputs(run, s, NAME, "train").caption_image) for s in ("beit3", "scan")] == [750, 300]
    few = systems.inputs(trained, "beit3", NAME, "train")
    more = systems.inputs(run, "beit3", NAME, "train")
    assert np.array_equal(more.image["patches"][:60], few.image["patches"])
    length = few.text["tokens"].shape[1]
    assert np.array_equal(more.text["tokens"][:300, :length], few.text["tokens"]), "one vocabulary, of the corpus"
    assert systems.weights_recipe(run, "scan", NAME)[1] == systems.weights_recipe(trained, "scan", NAME)[1]
    assert systems.weights_recipe(run, "beit3", NAME)[1] != systems.weights_recipe(trained, "beit3", NAME)[1]
    shown = []
    monkeypatch.setattr(training, "fit", lambda model, data, **given: shown.append(given["images"]) or [])
    experiment.train(run, "beit3", NAME)
    assert shown == [60], "an epoch is as long as that of the others"


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({NAME: 59}, "n_train_vlp was given 59 scenes of picto_diverse; expected at least the 60 of n_train"),
        ({"openclipart": 500}, "n_train_vlp was given 500 scenes of openclipart; expected a drawn corpus"),
    ],
)
def test_more_scenes_are_those_of_a_drawn_corpus(trained, more, sentence):
    run = replace(trained, settings=trained.settings | {"n_train_vlp": more})
    with pytest.raises(InputError, match=sentence):
        systems.inputs(run, "beit3", next(iter(more)), "train")


@pytest.mark.parametrize("system", TOY["systems"])
def test_embeddings_can_be_scored_as_they_are_stored(trained, system):
    stored = experiment.embed(trained, system, NAME)
    part = experiment.corpus(trained, NAME).subset("test")
    if registry.system(system).measure == "attention":
        assert stored["sim_i2t"].shape == (part.n_img, part.n_txt)
    else:
        assert [len(stored["img"]), len(stored["txt"])] == [part.n_img, part.n_txt]
        assert stored["img"].shape[1] == (2 if system == "ucch" else 16)
    table = evaluate(**experiment.comparable(system, stored), caption_image=part.caption_image, labels=part.labels)
    assert table.value.between(0, 1)[table.metric.isin(["recall", "map"])].all()


def test_a_fusion_system_is_chosen_by_what_it_reranked_once_its_head_learns(trained):
    small = {"width": 16, "heads": 2, "d_embed": 8, "fusion_epoch": 1}
    run = replace(trained, settings=trained.settings | {"sizes": {"xvlm": small}, "rerank_depth": 3})
    model, data = systems.new_model(run, "xvlm", NAME).eval(), systems.inputs(run, "xvlm", NAME, "val")
    score, scores = systems.validation(run, "xvlm", NAME), []
    sim = encoding.late_scores(model, **encoding.encode(model, data))
    fused = encoding.rerank(model, data, sim, 3, progress=False)
    for epoch, matrices in enumerate(({"sim_i2t": sim}, fused)):
        model.start_epoch(epoch)
        found = evaluate(
            **experiment.comparable("xvlm", matrices), caption_image=data.caption_image, recall_at=(1, 5, 10)
        )
        scores.append(score(model))
        # a depth of 3 leaves R@5 and R@10 undefined: the mean is of what is there
        assert scores[-1] == pytest.approx(found.value[found.metric == "recall"].mean())
    assert scores[0] != scores[1]


def test_what_is_there_is_loaded(trained, monkeypatch):
    before = {s: experiment.embed(trained, s, NAME) for s in TOY["systems"]}
    monkeypatch.setattr(training, "fit", no_training)
    monkeypatch.setattr(encoding, "encode", no_training)
    for system, arrays in before.items():
        for name, array in experiment.embed(trained, system, NAME).items():
            assert np.array_equal(array, arrays[name])


def test_a_raised_version_makes_embeddings_anew_though_the_weights_are_the_same(trained, monkeypatch):
    """As an encoding may change in a way that training does not see."""
    served = experiment.serve(trained, "scan", NAME)
    served.embeddings()
    before = trained.store.files("embeddings")
    monkeypatch.setattr(systems, "version_of", lambda system: {"scan": 2}[system])
    served.embeddings()
    after = trained.store.files("embeddings")
    assert len(after) == len(before) + 1


def test_what_ships_serves_a_run_that_asks_for_it_whatever_was_trained(trained, shipped, tmp_path):
    """So that the figure of notebook 00 is the same before and after the notebooks that train."""
    for run in (trained, setup(tmp_path)):
        served = experiment.serve(run, "ucch", NAME, shipped=True)
        assert (served.origin, served.weights.path) == ("shipped", weights.SHIPPED / f"mini/ucch__{NAME}.safetensors")
    assert experiment.serve(trained, "ucch", NAME).origin == "trained"


def test_a_changed_shipped_file_stops_whoever_asks_for_it(shipped, tmp_path, monkeypatch):
    """Nothing is trained in its place, which would take hours."""
    monkeypatch.setattr(training, "fit", no_training)
    flip_bit(weights.SHIPPED / f"mini/ucch__{NAME}.safetensors", -1)
    with pytest.raises(InputError, match="does not serve; restore it with: git checkout"):
        experiment.embed(setup(tmp_path), "ucch", NAME)


def test_shipped_weights_serve_where_nothing_was_trained(trained, shipped, tmp_path, monkeypatch, capsys):
    run = setup(tmp_path)
    monkeypatch.setattr(training, "fit", no_training)
    for system in TOY["systems"]:
        there, here = (experiment.embed(r, system, NAME) for r in (trained, run))
        assert all(np.allclose(there[n], here[n], atol=1e-5) for n in there)
        assert experiment.weights_origin(run, system, NAME) == "shipped"
        assert experiment.weights_origin(trained, system, NAME) == "trained"
    assert "trained now" not in capsys.readouterr().out


def test_a_backbone_of_ones_own_never_meets_a_shipped_system(trained, shipped, tmp_path, monkeypatch):
    run = setup(tmp_path)
    from fico_utils.data import features

    train = features.train_backbone

    def other_backbone(*arguments, **options):
        model, log = train(*arguments, **{**options, "lr": 1e-3})
        return model, log

    monkeypatch.setattr(features, "train_backbone", other_backbone)
    own = experiment.backbone_weights(run, live=True)
    monkeypatch.setattr(training, "fit", no_training)
    served = experiment.serve(run, "scan", NAME)
    assert (served.origin, served.run.shipped) == ("shipped", "mini")
    assert experiment.backbone_weights(run).digest == own.digest
    assert experiment.backbone_weights(served.run).digest == experiment.backbone_weights(trained).digest != own.digest
    here, there = (experiment.embed(r, "scan", NAME)["sim_i2t"] for r in (run, trained))
    assert np.allclose(here, there, atol=1e-5)


def test_seeds_lie_side_by_side(trained, tmp_path):
    """Another seed of the same profile in the same folder overwrites nothing."""
    other = replace(trained, root=tmp_path, seed=1)
    first = replace(trained, root=tmp_path)
    for run in (first, other):
        experiment.backbone_weights(run, live=True)
    assert sorted(p.name.split("__")[1] for p in first.store.files("models")) == ["s0", "s1"]


def test_other_settings_are_not_served_by_what_ships(shipped, tmp_path):
    run = setup(tmp_path, epochs={**TOY["epochs"], "ucch": 1})
    experiment.embed(run, "ucch", NAME)
    assert experiment.weights_origin(run, "ucch", NAME) == "trained"


def test_training_twice_gives_the_same_weights(trained, tmp_path):
    again = setup(tmp_path)
    experiment.backbone(again, live=True)
    experiment.train(again, "scan", NAME)
    first, second = (experiment.serve(run, "scan", NAME).weights for run in (trained, again))
    assert first.path.name == second.path.name
    assert first.digest == second.digest


def test_shipping_what_was_not_trained_is_refused(tmp_path):
    with pytest.raises(InputError, match="was not trained in this run"):
        ship(setup(tmp_path))


def test_a_corpus_without_sizes_and_a_size_without_meaning_are_refused(tmp_path):
    with pytest.raises(InputError, match="gives no size for corpus 'picto_people'"):
        experiment.corpus(setup(tmp_path), "picto_people")
    with pytest.raises(InputError, match="sizes of scan name 'depth'"):
        experiment.new_model(setup(tmp_path, sizes={"scan": {"depth": 2}}), "scan", NAME)


def test_a_system_without_epochs_is_not_trained_by_its_own_name(tmp_path):
    with pytest.raises(InputError, match="profile mini gives no epochs for 'xvlm'"):
        experiment.train(setup(tmp_path), "xvlm", NAME)


def test_what_ships_fits_the_mini_profile(tmp_path):
    run = fico_utils.setup("mini", 0, str(tmp_path))
    for system in run["systems"]:
        for name in run["corpora"]:
            served = experiment.serve(run, system, name)
            assert served.origin == "shipped", (system, name)
            live = registry.system(system).trained in run["epochs"]
            assert served.run.profile == ("mini" if live else "standard"), (system, name)


@pytest.mark.parametrize("profile", ["mini", "standard"])
def test_every_shipped_file_has_the_recipe_of_its_profile(profile, tmp_path):
    run = systems.shipping_run(fico_utils.setup("mini", 0, str(tmp_path)), profile)
    for path in sorted((weights.SHIPPED / profile).glob("*__picto_*.safetensors")):
        system, _, name = path.stem.partition("__")
        file, recipe, model = systems.weights_recipe(run, system, name)
        ready = weights.find_weights(run, file, recipe)
        assert ready is not None, f"{path} is not what {profile} would train"
        assert ready.path == path
        ready.load_into(model)


def test_the_labels_that_ship_judge_every_machine_alike(tmp_path, monkeypatch):
    run = fico_utils.setup("mini", 0, str(tmp_path))
    monkeypatch.setattr(training, "fit", no_training)
    given = experiment.labels(run, "picto_people", "test")
    assert given.shape == (1000, 64)
    assert content_digest({"labels": given})[:16] == "79c9d0cf69b3aa3e"
    with pytest.raises(InputError, match=r"labels of picto_people ship for 1000 test, .*, and 1001 of test"):
        experiment.labels(
            replace(run, settings=run.settings | {"n_test": {"picto_people": 1001}}), "picto_people", "test"
        )
