"""The label generator: its loss, its categories, and what it writes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fico_utils.models.losses import asymmetric_loss
from fico_utils.models.query2label import (
    Query2Label,
    Query2LabelConfig,
    best_threshold,
    labels_above,
    micro_f1,
)

N, R, D, C = 8, 9, 12, 5


def model(**over) -> Query2Label:
    torch.manual_seed(0)
    return Query2Label(Query2LabelConfig(D, C, n_patches=R, width=16, heads=2, dropout=0.0, **over))


def batch() -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    labels = (torch.rand(N, C, generator=g) < 0.4).float()
    return {"patches": torch.randn(N, R, D, generator=g), "labels": labels, "image": torch.arange(N)}


def test_gradients_reach_every_parameter_and_loss_falls():
    generator, data, losses = model(), batch(), []
    optimiser = torch.optim.Adam(generator.parameters(), lr=0.01)
    for _ in range(40):
        loss = generator.loss(data)["loss"]
        optimiser.zero_grad()
        loss.backward()
        for name, parameter in generator.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


def test_permuting_the_categories_permutes_the_logits():
    generator, regions, order = model().eval(), batch()["patches"], torch.tensor([3, 0, 4, 1, 2])
    before = generator.encode_image(regions)
    with torch.no_grad():
        for parameter in (generator.categories, generator.weight, generator.bias):
            parameter.copy_(parameter[order].clone())
    assert torch.allclose(generator.encode_image(regions), before[:, order], atol=1e-5)


def test_the_loss_is_cross_entropy_without_its_focus():
    data = batch()
    logits = torch.randn(N, C, generator=torch.Generator().manual_seed(2))
    plain = F.binary_cross_entropy_with_logits(logits, data["labels"], reduction="sum") / N
    assert asymmetric_loss(logits, data["labels"], 0, 0, 0).item() == pytest.approx(plain.item(), rel=1e-6)


def test_the_focus_by_hand():
    # p = 0.8 for a positive and for a negative: the positive costs -log 0.8, the negative -0.8^2 log 0.2
    logits, labels = torch.full((1, 2), float(np.log(4))), torch.tensor([[1.0, 0.0]])
    assert asymmetric_loss(logits, labels, 0, 2, 0).item() == pytest.approx(-np.log(0.8) - 0.64 * np.log(0.2), rel=1e-5)
    # lowered by 0.1 before both: -0.7^2 log 0.3
    assert asymmetric_loss(logits, labels, 0, 2, 0.1).item() == pytest.approx(
        -np.log(0.8) - 0.49 * np.log(0.3), rel=1e-5
    )


def test_f1_equals_that_of_scikit_learn():
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    true, said = rng.random((2, 50, 6)) < 0.3
    assert micro_f1(said, true) == pytest.approx(sklearn.f1_score(true, said, average="micro"))
    assert micro_f1(np.zeros((2, 2), bool), np.zeros((2, 2), bool)) == 0.0


def test_the_threshold_is_the_best_of_those_tried():
    rng = np.random.default_rng(1)
    true = rng.random((200, 4)) < 0.3
    scores = np.clip(0.3 + 0.3 * true + 0.1 * rng.standard_normal(true.shape), 0, 1)
    chosen = best_threshold(scores, true)
    assert 0.35 < chosen < 0.55
    assert all(micro_f1(scores >= chosen, true) >= micro_f1(scores >= t, true) for t in (0.1, 0.3, 0.6, 0.9))


def test_every_picture_gets_a_label():
    labels = labels_above(np.array([[0.1, 0.4, 0.2], [0.9, 0.8, 0.1]]), 0.5)
    assert labels.tolist() == [[0, 1, 0], [1, 1, 0]]
    assert labels.dtype == np.uint8
