"""A pretrained encoder over a corpus, as a row of the configuration: from files to what `evaluate` takes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from fico_utils import registry
from fico_utils.artifacts import Store
from fico_utils.errors import InputError
from fico_utils.evaluation import evaluate
from fico_utils.extras.corpora.pictures import FileImages
from fico_utils.extras.pretrained import embedding as pretrained_corpus
from fico_utils.extras.pretrained import encoders as pretrained
from fico_utils.extras.pretrained.batches import Effort
from fico_utils.models import encoding
from fico_utils.workspace import Run
from tests.models import tiny


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    root = tmp_path_factory.mktemp("checkpoints")
    return {kind: str(tiny.save(root / kind, kind)) for kind in ("clip", "blip", "blip-2")}


@pytest.fixture(scope="module")
def corpus():
    return tiny.corpus(n=9)


@pytest.fixture(autouse=True)
def forget_rows():
    yield
    registry.use_rows({}, "no folder")
    pretrained_corpus._loaded.cache_clear()


def embed(model, corpus, root, name="x", **options):
    inputs, effort = model.inputs(corpus), Effort(progress=False)
    return pretrained_corpus.embed_inputs(model, inputs, Store(root), name, effort=effort, **options)


def make_run(tmp_path, **rows):
    registry.use_rows({"pretrained": rows}, tmp_path)
    return Run("mini", 0, tmp_path, {"pretrained": rows, "rerank_depth": 3, "threads": 1})


def test_streamed_embeddings_are_those_of_encode(checkpoints, corpus, tmp_path):
    for kind, path in checkpoints.items():
        model = pretrained.load_encoder(path, device="cpu")
        got = embed(model, corpus, tmp_path, kind)
        expected = encoding.encode(model, model.inputs(corpus))
        for side in ("img", "txt"):
            np.testing.assert_allclose(got[side], expected[side], atol=1e-5)


def test_a_killed_run_encodes_no_finished_unit_again(checkpoints, corpus, tmp_path, monkeypatch):
    """Calls of the network itself are counted."""
    monkeypatch.setattr(pretrained_corpus, "LARGEST_CPU", 2)
    model = pretrained.load_encoder(checkpoints["clip"], device="cpu")
    calls, stop = {"image": [], "text": []}, [3]
    for name in calls:
        real = getattr(model.network, f"get_{name}_features")

        def counted(*args, real=real, name=name, **kwargs):
            if name == "image" and len(calls["image"]) == stop[0]:
                raise KeyboardInterrupt
            calls[name].append(len(next(iter(kwargs.values()))))
            return real(*args, **kwargs)

        monkeypatch.setattr(model.network, f"get_{name}_features", counted)
    with pytest.raises(KeyboardInterrupt):
        embed(model, corpus, tmp_path, unit=4)
    assert calls == {"image": [2, 2, 2], "text": []}
    calls["image"].clear()
    stop[0] = None
    got = embed(model, corpus, tmp_path, unit=4)
    assert calls["image"] == [2, 2, 1]  # the first unit of four was done
    assert sum(calls["text"]) == corpus.n_txt
    expected = encoding.encode(model, model.inputs(corpus))
    np.testing.assert_allclose(got["img"], expected["img"], atol=1e-5)
    np.testing.assert_allclose(got["txt"], expected["txt"], atol=1e-5)
    assert len(list((tmp_path / "embeddings").iterdir())) == 1  # its units are gone


def test_the_key_covers_model_corpus_precision_and_files(checkpoints, corpus, tmp_path):
    model = pretrained.load_encoder(checkpoints["clip"], device="cpu")
    half = pretrained.load_encoder(checkpoints["clip"], dtype="float16", device="cpu")
    assert embed(model, corpus, tmp_path)["img"].dtype == np.float32
    assert embed(half, corpus, tmp_path)["img"].dtype == np.float16
    embed(model, tiny.corpus(n=9, seed=1), tmp_path)
    assert len(list((tmp_path / "embeddings").iterdir())) == 3
    embed(model, corpus, tmp_path)
    assert len(list((tmp_path / "embeddings").iterdir())) == 3
    with pytest.raises(InputError, match="cannot be stored as 'bfloat16'"):
        embed(model, corpus, tmp_path, dtype="bfloat16")


def test_pictures_in_files_are_read_in_their_own_size(checkpoints, tmp_path):
    rng = np.random.default_rng(0)
    paths = []
    for i, size in enumerate([(30, 20), (16, 16), (50, 41)]):
        paths.append(str(tmp_path / f"{i}.png"))
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(paths[-1])
    images = FileImages(paths, size=8)  # squares this small would lose what the encoder can see
    files = tiny.from_lists(
        "files", list("abc"), [["a cat"], ["a dog"], ["the sun"]], images, split=["val", "test", "test"]
    )
    model = pretrained.load_encoder(checkpoints["clip"], device="cpu")
    part = files.subset("test")
    got = embed(model, part, tmp_path)
    cut = model.preparation.cut([Image.open(path).convert("RGB") for path in paths[1:]])
    np.testing.assert_allclose(got["img"], model.encode_image(torch.from_numpy(cut)), atol=1e-5)
    before = got["img"].copy()
    Image.fromarray(rng.integers(0, 256, (30, 30, 3), dtype=np.uint8)).save(paths[2])
    fresh = tiny.from_lists("files", list("abc"), [["a cat"], ["a dog"], ["the sun"]], FileImages(paths, size=8),
                       split=["val", "test", "test"])  # fmt: skip
    after = embed(model, fresh.subset("test"), tmp_path)["img"]
    np.testing.assert_allclose(after[0], before[0], atol=1e-6)
    assert not np.allclose(after[1], before[1], atol=1e-3)


def test_rows_of_a_configuration_are_served(checkpoints, corpus, tmp_path):
    run = make_run(
        tmp_path,
        my_clip={"path": checkpoints["clip"], "name": "CLIP toy", "device": "cpu"},
        blip={"path": checkpoints["blip"], "measure": "rerank", "device": "cpu"},
        blip2_toy={"path": checkpoints["blip-2"], "measure": "rerank", "device": "cpu"},
        blip2_toy_nf={"weights": "blip2_toy", "measure": "late"},
    )
    stored = {row: pretrained_corpus.PretrainedRows(run, row).embeddings(corpus, "test") for row in run["pretrained"]}
    clip = stored["my_clip"]
    table = evaluate(clip["img"], clip["txt"], caption_image=corpus.caption_image, recall_at=(1, 9))
    assert table.query("metric == 'recall' and k == '9' and direction == 't2i'")["value"].item() == 1.0
    for row in ("blip", "blip2_toy"):
        for matrix in stored[row].values():
            assert (np.isfinite(matrix).sum(1) == 3).all()
        model = pretrained_corpus.model_of(run["pretrained"], row)
        inputs = model.inputs(corpus)
        sim = encoding.late_scores(model, **encoding.encode(model, inputs))
        for name, expected in encoding.rerank(model, inputs, sim, 3, progress=False).items():
            np.testing.assert_allclose(stored[row][name], expected, atol=1e-4)
    np.testing.assert_allclose(stored["blip2_toy_nf"]["sim_i2t"], sim, atol=1e-5)
    names = {p.name.split("__s0__")[0] for p in (tmp_path / "embeddings").iterdir()}
    assert names == {
        "my_clip__noise__test", "blip__noise__test", "blip__noise__test__scores",
        "blip2_toy__noise__test", "blip2_toy__noise__test__scores",
        "blip2_toy_nf__noise__test__scores",
    }  # fmt: skip


def test_a_measure_that_the_encoder_has_not(checkpoints, tmp_path):
    for kind, measure, said in (
        ("clip", "rerank", "compared by cosine"),
        ("blip-2", "cosine", "compared by late or rerank"),
    ):
        run = make_run(tmp_path, row={"path": checkpoints[kind], "measure": measure, "device": "cpu"})
        with pytest.raises(InputError, match=said):
            pretrained_corpus.model_of(run["pretrained"], "row")
    with pytest.raises(InputError, match="is no pretrained one"):
        pretrained_corpus.model_of({}, "scan")


def test_batches_follow_the_memory(checkpoints):
    model = pretrained.load_encoder(checkpoints["clip"], device="cpu")
    sizes = [pretrained_corpus.batch_size(model, "image", mib) for mib in (1, 2, 10_000)]
    assert 1 <= sizes[0] <= sizes[1] <= sizes[2] == pretrained_corpus.LARGEST_CPU
    # 5 tokens of 16 numbers, 24 in the wide layer, 2 heads
    assert sizes[0] == min(pretrained_corpus.LARGEST_CPU, 2**20 // (4 * (5 * (6 * 16 + 2 * 24) + 5 * 5 * 2)))
    with pytest.raises(InputError, match="memory_mib is -1"):
        pretrained_corpus.batch_size(model, "text", -1)


def test_weights_that_are_nan_name_the_row(checkpoints, corpus, tmp_path):
    model = pretrained.load_encoder(checkpoints["clip"], device="cpu")
    with torch.no_grad():
        model.network.visual_projection.weight[0, 0] = float("nan")
    with pytest.raises(InputError, match="img, row 0: what was encoded is NaN or infinite"):
        embed(model, corpus, tmp_path)


def test_the_depth_of_a_rerank(checkpoints, corpus, tmp_path):
    model = pretrained.load_encoder(checkpoints["blip"], device="cpu")
    embedded = encoding.encode(model, model.inputs(corpus))
    with pytest.raises(InputError, match="depth of the rerank is 0"):
        pretrained_corpus.score_corpus(
            model, corpus, "rerank", embedded, Store(tmp_path), "x", effort=Effort(), depth=0
        )
