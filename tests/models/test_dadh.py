"""DADH: its triplets, its critics, its targets."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fico_utils.models import training
from fico_utils.models.dadh import Dadh, DadhConfig
from fico_utils.models.losses import label_gains, triplet_loss

B, D, T, N_LABELS, N_IMAGES = 8, 12, 10, 5, 9


def make(**over) -> Dadh:
    torch.manual_seed(0)
    return Dadh(DadhConfig(D, T, N_IMAGES, N_LABELS, bits=16, hidden=(20, 14, 8), **over))


def batch(seed: int = 0) -> dict[str, torch.Tensor]:
    """Eight pairs of different images; the last has no label, rows 0 and 1 have the same."""
    g = torch.Generator().manual_seed(seed)
    labels = (torch.rand(B, N_LABELS, generator=g) < 0.4).float()
    labels[:, 0] = torch.tensor([1, 1, 0, 0, 0, 1, 0, 0])
    labels[:, 1] = torch.tensor([0, 0, 1, 1, 0, 0, 0, 0])
    labels[4:7, 2] = 1
    labels[1], labels[7] = labels[0], 0
    return {
        "global": torch.randn(B, D, generator=g),
        "doc2vec": torch.randn(B, T, generator=g),
        "labels": labels,
        "image": torch.tensor([3, 5, 0, 1, 2, 4, 6, 8]),
    }


def test_codes_have_the_size_asked_for_and_do_not_depend_on_the_batch():
    model, data = make().eval(), batch()
    image, text = model.encode_image(data["global"]), model.encode_text(data["doc2vec"])
    assert image.shape == text.shape == (B, 16)
    assert max(image.abs().max(), text.abs().max()) <= 1
    for i in (0, 3, 7):
        assert torch.allclose(model.encode_image(data["global"][i : i + 1]), image[i : i + 1], atol=1e-6)
        assert torch.allclose(model.encode_text(data["doc2vec"][i : i + 1]), text[i : i + 1], atol=1e-6)


def test_each_side_of_the_game_reaches_its_own_parameters_and_no_other():
    model, data = make().train(), batch()
    critics = {id(p) for p in model.adversary()}
    assert 0 < len(critics) < len(list(model.parameters()))
    outputs = model(data)
    model.adversary_loss(outputs).backward()
    for p in model.parameters():
        assert (p.grad is not None) == (id(p) in critics)
    model.zero_grad(set_to_none=True)
    model.loss(outputs)["loss"].backward()
    for name, p in model.named_parameters():
        assert (p.grad is None) == (id(p) in critics), name
        assert p.grad is None or torch.isfinite(p.grad).all()


def test_a_step_of_the_critics_leaves_the_generator_untouched():
    model, data = make().train(), batch()
    outputs = model(data)
    before = {n: t.clone() for n, t in model.state_dict().items()}
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.1)
    model.adversary_loss(outputs).backward()
    optimiser.step()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]) == ("critic" not in name)


def test_critics_learn_to_tell_the_modalities_and_the_loss_falls():
    model, data = make().train(), batch()
    own = [p for p in model.parameters() if id(p) not in {id(q) for q in model.adversary()}]
    step, adversary_step = torch.optim.AdamW(own, lr=0.003), torch.optim.AdamW(model.adversary(), lr=0.01)
    with torch.no_grad():
        outputs = model(data)
    judged = []
    for _ in range(40):
        loss = model.adversary_loss(outputs)
        adversary_step.zero_grad()
        loss.backward()
        adversary_step.step()
        judged.append(loss.item())
    assert judged[-1] < judged[0]
    losses = []
    for _ in range(30):
        loss = model.loss(model(data))["loss"]
        step.zero_grad()
        loss.backward()
        step.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_image_features_are_no_target_of_the_critics():
    """The generator moves captions towards images, not images towards captions; codes move the hash layer alone."""
    model, data = make(triplet=0.0, quantisation=0.0).train(), batch()
    model.loss(model(data))["loss"].backward()
    moved = {n.split(".")[0] for n, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert moved == {"text_net", "text_hash"}


@pytest.mark.parametrize("term", ["triplet", "quantisation", "adversary"])
def test_terms_can_be_switched_off(term):
    model, data = make(**{term: 0.0}), batch()
    terms = model.loss(model(data))
    assert terms[term].item() == 0
    assert terms["loss"].item() == pytest.approx(sum(v.item() for n, v in terms.items() if n != "loss"), rel=1e-6)


def test_the_loss_has_the_weights_of_the_release():
    data, plain = batch(), {"triplet": 1.0, "quantisation": 1.0, "adversary": 1.0}
    ours, bare = (m.loss(m(data)) for m in (make().eval(), make(**plain).eval()))
    for term, weight in (("triplet", 121.0), ("quantisation", 1.1), ("adversary", 1.0)):
        assert ours[term].item() == pytest.approx(weight * bare[term].item(), rel=1e-5)


# ---------------------------------------------------------------------------------------------- triplets


def slow_triplets(cosine, labels, margin):
    """The definition: every anchor, every item that shares a label, every one that shares none."""
    n, total = len(labels), 0.0
    for i in range(n):
        shared = [int(labels[i] @ labels[j]) for j in range(n)]
        best = sorted(shared, reverse=True)
        ideal = sum((2**r - 1) / math.log2(place + 1) for place, r in enumerate(best, 1))
        for j in range(n):
            for k in range(n):
                if shared[j] > 0 and shared[k] == 0:
                    d_j, d_k = max(0.0, 1 - cosine[i, j].item()), max(0.0, 1 - cosine[i, k].item())
                    total += (2 ** shared[j] - 1) / ideal * max(0.0, d_j - d_k + margin)
    return total


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("margin", [0.0, 0.4, 3.0])
def test_triplets_are_those_of_the_definition(seed, margin):
    g = torch.Generator().manual_seed(seed)
    labels = (torch.rand(6, N_LABELS, generator=g) < 0.3).double()
    labels[torch.arange(6), torch.randint(0, N_LABELS, (6,), generator=g)] = 1
    cosine = (2 * torch.rand(6, 6, generator=g, dtype=torch.float64) - 1).requires_grad_()
    fast = triplet_loss(cosine, labels, margin)
    assert fast.item() == pytest.approx(slow_triplets(cosine, labels, margin), rel=1e-9, abs=1e-9)
    assert torch.autograd.gradcheck(lambda c: triplet_loss(c, labels, margin), (cosine,))


def test_triplets_where_all_or_none_share_a_label():
    cosine = torch.rand(6, 6, generator=torch.Generator().manual_seed(0))
    assert triplet_loss(cosine, torch.ones(6, 2), 0.4).item() == 0
    apart = torch.eye(6)
    assert triplet_loss(cosine, apart, 0.4).item() == pytest.approx(slow_triplets(cosine, apart, 0.4), rel=1e-5)


def test_gains_are_powers_of_shared_labels_over_the_ideal_order():
    weight = label_gains(torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]]))
    ideal = 3 / math.log2(2) + 1 / math.log2(3) + 1 / math.log2(4)  # anchor 0 shares 2, 1, 1 labels
    assert weight[0].tolist() == pytest.approx([3 / ideal, 1 / ideal, 1 / ideal])
    assert weight[1, 2] == 0  # they share none


# ----------------------------------------------------------------------------------------------- targets


def test_targets_are_signs_and_equal_where_labels_are():
    model, data = make(mu=0.0).train(), batch()
    assert set(model.targets.unique().tolist()) == {-1.0, 1.0}
    model(data)
    model.end_epoch()
    assert set(model.targets.unique().tolist()) == {-1.0, 1.0}
    assert torch.equal(data["labels"][0], data["labels"][1])
    assert torch.equal(model.targets[3], model.targets[5])
    assert len(model.targets[data["image"][:7]].unique(dim=0)) > 1


def test_targets_solve_the_ridge_regression_and_follow_the_codes():
    model, data = make(mu=0.7).train(), batch()
    outputs = model(data)
    old = model.targets.clone()
    labels = torch.zeros(N_IMAGES, N_LABELS)
    codes = torch.zeros(N_IMAGES, 16)
    labels[data["image"]] = data["labels"]
    codes[data["image"][:7]] = (outputs["image_codes"] + outputs["text_codes"]).detach()
    projection = np.linalg.inv(labels.T.numpy() @ labels.numpy() + np.eye(N_LABELS)) @ labels.T.numpy() @ old.numpy()
    expected = labels.numpy() @ projection + 0.35 * codes.numpy()
    model.end_epoch()
    assert np.array_equal(model.targets[data["image"][:7]], np.where(expected >= 0, 1, -1)[data["image"][:7]])


def test_pictures_not_seen_or_without_label_keep_their_target():
    model, data = make().train(), batch()
    model(data)
    before = model.targets.clone()
    model.end_epoch()
    assert torch.equal(model.targets[[7, 8]], before[[7, 8]])  # 7 was in no batch, 8 has no label


def test_nothing_is_recorded_outside_training():
    model, data = make().eval(), batch()
    model(data)
    assert model.codes.abs().sum() == model.labels.sum() == 0


def test_state_of_training_is_no_weight():
    model = make()
    kept = set(model.weights())
    assert not [n for n in kept if "critic" in n or n in ("targets", "codes", "labels")]
    other = make()
    for p in other.parameters():
        torch.nn.init.zeros_(p)
    other.load_state_dict(model.weights(), strict=False)
    data = batch()
    assert torch.equal(other.eval().encode_text(data["doc2vec"]), model.eval().encode_text(data["doc2vec"]))
    assert torch.equal(other.encode_image(data["global"]), model.encode_image(data["global"]))


# ---------------------------------------------------------------------------------------- rows without label


def test_a_picture_without_label_takes_no_part():
    model, data = make().eval(), batch()
    changed = {n: t.clone() for n, t in data.items()}
    changed["doc2vec"][7] += 5
    assert model.loss(model(data))["loss"].item() == model.loss(model(changed))["loss"].item()
    torch.manual_seed(1)
    first = model.adversary_loss(model(data))
    torch.manual_seed(1)
    assert first.item() == model.adversary_loss(model(changed)).item()


def test_a_batch_without_any_label_is_no_trouble():
    model, data = make().train(), batch()
    data["labels"] = torch.zeros(B, N_LABELS)
    outputs = model(data)
    for loss in (model.adversary_loss(outputs), model.loss(outputs)["loss"]):
        model.zero_grad()
        loss.backward()
        assert loss.item() == 0
        assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_fit_trains_it_with_labels_as_they_are_stored():
    rng = np.random.default_rng(0)
    caption_image = np.repeat(np.arange(N_IMAGES), 2)
    labels = rng.integers(0, 2, (N_IMAGES, N_LABELS)).astype(np.uint8)
    image = {"global": rng.standard_normal((N_IMAGES, D)).astype(np.float16), "labels": labels}
    text = {"doc2vec": rng.standard_normal((2 * N_IMAGES, T)).astype(np.float32)}
    data = training.Inputs(image, text, caption_image, "toy")
    model = make()
    log = training.fit(model, data, seed=0, epochs=2, validate=lambda m: 0.0)
    assert all(math.isfinite(value) for row in log for value in row.values())
    assert np.array_equal(model.labels.numpy(), labels)
    targets, kept = model.targets[labels.any(1)], labels[labels.any(1)]
    assert len(targets.unique(dim=0)) <= len(np.unique(kept, axis=0))
