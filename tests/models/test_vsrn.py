"""VSRN on toy sizes: its norms, its graph blocks, the order of its regions, and its captioner against a slow loop."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from fico_utils.models.losses import hinge_loss
from fico_utils.models.vsrn import GraphBlock, Vsrn, VsrnConfig

B, R, D, L, WORDS = 5, 6, 12, 8, 30


def batch() -> dict[str, torch.Tensor]:
    """Five pairs, captions of different lengths, pairs 0 and 1 of the same image."""
    g = torch.Generator().manual_seed(0)
    tokens = torch.randint(4, WORDS, (B, L), generator=g)
    for row, length in enumerate((8, 5, 2, 7, 4)):
        tokens[row, length:] = 0
    image = torch.tensor([0, 0, 1, 2, 3])
    return {"regions": torch.randn(4, R, D, generator=g)[image], "tokens": tokens, "image": image}


def make(**over) -> Vsrn:
    torch.manual_seed(0)
    return Vsrn(VsrnConfig(D, WORDS, **({"d": 8, "d_word": 6, "d_caption": 7, "blocks": 2} | over)))


def trained(**over) -> Vsrn:
    """A model after a few steps, so that its graph blocks do something, in evaluation mode."""
    model, data = make(**over).train(), batch()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(10):
        optimiser.zero_grad()
        model.loss(data)["loss"].backward()
        optimiser.step()
    return model.eval()


@pytest.mark.parametrize("training", [True, False])
def test_graph_blocks_are_the_identity_at_initialisation(training):
    model, regions = make().train(training), batch()["regions"]
    projected = model.region(regions)
    assert torch.equal(model.graph(projected), projected)
    assert len(model.graph) == 2


def test_a_graph_block_equals_its_definition():
    torch.manual_seed(0)
    block, regions = GraphBlock(8).train(), torch.randn(B, R, 8)
    with torch.no_grad():
        block.norm.weight.uniform_(0.5, 1.5)
        block.norm.bias.uniform_(-1, 1)
    theta, phi, values = (
        F.linear(regions, w, b) for w, b in zip(block.project.weight.chunk(3), block.project.bias.chunk(3), strict=True)
    )
    gathered = torch.zeros(B, R, 8)
    for b in range(B):
        for i in range(R):
            for j in range(R):
                gathered[b, i] += (theta[b, i] @ phi[b, j]) / R * values[b, j]
    gathered = block.out(gathered)
    mean, variance = gathered.mean((0, 1)), gathered.var((0, 1), unbiased=False)
    expected = regions + (gathered - mean) / (variance + 1e-5).sqrt() * block.norm.weight + block.norm.bias
    assert torch.allclose(block(regions), expected, atol=1e-5)


@pytest.mark.parametrize("axis", [1, -1])
@pytest.mark.parametrize("normalise_regions", [False, True])
def test_reasoned_regions_have_unit_norm_along_the_axis(axis, normalise_regions):
    model = trained(axis=axis, normalise_regions=normalise_regions)
    norms = model.reason(batch()["regions"]).norm(dim=axis)
    assert torch.allclose(norms, torch.ones_like(norms), atol=1e-5)
    assert norms.shape == ((B, 8) if axis == 1 else (B, R))


def test_the_order_of_the_regions_counts():
    model, regions = make().eval(), batch()["regions"]
    assert (model.encode_image(regions) - model.encode_image(regions.flip(1))).abs().max() > 1e-3


@pytest.mark.parametrize("batch_norm", [False, True])
def test_encoding_gives_unit_vectors_whatever_the_batch_and_the_padding(batch_norm):
    model, data = trained(batch_norm=batch_norm), batch()
    image, text = model.encode_image(data["regions"]), model.encode_text(data["tokens"])
    assert image.shape == text.shape == (B, 8)
    assert torch.allclose(image.norm(dim=1), torch.ones(B), atol=1e-5)
    assert torch.allclose(text.norm(dim=1), torch.ones(B), atol=1e-5)
    assert torch.allclose(model.encode_text(F.pad(data["tokens"], (0, 5))), text, atol=1e-6)
    assert torch.allclose(model.encode_image(data["regions"].flip(0)), image.flip(0), atol=1e-6)
    for i in range(B):
        length = int((data["tokens"][i] != 0).sum())
        assert torch.allclose(model.encode_text(data["tokens"][i : i + 1, :length])[0], text[i], atol=1e-6)
        assert torch.allclose(model.encode_image(data["regions"][i : i + 1])[0], image[i], atol=1e-6)


def test_a_caption_is_the_state_at_its_last_word():
    model, tokens = make().eval(), batch()["tokens"]
    for row in tokens:
        states, _ = model.text(model.word(row[row != 0])[None])
        expected = F.normalize(states[0, -1], dim=0)
        assert torch.allclose(model.encode_text(row[None])[0], expected, atol=1e-6)


def slow_likelihood(captioner, regions, tokens):
    """Negative log-likelihood of one caption (n,) without padding given one picture (R, d), a token at a time."""
    seen, state = captioner.encoder(captioner.reduce(regions)[None])
    seen, state, total = seen[0], state[0, 0], 0.0
    for token, following in zip(tokens, [*tokens[1:], torch.tensor(0)], strict=True):
        hidden = torch.stack([torch.tanh(captioner.of_region(s) + captioner.of_state(state)) for s in seen])
        weights = captioner.attention(hidden)[:, 0].softmax(0)
        context = sum(w * s for w, s in zip(weights, seen, strict=True))
        state = captioner.decoder(torch.cat([captioner.word(token), context])[None], state[None])[0]
        total = total - captioner.out(state).log_softmax(0)[following]
    return total


def test_likelihood_equals_a_slow_loop_and_ignores_padding():
    model, data = make().eval(), batch()
    reasoned, tokens = model.reason(data["regions"]), data["tokens"]
    expected = sum(slow_likelihood(model.captioner, r, t[t != 0]) for r, t in zip(reasoned, tokens, strict=True)) / B
    assert torch.allclose(model.captioner.loss(reasoned, tokens), expected, atol=1e-4)
    assert torch.allclose(model.captioner.loss(reasoned, F.pad(tokens, (0, 3))), expected, atol=1e-4)


def test_the_loss_is_the_hinge_and_the_weighted_likelihood():
    data = batch()
    model = make(captioning=0.5).eval()
    terms = model.loss(data)
    scores, first = model.encode_image(data["regions"]) @ model.encode_text(data["tokens"]).T, [0, 2, 3, 4]
    assert torch.allclose(terms["hinge"], hinge_loss(scores, data["image"], 0.2, "violating") * 4 / 5)  # four images
    assert torch.allclose(terms["loss"], terms["hinge"] + 0.5 * terms["caption"])
    told = model.captioner.loss(model.reason(data["regions"])[first], data["tokens"][first])
    assert torch.allclose(terms["caption"], told, atol=1e-4)
    original = make(original=True).eval().loss(data)
    assert torch.allclose(original["hinge"], hinge_loss(scores[first][:, first], None, 0.2))


def test_originally_a_pair_of_the_same_image_is_a_negative_too():
    data = batch()
    data["image"] = torch.tensor([0, 1, 0, 2, 3])  # apart, so each counts as an image of its own
    model = make(original=True).eval()
    scores = model.encode_image(data["regions"]) @ model.encode_text(data["tokens"]).T
    assert torch.allclose(model.loss(data)["hinge"], hinge_loss(scores, None, 0.2))


@pytest.mark.parametrize("spread", [0.05, 1.0])
def test_the_hinge_over_violating_negatives_equals_a_slow_loop(spread):
    scores = spread * torch.randn(5, 5, generator=torch.Generator().manual_seed(0)) + 0.3 * torch.eye(5)
    image, expected = [0, 0, 1, 2, 3], 0.0
    for i in range(5):
        negatives = [j for j in range(5) if image[j] != image[i]]
        for others in (scores[i, negatives], scores[negatives, i]):
            costs = [c.item() for c in 0.2 + others - scores[i, i] if c > 0]
            expected += sum(costs) / len(costs) if costs else 0.0
    assert hinge_loss(scores, torch.tensor(image), 0.2, "violating").item() == pytest.approx(expected, abs=1e-5)


def test_the_captioner_is_no_weight_and_encoding_does_without_it():
    model, data = trained(), batch()
    weights = model.weights()
    assert not any(name.startswith("captioner") for name in weights)
    other = make().eval()
    missing, unexpected = other.load_state_dict(weights, strict=False)
    assert not unexpected
    assert all(name.startswith("captioner") for name in missing)
    assert torch.equal(other.encode_image(data["regions"]), model.encode_image(data["regions"]))
    assert torch.equal(other.encode_text(data["tokens"]), model.encode_text(data["tokens"]))


@pytest.mark.parametrize("over", [{}, {"batch_norm": True, "normalise_regions": True, "axis": -1}])
def test_gradients_reach_every_parameter_and_the_loss_falls(over):
    model, data = make(**over).train(), batch()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    reached, terms = set(), []
    for _ in range(40):
        loss = model.loss(data)
        optimiser.zero_grad()
        loss["loss"].backward()
        for name, parameter in model.named_parameters():
            assert torch.isfinite(parameter.grad).all(), name
            reached |= {name} if parameter.grad.any() else set()
        optimiser.step()
        terms.append({n: t.item() for n, t in loss.items()})
    # a graph block's inner weights wait for its norm to leave zero; a bias before a batch norm shifts nothing
    assert {n for n, _ in model.named_parameters()} - reached <= {f"graph.{i}.out.bias" for i in range(2)}
    assert terms[-1]["hinge"] < terms[0]["hinge"]
    assert terms[-1]["caption"] < terms[0]["caption"]
