"""X-VLM: what its two stages must do, and the losses that it shares with BLIP-2."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from fico_utils.errors import InputError
from fico_utils.models.losses import hard_negatives, soft_contrastive
from fico_utils.models.vlp import PatchViT, widen_attention
from fico_utils.models.xvlm import Xvlm, XvlmConfig

B, R, D, L, WORDS = 6, 9, 12, 8, 30
IMAGE = torch.tensor([0, 0, 1, 2, 3, 4])  # pairs 0 and 1 show one image
FIRST = [0, 2, 3, 4, 5]  # captions that are matched: the first of each image


def batch(seed: int = 0) -> dict[str, torch.Tensor]:
    """Six pairs, captions of different lengths, none as long as the row."""
    g = torch.Generator().manual_seed(seed)
    tokens = torch.randint(4, WORDS, (B, L), generator=g)
    for row, length in enumerate((7, 5, 3, 7, 4, 6)):
        tokens[row, length:] = 0
    return {"patches": torch.randn(5, R, D, generator=g)[IMAGE], "tokens": tokens, "image": IMAGE}


def make(**over) -> Xvlm:
    torch.manual_seed(0)
    sizes = {"n_patches": R, "max_words": L + 4, "width": 16, "heads": 2, "d_embed": 8, "dropout": 0.0}
    return Xvlm(XvlmConfig(D, WORDS, **sizes | over))


@pytest.fixture(scope="module")
def model() -> Xvlm:
    return make().eval()


# ---------------------------------------------------------------------------------------------- training


def test_fusion_waits_for_the_encoders():
    model, data = make(fusion_epoch=2), batch()
    head = [n for n, _ in model.named_parameters() if n.startswith(("fusion.", "itm."))]
    for epoch, learns in ((0, False), (1, False), (2, True)):
        model.start_epoch(epoch)
        model.zero_grad(set_to_none=True)
        terms = model.loss(data)
        terms["loss"].backward()
        moved = {n for n, p in model.named_parameters() if p.grad is not None}
        assert moved.issuperset(head) if learns else moved.isdisjoint(head)
        assert terms["loss"].item() == pytest.approx((terms["itc"] + terms["itm"]).item())
        assert (terms["itm"] > 0) == learns


def test_captions_differ_from_the_start_where_attention_counts():
    model, data = make(width=64, d_embed=32), batch()

    def alike():
        with torch.no_grad():
            vectors = model.encode_text(data["tokens"])
        return (vectors @ vectors.T)[~torch.eye(B, dtype=torch.bool)].mean()

    heard = alike()
    widen_attention(model.text, 1 / 2.5)  # as these layers begin by themselves
    assert heard < alike()


def test_matching_fuses_each_pair_and_two_negatives_of_other_images(model, monkeypatch):
    data, fused = batch(), []
    fuse = model._fuse

    def spy(image, text):
        fused.append((image, text, fuse(image, text)))
        return fused[-1][2]

    monkeypatch.setattr(model, "_fuse", spy)
    itm = model.loss(data)["itm"]
    (image, text, logits), *again = fused
    assert again == []
    with torch.no_grad():
        images, texts = model.image_context(data["patches"]), model.text_context(data["tokens"])[:, : text.shape[1]]
    seen = torch.cdist(image.flatten(1), images.flatten(1)).argmin(1)
    read = torch.cdist(text.flatten(1), texts.flatten(1)).argmin(1)
    n = len(FIRST)
    assert IMAGE[seen[:n]].tolist() == IMAGE[FIRST].tolist()
    assert read[:n].tolist() == FIRST
    assert (IMAGE[seen[n:]] != IMAGE[read[n:]]).all()
    labels = torch.tensor([1] * n + [0] * 2 * n)  # a third belongs
    assert itm.item() == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)


@pytest.mark.parametrize("original", [False, True])
def test_contrastive_term_leaves_out_captions_of_one_image_or_shares_the_target_among_them(original):
    model, data = make(original=original), batch()
    cosines = model.similarity(model.encode_image(data["patches"]), model.encode_text(data["tokens"]))
    if original:
        expected = slow_soft_contrastive(cosines / 0.07, IMAGE, 0.0)
    else:
        others = [[j for j in range(B) if j == i or IMAGE[j] != IMAGE[i]] for i in range(B)]
        sides = [
            (x[i, own].logsumexp(0) - x[i, i])
            for x in (cosines / 0.07, cosines.T / 0.07)
            for i, own in enumerate(others)
        ]
        expected = sum(sides).item() / (2 * B)
    assert model.loss(data)["itc"].item() == pytest.approx(expected, rel=1e-4)


def test_temperature_is_clamped_unless_original():
    for original, limits in ((False, (0.001, 0.5)), (True, (math.exp(-20), math.exp(5)))):
        model = make(original=original)
        assert model.temperature().item() == pytest.approx(0.07)
        with torch.no_grad():
            for value, limit in zip((-20.0, 5.0), limits, strict=True):
                model.temperature.log.fill_(value / model.temperature.SPEED)
                assert model.temperature().item() == pytest.approx(limit)


# -------------------------------------------------------------------------------------------- dual encoder


def test_regions_are_the_cells_of_the_grid_row_by_row(model):
    regions = batch()["patches"]
    patches = model.vision.vit.embeddings.patch_embeddings
    embedded = patches(regions.transpose(1, 2).reshape(B, D, 3, 3))
    expected = regions @ patches.projection.weight.flatten(1).T + patches.projection.bias
    assert torch.allclose(embedded, expected, atol=1e-5)
    context = model.image_context(regions)
    assert context.shape == (B, 1 + R, 16)
    assert torch.allclose(context[:, 0], context[:, 1:].mean(1), atol=1e-6)
    assert not torch.allclose(context[:, 0], model.image_context(regions.flip(1))[:, 0], atol=1e-3)


def test_regions_must_fill_a_square():
    with pytest.raises(InputError, match="35 patches"):
        PatchViT(XvlmConfig(D, WORDS, n_patches=35))


def test_embeddings_are_unit_vectors_from_the_contexts(model):
    data = batch()
    image, text = model.encode_image(data["patches"]), model.encode_text(data["tokens"])
    assert image.shape == text.shape == (B, 8)
    for vectors in (image, text):
        assert torch.allclose(vectors.norm(dim=1), torch.ones(B), atol=1e-5)
    assert torch.equal(image, model.embed_image(model.image_context(data["patches"])))
    assert torch.equal(text, model.embed_text(model.text_context(data["tokens"])))


def test_word_states_are_zero_where_padded_and_only_there(model):
    tokens = batch()["tokens"]
    context = model.text_context(tokens)
    assert context.shape == (B, L, 16)
    assert torch.equal(context.any(-1), tokens != 0)


def test_batch_and_padding_change_nothing(model):
    data, order = batch(), torch.tensor([3, 0, 5, 1, 4, 2])
    image, text = model.image_context(data["patches"]), model.text_context(data["tokens"])
    assert torch.allclose(model.image_context(data["patches"][order]), image[order], atol=1e-5)
    assert torch.allclose(model.text_context(data["tokens"][order]), text[order], atol=1e-5)
    padded = model.text_context(F.pad(data["tokens"], (0, 4)))
    assert torch.allclose(padded[:, :L], text, atol=1e-5)
    logits = model.match(image, text)
    assert torch.allclose(model.match(image[order], text[order]), logits[order], atol=1e-5)
    assert torch.allclose(model.match(image, padded), logits, atol=1e-5)
    for row in range(B):
        alone = model.match(image[row : row + 1], text[row : row + 1])
        assert alone.shape == (1,)
        assert torch.allclose(alone, logits[row : row + 1], atol=1e-5)


# ------------------------------------------------------------------------------------------------- fusion


def test_match_is_the_logit_of_belonging_and_no_cosine(model):
    data = batch()
    image, text = model.image_context(data["patches"]), model.text_context(data["tokens"])
    assert torch.equal(model.match(image, text), model._fuse(image, text)[:, 1])
    assert not model.adds_cosine
    cosines = (model.embed_image(image) * model.embed_text(text)).sum(1)
    assert not torch.allclose(model.match(image, text), cosines, atol=1e-2)


def test_fusion_reads_every_region_and_the_last_word(model):
    data = batch()
    image, text = model.image_context(data["patches"]), model.text_context(data["tokens"])
    logits, row, last = model.match(image, text), 0, 6
    other = image.clone()
    other[row, 5] += 1
    assert torch.equal(model.embed_image(other), model.embed_image(image))  # the mean token is what it was
    changed = (model.match(other, text) - logits).abs() > 1e-6
    assert changed.tolist() == [True] + [False] * (B - 1)
    # the head reads the first token: it sees the last word only where self-attention is not causal
    other = text.clone()
    other[row, last] += torch.linspace(-1, 1, 16)
    changed = (model.match(image, other) - logits).abs() > 1e-6
    assert changed.tolist() == [True] + [False] * (B - 1)


def test_fusion_gives_what_the_stack_of_transformers_gives_where_every_word_is_computed(model):
    data = batch()
    image, text = model.image_context(data["patches"]), model.text_context(data["tokens"])
    keys = (data["tokens"] != 0)[:, None, None]  # without a mask, layers with cross-attention attend causally
    states = model.fusion(text, attention_mask=keys, encoder_hidden_states=image).last_hidden_state
    assert torch.allclose(model._fuse(image, text), model.itm(states[:, 0]), atol=1e-5)


def test_a_pair_scores_the_same_by_image_and_by_caption(model):
    data = batch()
    image, text = model.image_context(data["patches"])[1:], model.text_context(data["tokens"])
    by_image = torch.stack([model.match(i.expand(len(text), -1, -1), text) for i in image])
    by_text = torch.stack([model.match(image, t.expand(len(image), -1, -1)) for t in text])
    assert torch.allclose(by_image, by_text.T, atol=1e-5)


# --------------------------------------------------------------------------- losses shared with BLIP-2


def slow_soft_contrastive(logits: torch.Tensor, image: torch.Tensor, smoothing: float) -> float:
    """Cross entropy to the targets shared by all pairs of an image, written out cell by cell, in both directions."""
    n, total = len(image), 0.0
    for matrix in (logits.tolist(), logits.T.tolist()):
        for i, row in enumerate(matrix):
            same = [bool(image[i] == image[j]) for j in range(n)]
            normaliser = math.log(sum(math.exp(x) for x in row))
            for j, x in enumerate(row):
                target = (1 - smoothing) * same[j] / sum(same) + smoothing / n
                total -= target * (x - normaliser) / n / 2
    return total


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_soft_contrastive_equals_the_sum_over_cells(smoothing):
    logits = torch.randn(B, B, generator=torch.Generator().manual_seed(1))
    expected = slow_soft_contrastive(logits, IMAGE, smoothing)
    assert soft_contrastive(logits, IMAGE, smoothing).item() == pytest.approx(expected, rel=1e-5)
    distinct = torch.arange(B)
    expected = F.cross_entropy(logits, distinct, label_smoothing=smoothing)
    expected = (expected + F.cross_entropy(logits.T, distinct, label_smoothing=smoothing)) / 2
    assert torch.allclose(soft_contrastive(logits, distinct, smoothing), expected)


def test_soft_targets_of_one_image_are_uniform():
    one = torch.zeros(4, dtype=torch.long)
    assert soft_contrastive(torch.zeros(4, 4), one).item() == pytest.approx(math.log(4))
    logits = torch.zeros(4, 4, requires_grad=True)
    soft_contrastive(logits, one).backward()
    assert torch.allclose(logits.grad, torch.zeros(4, 4), atol=1e-7)  # equal logits are already the best


def test_hard_negatives_are_of_other_images_and_follow_similarity():
    torch.manual_seed(0)
    logits = torch.zeros(B, B)
    logits[0, 1] = logits[1, 0] = 50.0  # the same image: however similar, no negative
    logits[2, 5] = 50.0
    for _ in range(50):
        texts, images = hard_negatives(logits, IMAGE, floor=1e-5)
        assert (IMAGE[texts] != IMAGE).all()
        assert (IMAGE[images] != IMAGE).all()
        assert texts[2] == 5
        assert images[5] == 2
    with pytest.raises(AssertionError, match="one image only"):
        hard_negatives(logits, torch.zeros(B, dtype=torch.long))
