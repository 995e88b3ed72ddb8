"""ADV: balanced codes, switchable losses, captions said again and wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fico_utils.models.adv import Adv, AdvConfig, balance_codes, near_binary
from fico_utils.models.encoding import hash_codes
from fico_utils.models.layers import binarise
from fico_utils.models.losses import angular_loss, hinge_loss

B, R, D, L, WORDS = 6, 9, 12, 8, 30
TERMS = ("angular", "norm", "rephrase", "adversary")


def tokens(shape: tuple[int, ...], g: torch.Generator) -> torch.Tensor:
    """Rows ``[start] words [end] 0 0`` of different lengths."""
    rows = torch.randint(4, WORDS, (math.prod(shape), L), generator=g)
    for row, length in zip(rows, torch.randint(3, L + 1, (len(rows),), generator=g).tolist(), strict=True):
        row[0], row[length - 1] = 1, 2
        row[length:] = 0
    return rows.view(*shape, L)


def batch(seed: int = 0, n: int = B) -> dict[str, torch.Tensor]:
    """Pairs of which 0 and 1 show the same image."""
    g = torch.Generator().manual_seed(seed)
    image = torch.tensor([0, *range(n - 1)])
    return {
        "regions": torch.randn(n, R, D, generator=g)[image],
        "tokens": tokens((n,), g),
        "rephrased": tokens((n, 2), g),
        "adversarial": tokens((n, 4), g),
        "image": image,
    }


def make(**over) -> Adv:
    torch.manual_seed(0)
    sizes = {"bits": 16, "width": 8, "heads": 2, "ffn": 10, "d_word": 6, "channels": 7, "dropout": 0.0}
    return Adv(AdvConfig(D, WORDS, **{"n_regions": R, **sizes, **over}))


# ------------------------------------------------------------------------------------------------- codes


@pytest.mark.parametrize("original", [False, True])
@pytest.mark.parametrize("bits", [2, 16, 2048])
@pytest.mark.parametrize("scale", [0.0, 1.0, 300.0])
def test_exactly_half_of_every_code_is_one(bits, scale, original):
    """Also where all shares tie (scale 0) and where they underflow (300)."""
    model, data = make(bits=bits, original=original).eval(), batch()
    with torch.no_grad():
        for layer in (model.image_net.bits, model.text_net.bits):
            layer.weight *= scale
            layer.bias *= scale
        encoded = model.encode_image(data["regions"]), model.encode_text(data["tokens"])
    for h in encoded:
        assert h.shape == (B, bits)
        assert torch.isfinite(h).all()
        codes = binarise(h, zero=-1)
        assert torch.equal(codes, binarise(h, zero=1))  # no 0 that the convention could turn
        assert set(codes.unique().tolist()) == {-1, 1}
        assert (codes > 0).sum(1).tolist() == [bits // 2] * B
        assert np.unpackbits(hash_codes(h.numpy()), axis=1).sum(1).tolist() == [bits // 2] * B
    image, text = (binarise(h, zero=-1).int() for h in encoded)
    assert ((bits - image @ text.T) // 2 % 2 == 0).all()  # Hamming distances of balanced codes are even


def test_a_bit_is_one_above_the_lower_median():
    logits = torch.randn(5, 16, generator=torch.Generator().manual_seed(0))
    shares = logits.softmax(-1)
    codes = near_binary(shares, 10.0)
    assert torch.equal(codes > 0, logits > logits.median(-1, keepdim=True).values)
    lower = logits.sort(-1).values[:, 7:8]
    assert torch.equal(codes > 0, logits > lower)
    assert torch.allclose(codes, torch.tanh(10 * (shares - shares.median(-1, keepdim=True).values)), atol=1e-6)
    assert torch.equal(balance_codes(codes, shares), codes)  # nothing to put right


def test_region_shares_are_averaged_before_the_median():
    model, data = make().eval(), batch()
    shares = model.image_net(data["regions"])
    assert torch.allclose(shares.sum(-1), torch.ones(B), atol=1e-5)
    x = model.image_net.project(data["regions"]) + model.image_net.positions
    each = torch.stack([model.image_net.bits(model.image_net.layer(x))[:, r].softmax(-1) for r in range(R)])
    assert torch.allclose(each.mean(0), shares, atol=1e-6)


def test_slopes_follow_the_bits_unless_original():
    assert make(bits=64, slope=0.5).text_slope == make(bits=64, slope=0.5).image_slope == 32
    original = make(bits=512, original=True)
    assert (original.image_slope, original.text_slope) == (100, 10)
    assert original.image_net.positions is None


def test_encoding_depends_on_neither_batch_nor_padding():
    model, data = make().eval(), batch()
    image, text = model.encode_image(data["regions"]), model.encode_text(data["tokens"])
    for i in range(B):
        assert torch.allclose(model.encode_image(data["regions"][i : i + 1]), image[i : i + 1], atol=1e-6)
        assert torch.allclose(model.encode_text(data["tokens"][i : i + 1]), text[i : i + 1], atol=1e-6)
    assert torch.allclose(model.encode_text(F.pad(data["tokens"], (0, 3))), text, atol=1e-6)
    order = torch.tensor([4, 2, 0, 1, 5, 3])
    assert torch.allclose(model.encode_text(data["tokens"][order]), text[order], atol=1e-6)


def test_convolutions_are_those_of_torch():
    """Widths 1, 2, 3 over a caption without padding, followed by zeros, as nn.functional.conv1d computes them."""
    model = make().eval()
    row = torch.tensor([[1, 9, 5, 17, 2]])
    x = F.pad(model.text_net.word(row), (0, 0, 0, 2)).transpose(1, 2)
    found = []
    for k, layer in enumerate(model.text_net.convolutions, 1):
        kernel = layer.weight.view(len(layer.weight), k, -1).transpose(1, 2)
        found.append(F.relu(F.conv1d(x[..., : 5 + k - 1], kernel, layer.bias)).amax(2))
    assert torch.allclose(model.text_net.bits(torch.cat(found, 1)), model.text_net(row), atol=1e-6)


# ------------------------------------------------------------------------------------------------ losses


@pytest.mark.parametrize("term", TERMS)
def test_terms_can_be_switched_off(term):
    data = batch()
    whole, part = (make(**off).eval().loss(data) for off in ({}, {term: 0.0}))
    assert set(whole) == {"loss", "hinge", *TERMS}
    assert set(part) == set(whole) - {term}
    assert part["loss"].item() == pytest.approx((whole["loss"] - whole[term]).item(), rel=1e-4)


def test_without_rewriting_terms_the_rewritings_are_not_read():
    data = batch()
    bare = {n: data[n] for n in ("regions", "tokens", "image")}
    model = make(rephrase=0.0, adversary=0.0)
    assert model.loss(bare)["loss"].item() == model.loss(data)["loss"].item()


def test_rewritten_captions_wait_for_their_epoch():
    model, data = make(adversary_epoch=2), batch()
    for epoch, expected in ((0, False), (1, False), (2, True)):
        model.start_epoch(epoch)
        assert ("adversary" in model.loss(data)) is ("rephrase" in model.loss(data)) is expected


def test_the_angular_weight_falls_to_a_tenth_every_five_epochs_and_ends_after_twenty():
    model, weights = make(), []
    for epoch in range(23):
        model.start_epoch(epoch)
        weights.append(model.angular_weight)
    assert weights == pytest.approx([0.5 * 0.1 ** (e // 5) if e <= 20 else 0.0 for e in range(23)])
    model.start_epoch(22)
    assert "angular" not in model.loss(batch())
    quick = make(decay_epochs=2)
    quick.start_epoch(3)
    assert quick.angular_weight == pytest.approx(0.05)


def test_rewriting_terms_by_hand():
    model, data = make(n_rephrased=2, n_adversarial=4).eval(), batch()
    terms = model.loss(data)

    def code(net_output, slope):
        return near_binary(net_output, slope)

    image = code(model.image_net(data["regions"]), model.image_slope)
    same, wrong = 0.0, 0.0
    for i in range(B):

        def cosine(row, i=i):
            text = code(model.text_net(row[None]).softmax(-1), model.text_slope)
            return F.cosine_similarity(image[i : i + 1], text).item()

        same += sum(1 - cosine(row) for row in data["rephrased"][i])
        wrong += sum(max(0.0, cosine(row) - cosine(data["tokens"][i]) + 0.5) for row in data["adversarial"][i])
    assert terms["rephrase"].item() == pytest.approx(0.5 * same, rel=1e-4)
    assert terms["adversary"].item() == pytest.approx(0.5 * wrong, rel=1e-4)


def test_a_step_draws_some_of_the_rewritings():
    model, data = make(n_adversarial=2).train(), batch()
    drawn = {tuple(model._drawn(torch.arange(4).expand(B, 4), 2)[0].tolist()) for _ in range(50)}
    assert len(drawn) > 3
    assert all(len(set(d)) == 2 for d in drawn)
    model.eval()
    assert torch.equal(model._drawn(data["adversarial"], 2), data["adversarial"][:, :2])


def test_the_norm_term_counts_image_weights_only():
    model = make()
    expected = sum(p.norm() for n, p in model.image_net.named_parameters() if p.ndim > 1 and not n.endswith("bias"))
    assert model.loss(batch())["norm"].item() == pytest.approx(0.01 * expected.item(), rel=1e-5)


def test_the_hinge_counts_every_violating_negative_a_tenth():
    g = torch.Generator().manual_seed(0)
    scores, index = torch.randn(B, B, generator=g), [0, 0, 1, 2, 3, 4]
    slow = 0.0
    for i in range(B):
        for j in (j for j in range(B) if index[i] != index[j]):
            slow += max(0.0, 0.2 + scores[i, j] - scores[i, i]) + max(0.0, 0.2 + scores[j, i] - scores[i, i])
    assert hinge_loss(scores, torch.tensor(index), 0.2, "tenth").item() == pytest.approx(float(slow) / 10, rel=1e-5)


def test_what_enters_the_bits_is_standardised_unless_original():
    """A feature that is the same for all says nothing, however large; the original lets it fill the code."""
    data = batch(n=32)
    ours, theirs = (make(original=original).train() for original in (False, True))
    for model in (ours, theirs):
        entered = []
        model.image_net.bits.register_forward_pre_hook(lambda _, given, entered=entered: entered.append(given[0]))
        with torch.no_grad():
            model.image_net.layer.norm2.bias += 50  # the constant feature
            model.image_net(data["regions"])
        mean = entered[0].flatten(0, 1).mean(0).abs().max().item()
        assert mean < 1e-4 if model is ours else mean > 40


def slow_angular(x, y, index):
    """Both directions from the definition, pair by pair."""
    total = 0.0
    for a, p in ((x, y), (y, x)):
        for i in range(len(x)):
            worst = max(4 * ((a[i] + p[i]) @ p[n]) - 4 * (a[i] @ p[i]) for n in range(len(x)) if index[n] != index[i])
            total += math.log1p(math.exp(worst))
    return total


def test_angular_loss_is_that_of_the_definition():
    g = torch.Generator().manual_seed(0)
    image, text = (F.normalize(torch.randn(B, 5, generator=g), dim=1) for _ in range(2))
    index = torch.tensor([0, 0, 1, 2, 3, 4])
    assert angular_loss(image, text, index).item() == pytest.approx(slow_angular(image, text, index), rel=1e-5)
    assert angular_loss(image, text, None).item() == pytest.approx(slow_angular(image, text, range(B)), rel=1e-5)


def test_captions_of_one_image_are_negatives_only_in_the_original():
    data = {name: tensor[:2] for name, tensor in batch().items()}  # one image, two captions
    ours, theirs = (make(original=original).eval().loss(data) for original in (False, True))
    assert ours["hinge"].item() == ours["angular"].item() == 0
    assert theirs["hinge"].item() > 0
    assert theirs["angular"].item() > 0
