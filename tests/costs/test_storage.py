"""Storage accounts against the arrays' own bytes and the paper's Table 5."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

import fico_utils
from fico_utils import registry
from fico_utils.costs.storage import (
    PAPER_SCALE,
    bytes_per_item,
    code_bits,
    index_on_top,
    storage_rows,
    stored_sample,
)
from fico_utils.models.blip2 import Blip2, Blip2Config
from fico_utils.models.scan import Scan, ScanConfig
from fico_utils.models.ucch import Ucch, UcchConfig
from fico_utils.models.vsrn import Vsrn, VsrnConfig

PAPER = Path(fico_utils.__file__).parent / "results" / "paper" / "table5_storage.csv"


def values(rows, n_img):
    return {r["quantity"]: (r["value"], r["status"]) for r in rows if r["scale_img"] == n_img}


def test_real_embeddings_take_their_own_bytes_and_have_no_packed_form():
    img, txt = np.zeros((10, 256), np.float32), np.zeros((50, 256), np.float32)
    own = values(storage_rows(img, txt), 10)
    assert own["embedding_bytes"] == (img.nbytes + txt.nbytes, "ok")
    assert own["paper_bytes"] == own["embedding_bytes"]
    assert own["packed_bytes"] == (None, "undefined")
    assert own["feature_bytes"] == (None, "unavailable")


@pytest.mark.parametrize("bits", [64, 2048, 12])
def test_packed_and_unpacked_codes_give_the_same_accounts(bits):
    rng = np.random.default_rng(0)
    loose = [rng.choice(np.array([-1, 1], np.int8), (n, bits)) for n in (4, 20)]
    packed = [np.packbits(c > 0, axis=1) for c in loose]
    one, two = (values(storage_rows(*codes, bits=bits), 4) for codes in (loose, packed))
    assert one["paper_bytes"] == two["paper_bytes"] == (24 * bits, "ok")
    assert one["packed_bytes"] == two["packed_bytes"] == (sum(p.nbytes for p in packed), "ok")
    assert one["embedding_bytes"] == (24 * bits, "ok")
    assert two["embedding_bytes"] == two["packed_bytes"]


@pytest.mark.parametrize(
    ("name", "width", "dtype", "bits"),
    [
        ("UCCH", 64, np.int8, 64),
        ("DADH", 64, np.int8, 64),
        ("BLIP-2", 256, np.float32, None),
        ("BEIT-3", 768, np.float32, None),
        ("SCAN", 1024, np.float64, None),
        ("VSRN", 2048, np.float64, None),
    ],
)
def test_the_papers_embedding_column_follows_from_arrays_of_its_shapes(name, width, dtype, bits):
    with PAPER.open(encoding="utf-8") as file:
        printed = next(float(r["embedding_gib"]) for r in csv.DictReader(file) if r["system"] == name)
    rows = storage_rows(np.zeros((2, width), dtype), np.zeros((10, width), dtype), bits=bits)
    value, status = values(rows, PAPER_SCALE[0])["paper_bytes"]
    assert value / 2**30 == pytest.approx(printed, abs=0.06)
    assert status == "extrapolated"


def test_sixty_four_bits_packed_take_an_eighth_of_what_the_paper_counts():
    codes = np.ones((5, 64), np.int8)
    at_scale = values(storage_rows(codes, codes, bits=64), PAPER_SCALE[0])
    assert at_scale["paper_bytes"][0] / 2**30 == pytest.approx(0.3576, abs=1e-4)
    assert at_scale["packed_bytes"][0] == 48_000_000 == at_scale["paper_bytes"][0] / 8


def test_features_are_counted():
    img, txt = np.zeros((2, 8), np.float32), np.zeros((10, 8), np.float32)
    regions = np.zeros((2, 36, 16), np.float32)
    words = np.zeros((10, 12, 16), np.float32)
    rows = storage_rows(img, txt, features_img=regions, features_txt=words, scales=[(4, 20)])
    assert values(rows, 2)["feature_bytes"] == (regions.nbytes + words.nbytes, "ok")
    assert values(rows, 4)["feature_bytes"][0] == 2 * values(rows, 2)["feature_bytes"][0]


def test_several_embeddings_an_item_are_counted():
    img, txt = np.zeros((2, 32, 256), np.float32), np.zeros((10, 256), np.float32)
    assert values(storage_rows(img, txt), 2)["embedding_bytes"] == (img.nbytes + txt.nbytes, "ok")


@pytest.fixture(scope="module")
def read() -> dict[str, np.ndarray]:
    """What the small systems below read: 8 images, 40 captions of at most 7 tokens."""
    rng = np.random.default_rng(0)
    return {
        "image": rng.standard_normal((8, 36, 6)).astype(np.float32),
        "global": rng.standard_normal((8, 12)).astype(np.float32),
        "tokens": rng.integers(4, 30, (40, 7)),
        "doc2vec": rng.standard_normal((40, 5)).astype(np.float32),
    }


MODELS = {
    "scan": lambda: Scan(ScanConfig(6, 30, d=8, d_word=4)),
    "vsrn": lambda: Vsrn(VsrnConfig(6, 30, d=8)),
    "ucch": lambda: Ucch(UcchConfig(12, 5, 10, hidden=8, n_keys=4)),
    "blip2": lambda: Blip2(Blip2Config(6, 30, width=16, heads=2, n_queries=3, d_embed=8)),
    "blip2_nf": lambda: Blip2(Blip2Config(6, 30, width=16, heads=2, n_queries=3, d_embed=8)),
}


@pytest.mark.parametrize(
    ("system", "image", "text", "feature"),
    [
        ("vsrn", 4 * 8, 4 * 8, None),
        ("ucch", 8, 8, None),
        ("scan", 0, 0, (4 * 36 * 8, 4 * 7 * 8)),  # fragments alone: regions and words
        ("blip2_nf", 4 * 3 * 8, 4 * 8, None),  # one embedding a query of the Q-Former
        ("blip2", 4 * 3 * 8, 4 * 8, (4 * 37 * 16, 8 * 7)),  # and what the fusion head reads: states, token ids
    ],
)
def test_what_a_system_writes_is_what_is_counted(read, system, image, text, feature):
    torch.manual_seed(0)
    model = MODELS[system]()
    images = read["global"] if system == "ucch" else read["image"]
    kept = registry.system(system).serving.encode(model.eval(), images[:6], read[model.text_input][:30])
    sample = stored_sample(system, *kept)
    rows = values(storage_rows(**sample, bits=code_bits(system, sample["img_emb"]), scales=[(1000, 5000)]), 1000)
    assert rows["embedding_bytes"][0] == 1000 * image + 5000 * text
    assert rows["feature_bytes"][0] == (None if feature is None else 1000 * feature[0] + 5000 * feature[1])
    assert rows["paper_bytes"][0] == (6000 * 64 if system == "ucch" else 1000 * image + 5000 * text)


def test_an_index_adds_a_graph_or_ids():
    rng = np.random.default_rng(0)
    vectors, codes = rng.standard_normal((500, 32)).astype(np.float32), rng.integers(0, 256, (500, 8)).astype(np.uint8)
    graph = index_on_top(vectors)
    assert 4 * 64 < graph < 4 * 64 + 40  # 2 M links of 4 bytes, a few on higher levels
    assert index_on_top(codes, 64) == 8  # an id
    assert index_on_top(np.stack([vectors, vectors], 1)) == pytest.approx(2 * graph, rel=0.05)
    assert index_on_top(np.empty((5, 0))) == 0
    rows = storage_rows(vectors[:2], vectors[:10], index=(graph, graph), scales=[(100, 500)])
    assert values(rows, 100)["index_bytes"] == (round(600 * graph), "extrapolated")


@pytest.mark.parametrize(
    ("array", "bits"),
    [
        (np.zeros((0, 4)), None),
        (np.zeros(4), None),
        (np.zeros((4, 2, 64), np.int8), 64),
        (np.zeros((3, 32), np.int8), 64),
    ],
)
def test_what_cannot_be_counted_is_not(array, bits):
    with pytest.raises(AssertionError):
        bytes_per_item(array, bits=bits)


def test_features_belong_to_the_embeddings():
    with pytest.raises(AssertionError, match="of other items"):
        storage_rows(np.zeros((2, 4)), np.zeros((10, 4)), features_img=np.zeros((3, 36, 4)))
