"""Muon against the singular value decomposition and against torch's own, which works in bfloat16."""

import pytest
import torch
from torch import nn

from fico_utils.models.beit3 import Beit3, Beit3Config
from fico_utils.models.muon import Muon, linear_maps, orthogonalise_matrix
from fico_utils.models.training import _optimisers
from fico_utils.models.vsrn import Vsrn, VsrnConfig
from fico_utils.models.xvlm import Xvlm, XvlmConfig

SHAPES = [(16, 16), (16, 48), (48, 16)]


@pytest.mark.parametrize("shape", SHAPES)
def test_directions_are_kept_and_their_lengths_brought_near_one(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, s, vt = torch.linalg.svd(matrix, full_matrices=False)
    core = u.T @ orthogonalise_matrix(matrix) @ vt.T
    lengths = torch.diagonal(core)
    assert (core - torch.diag(lengths)).abs().max() < 1e-4
    assert lengths[s / s.norm() > 0.02].min() > 0.6  # lower ones are not lifted all the way
    assert lengths.min() >= 0
    assert lengths.max() < 1.3


def test_size_of_a_gradient_does_not_matter_and_none_gives_none():
    matrix = torch.randn(8, 12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(orthogonalise_matrix(1000 * matrix), orthogonalise_matrix(matrix))
    assert not orthogonalise_matrix(torch.zeros(8, 12)).any()


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_steps_are_those_of_torch_up_to_its_rounding(weight_decay):
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(shape, generator=generator) for shape in SHAPES]
    ours, theirs = ([nn.Parameter(t.clone()) for t in start] for _ in range(2))
    optimisers = [
        Muon(ours, lr=0.01, weight_decay=weight_decay),
        torch.optim.Muon(theirs, lr=0.01, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"),
    ]
    for _ in range(4):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn(a.shape, generator=generator)
            b.grad = a.grad.clone()
        for optimiser in optimisers:
            optimiser.step()
    for a, b, s in zip(ours, theirs, start, strict=True):
        moved = (b - s).norm()
        assert (a - b).norm() < 0.05 * moved, "bfloat16 has eight bits"
        assert (a - s).norm() > 0.9 * moved


@pytest.mark.parametrize(
    "model",
    [
        Beit3(Beit3Config(d_patch=8, n_words=20, width=16, heads=2)),
        Xvlm(XvlmConfig(d_patch=8, n_words=20, width=16, heads=2, d_embed=8)),
        Vsrn(VsrnConfig(d_region=8, n_words=20, d=8, d_word=6, d_caption=4)),
    ],
    ids=["beit3", "xvlm", "vsrn"],
)
def test_every_parameter_learns_once_and_linear_maps_by_muon(model):
    own, beside = _optimisers(model)
    muon, adam = own
    groups = [{id(p) for group in optimiser.param_groups for p in group["params"]} for optimiser in own]
    assert groups[0] == {id(p) for p in linear_maps(model)}
    assert groups[0].isdisjoint(groups[1])
    assert not beside
    assert groups[0] | groups[1] == {id(p) for p in model.parameters()}
    recurrent = [m for m in model.modules() if isinstance(m, (nn.GRU, nn.GRUCell))]
    gates = {id(p) for m in recurrent for p in m.parameters() if p.ndim > 1}
    assert gates <= groups[0]
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    assert embeddings <= groups[1]
    rates = {group["base_lr"] for group in adam.param_groups}, {group["base_lr"] for group in muon.param_groups}
    assert rates == ({model.recipe.lr}, {model.recipe.muon_lr})
