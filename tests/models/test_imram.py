"""IMRAM on toy sizes: against its definition with contexts and gates written out, and against SCAN."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from fico_utils.models import imram
from fico_utils.models.imram import Imram, ImramConfig
from fico_utils.models.scan import Scan, ScanConfig

B, R, D, L, WORDS = 5, 7, 12, 8, 30
MODES = ("text", "image", "full")


def batch() -> dict[str, torch.Tensor]:
    """Five pairs, captions of different lengths, pairs 0 and 1 of the same image."""
    g = torch.Generator().manual_seed(0)
    tokens = torch.randint(4, WORDS, (B, L), generator=g)
    for row, length in enumerate((8, 5, 1, 7, 4)):
        tokens[row, length:] = 0
    image = torch.tensor([0, 0, 1, 2, 3])
    return {"regions": torch.randn(4, R, D, generator=g)[image], "tokens": tokens, "image": image}


def make(**over) -> Imram:
    torch.manual_seed(0)
    return Imram(ImramConfig(D, WORDS, **({"d": 8, "d_word": 6} | over)))


def exact(model, data):
    """Both in double precision, so that a formula is compared and not its rounding."""
    return model.double(), data | {"regions": data["regions"].double()}


def fragments(model, data) -> tuple[torch.Tensor, torch.Tensor]:
    return model.encode_image(data["regions"]), model.encode_text(data["tokens"])


def branch_score(memory, context, first):
    """Score of one context (c, d) and queries (q, d), neither padded, from the definition; gates after every step."""
    config, query, score = memory.config, first, 0.0
    for _ in range(config.steps):
        raw = F.leaky_relu(context @ query.T, 0.1)
        raw = raw / (raw.square().sum(1, keepdim=True) + 1e-12).sqrt()  # each context item across the queries
        attended = (config.smooth * raw.T).softmax(1) @ context
        score = score + F.cosine_similarity(first, attended, dim=1).mean()
        if memory.gate is not None:
            kept, new = memory.gate(torch.cat([query, attended], 1)).chunk(2, 1)
            query = kept.sigmoid() * query + (1 - kept.sigmoid()) * new.tanh()
            query = query / query.norm(dim=1, keepdim=True) if config.normalise else query
    return score


def explicit_scores(model, data):
    """Scores (B, B), one pair at a time."""
    regions, words = fragments(model, data)
    lengths = (data["tokens"] != 0).sum(1)
    captions = [w[:n] for w, n in zip(words, lengths, strict=True)]

    def pair(picture, caption):
        sides = {"text": (picture, caption), "image": (caption, picture)}
        return sum(branch_score(memory, *sides[branch]) for branch, memory in model.memories.items())

    return torch.stack([torch.stack([pair(p, c) for c in captions]) for p in regions])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("steps", "normalise"), [(1, False), (2, False), (3, False), (3, True)])
def test_scores_equal_the_definition(mode, steps, normalise):
    model, data = exact(make(mode=mode, steps=steps, normalise=normalise), batch())
    assert torch.allclose(model.similarity(*fragments(model, data)), explicit_scores(model, data), atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_gradients_equal_those_of_the_definition_whose_last_gate_is_unused(mode):
    weights = torch.randn(B, B, generator=torch.Generator().manual_seed(1))
    gradients = []
    for scores in (lambda m, d: m.similarity(*fragments(m, d)), explicit_scores):
        model, data = exact(make(mode=mode, steps=3), batch())
        (scores(model, data) * weights).sum().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][name], atol=1e-6), name


@pytest.mark.parametrize(("mode", "attention"), [("text", "t2i"), ("image", "i2t")])
def test_one_step_is_scan_with_mean_pooling_and_has_no_gate(mode, attention):
    model, data = make(mode=mode, steps=1), batch()
    scan = Scan(ScanConfig(D, WORDS, d=8, d_word=6, attention=attention))
    scan.load_state_dict(model.state_dict())  # strict: a single step leaves no parameter beside SCAN's
    scores = model.similarity(*fragments(model, data))
    assert torch.allclose(scores, scan.similarity(*fragments(scan, data)), atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("steps", [2, 3])
def test_the_gate_runs_between_steps_only(mode, steps, monkeypatch):
    model, calls = make(mode=mode, steps=steps), []
    update = imram.Memory._update
    monkeypatch.setattr(imram.Memory, "_update", lambda *a: calls.append(1) or update(*a))
    data = batch()
    data["tokens"] = data["tokens"][:1]  # one caption: one part and one block a branch
    model.similarity(*fragments(model, data))
    assert len(calls) == (steps - 1) * len(model.memories)


def test_full_is_text_and_image_together():
    data, full = batch(), make(mode="full")
    parts = []
    for mode in ("text", "image"):
        model = make(mode=mode)
        model.load_state_dict({n: t for n, t in full.state_dict().items() if n in model.state_dict()})
        parts.append(model.similarity(*fragments(model, data)))
    assert torch.allclose(full.similarity(*fragments(full, data)), sum(parts), atol=1e-5)


def test_the_gate_starts_open_unless_original():
    data, scan = batch(), make(steps=1)
    once = scan.similarity(*fragments(scan, data))
    far = []
    for original in (False, True):
        model = make(original=original)
        model.load_state_dict(scan.state_dict(), strict=False)
        far.append((model.similarity(*fragments(model, data)) - 2 * once).abs().mean().item())
    assert far[0] < far[1] / 2


@pytest.mark.parametrize("mode", MODES)
def test_the_memory_changes_later_steps(mode):
    model, data = make(mode=mode), batch()
    sides = fragments(model, data)
    before = model.similarity(*sides)
    with torch.no_grad():
        for memory in model.memories.values():
            memory.gate.weight.mul_(3)
    assert (model.similarity(*sides) - before).abs().max() > 1e-4


@pytest.mark.parametrize("mode", MODES)
def test_pad_columns_and_batch_mates_change_nothing(mode):
    model, data = make(mode=mode, steps=3), batch()
    regions, words = fragments(model, data)
    scores = model.similarity(regions, words)
    padded = model.encode_text(F.pad(data["tokens"], (0, 4)))
    assert padded.shape == (B, L + 4, 8)
    assert torch.allclose(model.similarity(regions, padded), scores, atol=1e-6)
    for i in range(B):
        length = int((data["tokens"][i] != 0).sum())
        alone = model.similarity(regions[i : i + 1], words[i : i + 1, :length])
        assert alone.shape == (1, 1)
        assert torch.allclose(alone[0, 0], scores[i, i], atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_small_blocks_give_the_same_scores(mode, monkeypatch):
    model, data = make(mode=mode, steps=3), batch()
    sides = fragments(model, data)
    whole = model.similarity(*sides)
    monkeypatch.setattr(imram, "GATES", 1)  # one context at a time
    with torch.inference_mode():
        assert torch.allclose(model.similarity(*sides), whole, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_scores_are_bounded_by_the_steps(mode):
    model, data = make(mode=mode, steps=3), batch()
    bound = 3 * len(model.memories)
    assert model.similarity(*fragments(model, data)).abs().max() <= bound + 1e-5


def test_captions_of_the_same_image_are_negatives_only_in_the_original():
    data = batch() | {"image": torch.zeros(B, dtype=torch.int64)}
    assert make().loss(data)["loss"] == 0
    assert make(original=True).loss(data)["loss"] > 0
