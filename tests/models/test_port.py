"""What a port of these systems gets wrong first, where no other test looks: padding, memories, codes, averages."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fico_utils.evaluation import evaluate
from fico_utils.evaluation.similarity import CodeScores
from fico_utils.models import encoding
from fico_utils.models.beit3 import Beit3, Beit3Config
from fico_utils.models.losses import hard_negatives, hinge_loss, soft_contrastive
from fico_utils.models.scan import Scan, ScanConfig
from fico_utils.models.ucch import Ucch, UcchConfig

B, R, D, L, WORDS, BITS = 6, 9, 12, 8, 30, 16
IMAGE = torch.tensor([0, 0, 1, 2, 3, 4])


def batch() -> dict[str, torch.Tensor]:
    """Six pairs, captions of 1 to 8 words, pairs 0 and 1 of the same image."""
    g = torch.Generator().manual_seed(0)
    tokens = torch.randint(4, WORDS, (B, L), generator=g)
    for row, length in enumerate((8, 5, 1, 7, 4, 6)):
        tokens[row, length:] = 0
    return {
        "regions": torch.randn(5, R, D, generator=g)[IMAGE],
        "patches": torch.randn(5, R, D, generator=g)[IMAGE],
        "global": torch.randn(5, D, generator=g)[IMAGE],
        "tokens": tokens,
        "doc2vec": torch.randn(B, 10, generator=g),
        "image": IMAGE,
    }


def make(name: str, **over):
    torch.manual_seed(0)
    if name == "scan":
        return Scan(ScanConfig(D, WORDS, d=8, d_word=6, **over))
    if name == "beit3":
        return Beit3(Beit3Config(D, WORDS, n_patches=R, max_words=L, width=16, heads=2, dropout=0.0, **over))
    return Ucch(UcchConfig(D, 10, **{"n_images": 5, "bits": BITS, "hidden": 20, "n_keys": 7} | over))


# ------------------------------------------------------------------------------------------ SCAN's padding


@pytest.mark.parametrize("attention", ["t2i", "i2t"])
@pytest.mark.parametrize("pooling", ["mean", "lse"])
def test_scan_with_pads_has_the_scores_and_finite_gradients_of_captions_without(attention, pooling):
    """An all-zero row, which every pad word is where words are the context, has no gradient of a norm."""
    model, data = make("scan", attention=attention, pooling=pooling).double(), batch()
    regions = model.encode_image(data["regions"].double())
    alone = torch.cat([model.similarity(regions, model.encode_text(row[row != 0][None])) for row in data["tokens"]], 1)
    alone.sum().backward(retain_graph=True)
    expected = {n: p.grad.clone() for n, p in model.named_parameters()}
    model.zero_grad()
    scores = model.similarity(regions, model.encode_text(F.pad(data["tokens"], (0, 5))))
    assert torch.allclose(scores, alone, atol=1e-6)
    scores.sum().backward()
    for name, parameter in model.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert torch.allclose(parameter.grad, expected[name], atol=1e-6), name


# ------------------------------------------------------------------------------------- captions of one image


@pytest.mark.parametrize(
    ("name", "term", "least"), [("scan", "loss", 0.0), ("beit3", "loss", 0.0), ("ucch", "ranking", 2 * 0.2)]
)
def test_captions_of_one_image_are_negatives_only_in_the_original(name, term, least):
    """Pairs 0 and 1 show one image: without a negative each loss is at its least (UCCH's: both margins)."""
    one = {n: t[:2] for n, t in batch().items()}
    ours, theirs = (make(name, original=original).eval() for original in (False, True))
    for model in (ours, theirs):
        model.start_epoch(1)
    assert ours.loss(one)[term].item() == pytest.approx(least, abs=1e-5)
    assert theirs.loss(one)[term].item() > least + 0.01


def test_hinge_is_a_sum_over_the_batch():
    scores = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    far = torch.full((8, 8), -100.0)  # two batches that are no negatives of each other
    far[:4, :4] = far[4:, 4:] = scores
    assert hinge_loss(far, None).item() == pytest.approx(2 * hinge_loss(scores, None).item(), rel=1e-5)


def test_itc_with_copies_of_one_image_has_uniform_targets():
    """The gradient is softmax - target: on uniform logits it vanishes for uniform targets alone."""
    image = torch.tensor([0, 0, 0, 1])
    logits = torch.zeros(4, 4, requires_grad=True)
    soft_contrastive(logits, image).backward()
    target = torch.tensor([[1 / 3] * 3 + [0.0]] * 3 + [[0.0] * 3 + [1.0]])
    by_row, by_column = 0.25 - target, (0.25 - target).T
    assert torch.allclose(logits.grad, (by_row + by_column) / 2 / 4, atol=1e-6)
    assert torch.allclose(target.sum(1), torch.ones(4))


def test_itm_negatives_are_drawn_not_the_hardest():
    torch.manual_seed(0)
    logits = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    drawn = torch.stack([hard_negatives(logits, torch.arange(3))[0] for _ in range(2000)])
    share = (drawn[:, 0] == 1).float().mean().item()
    assert share == pytest.approx(np.e / (np.e + 1), abs=0.04)  # the softmax over the two that may be drawn


# -------------------------------------------------------------------------------------------- UCCH's memory


def test_ucch_memory_rows_are_unit_vectors_of_signs_at_the_start():
    memory = make("ucch", n_images=2000).memory
    assert torch.allclose(memory.norm(dim=1), torch.ones(2000), atol=1e-6)
    assert torch.allclose(memory.abs(), torch.full_like(memory, BITS**-0.5), atol=1e-6)
    assert (memory > 0).float().mean().item() == pytest.approx(0.3085, abs=0.01)  # P(z > 1/2)


def test_ucch_memory_moves_by_the_momentum_after_the_keys_were_read():
    model, data = make("ucch"), {n: t[1:] for n, t in batch().items()}  # every image once
    model.train().start_epoch(1)
    before = model.memory.clone()
    keys = []
    ask = model._keys
    model._keys = lambda *a: keys.append(ask(*a)) or keys[-1]
    model.loss(data)
    assert torch.equal(keys[0][:5], torch.where(before[data["image"]] >= 0, 1.0, -1.0))  # the old rows, by sign
    with torch.no_grad():
        fused = F.normalize((model.encode_image(data["global"]) + model.encode_text(data["doc2vec"])) / 2, dim=-1)
    expected = F.normalize(0.4 * before[data["image"]] + 0.6 * fused, dim=-1)
    assert torch.allclose(model.memory[data["image"]], expected, atol=1e-6)


def test_ucch_losses_are_those_of_the_definition():
    model, data = make("ucch").eval(), batch()
    model.start_epoch(1)
    torch.manual_seed(3)
    terms = model.loss(data)
    torch.manual_seed(3)
    image, text = model.encode_image(data["global"]), model.encode_text(data["doc2vec"])
    keys, scores = model._keys(image, text, data["image"]), image @ text.T
    memory, ranking = 0.0, 0.0
    for i in range(B):
        for codes in (image, text):
            logits = torch.stack([F.cosine_similarity(k, codes[i], dim=0) for k in (keys[i], *keys[B:])]) / 0.9
            memory = memory - logits.log_softmax(0)[0] / B
        for row in (scores[i], scores[:, i]):
            kept = [j for j in range(B) if j == i or IMAGE[j] != IMAGE[i]]
            shifted = torch.stack([row[j] if row[j] >= row[i] - 0.2 else row[j] - 0.1 for j in kept])
            ranking = ranking + (shifted.exp().sum().log() - row[i] + 0.2) / B
    assert terms["memory"].item() == pytest.approx(memory.item(), rel=1e-5)
    assert terms["ranking"].item() == pytest.approx(ranking.item(), rel=1e-5)
    assert terms["loss"].item() == pytest.approx(0.7 * memory.item() + 0.3 * ranking.item(), rel=1e-5)


# ------------------------------------------------------------------------------------------------- packing


@pytest.mark.parametrize("bits", [8, 64, 2048])
def test_popcount_of_packed_codes_is_the_hamming_distance_of_products(bits):
    rng = np.random.default_rng(0)
    image, text = (rng.standard_normal((n, bits)).astype(np.float32) for n in (5, 7))
    packed = [encoding.hash_codes(h) for h in (image, text)]
    assert [p.shape[1] for p in packed] == [bits // 8] * 2
    signs = [np.where(h >= 0, 1, -1) for h in (image, text)]
    assert np.array_equal(np.where(np.unpackbits(packed[0], axis=1), 1, -1), signs[0])
    distance = (bits - signs[0] @ signs[1].T) // 2
    assert np.array_equal(np.bitwise_count(packed[0][:, None] ^ packed[1][None]).sum(-1), distance)
    out = np.empty((5, 7), np.uint16)
    scores = CodeScores(*packed, bits=bits).rows("i2t", slice(0, 5), out)
    assert np.array_equal(scores, bits + 1 - distance)  # 0 is left for what is no item of a query


# ---------------------------------------------------------------------------------------- average precision


def precisions(relevant: np.ndarray) -> list[float]:
    """Precision at each relevant rank."""
    return [relevant[: i + 1].mean() for i in np.flatnonzero(relevant)]


def test_average_precisions_of_the_originals_agree_on_the_whole_ranking():
    """UCCH divides by the relevant found, DADH by min(k, relevant), FiCo-ITR by the relevant found: at k = N alike."""
    rng = np.random.default_rng(0)
    labels = (rng.random((20, 4)) < 0.4).astype(np.uint8)
    labels[np.arange(20), rng.integers(0, 4, 20)] = 1  # no query without a relevant item
    scores = rng.standard_normal((20, 20))
    shared = labels @ labels.T > 0
    ranked = np.take_along_axis(shared, np.argsort(-scores, axis=1), 1)
    ucch = np.mean([sum(precisions(r)) / r.sum() for r in ranked])
    dadh = np.mean([sum(precisions(r)[: min(20, r.sum())]) / min(20, r.sum()) for r in ranked])
    fico = np.mean([np.mean(precisions(r)) for r in ranked])
    table = evaluate(None, None, similarity=scores, caption_image=np.arange(20), labels=labels, map_at=(5, "N"))
    ours = table[(table.direction == "i2t") & (table.metric == "map")].set_index("k").value
    assert ucch == pytest.approx(dadh) == pytest.approx(fico)
    assert ours["N"] == pytest.approx(ucch, abs=1e-9)
    # cut off at 5 they part, and ours is FiCo-ITR's
    cut = ranked[:, :5]
    found = np.mean([np.mean(precisions(r)) if r.any() else 0.0 for r in cut])
    not_truncated = np.mean([sum(precisions(r)[: min(5, r.sum())]) / min(5, r.sum()) for r in ranked])
    assert ours["5"] == pytest.approx(found, abs=1e-9)
    assert abs(found - not_truncated) > 1e-3
