"""Storage accounts against the arrays' own bytes and the paper's Table 5."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

import fico_utils
from fico_utils.costs.storage import PAPER_SCALE, per_item, storage_rows, stored
from fico_utils.errors import InputError

PAPER = Path(fico_utils.__file__).parent / "results" / "paper" / "table5_storage.csv"


def values(rows, n_img):
    return {r["quantity"]: (r["value"], r["status"]) for r in rows if r["scale_img"] == n_img}


def test_stored_is_the_sum_of_nbytes():
    a, b = np.zeros((3, 5), np.float64), np.zeros(7, np.uint8)
    assert stored(a) == 120
    assert stored([a, b]) == stored({"a": a, "b": b}) == 127


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


def test_features_are_counted_from_all_their_arrays():
    img, txt = np.zeros((2, 8), np.float32), np.zeros((10, 8), np.float32)
    regions = np.zeros((2, 36, 16), np.float32)
    words, lengths = np.zeros((10, 12, 16), np.float32), np.zeros(10, np.int64)
    rows = storage_rows(img, txt, features_img=regions, features_txt=[words, lengths], scales=[(4, 20)])
    assert values(rows, 2)["feature_bytes"] == (regions.nbytes + words.nbytes + lengths.nbytes, "ok")
    assert values(rows, 4)["feature_bytes"][0] == 2 * values(rows, 2)["feature_bytes"][0]


def test_what_cannot_be_counted_is_refused():
    with pytest.raises(InputError, match=r"expected \(n, d\) with at least one row"):
        per_item(np.zeros((0, 4)))
    with pytest.raises(InputError, match=r"expected \(n, d\)"):
        per_item(np.zeros(4))
    with pytest.raises(InputError, match="expected 64 elements, or 8 bytes of uint8"):
        per_item(np.zeros((3, 32), np.int8), bits=64)
    with pytest.raises(InputError, match="expected the same items"):
        storage_rows(np.zeros((2, 4)), np.zeros((10, 4)), features_img=np.zeros((3, 36, 4)))
