"""What every system promises, whoever adds it: this file loops over the rows that the files of the models state."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from fico_utils import registry
from fico_utils.evaluation import evaluate
from fico_utils.models import model_class, training
from fico_utils.models.vlp import RIDGES, TowerHead, solve_heads

N_IMG, CELLS, WIDTH, LONGEST, WORDS = 8, 4, 6, 7, 20
#: Toy values of what the configurations of the systems call their sizes.
SIZES = {
    **dict.fromkeys(("d_region", "d_patch", "d_global", "d_text"), WIDTH),
    **dict.fromkeys(("n_patches", "n_regions"), CELLS),
    **dict.fromkeys(("width", "d", "bits", "ffn"), 8),
    **dict.fromkeys(("d_word", "d_caption", "d_embed", "channels"), 4),
    **{"n_words": WORDS, "max_words": LONGEST, "n_images": N_IMG, "n_labels": 3, "heads": 2, "n_keys": 5},
}


def fields(cls) -> dict:
    return cls.Config.__dataclass_fields__


def tiny_model(system: str, **sizes):
    torch.manual_seed(0)
    cls = model_class(system)
    return cls(cls.Config(**{k: v for k, v in SIZES.items() if k in fields(cls)}, **sizes))


def tiny_inputs(model) -> training.Inputs:
    """Two captions an image of all that any system reads."""
    rng = np.random.default_rng(0)
    owner = np.repeat(np.arange(N_IMG), 2)
    grid = rng.standard_normal((N_IMG, CELLS, WIDTH)).astype(np.float32)
    labels = (rng.random((N_IMG, 3)) < 0.5).astype(np.uint8) | np.eye(N_IMG, 3, dtype=np.uint8)
    image = {
        "regions": grid,
        "patches": grid,
        "global": grid[:, 0],
        "labels": labels | np.eye(N_IMG, 3, dtype=np.uint8),
    }
    text = {"doc2vec": rng.standard_normal((len(owner), WIDTH)).astype(np.float32)}
    for name, shape in (("tokens", ()), ("rephrased", (2,)), ("adversarial", (3,))):
        rows = rng.integers(4, WORDS, (len(owner), *shape, LONGEST))
        for row, length in zip(rows.reshape(-1, LONGEST), rng.integers(3, LONGEST + 1, rows.size), strict=False):
            row[0], row[length - 1], row[length:] = 1, 2, 0
        text[name] = rows
    return training.Inputs(image, text, owner, "toy")


@pytest.fixture(scope="module", params=list(registry.SYSTEMS))
def trained(request):
    """A row, its model after two epochs, the inputs, and the log."""
    row, model = registry.system(request.param), tiny_model(request.param)
    inputs = tiny_inputs(model)
    log = training.fit(model, inputs, seed=0, epochs=2, validate=lambda m: 0.0)
    return row, model.eval(), inputs, log


def test_training_writes_finite_terms_and_moves_the_weights(trained):
    row, model, _, log = trained
    assert [entry["epoch"] for entry in log] == [1, 2]
    assert np.isfinite([list(entry.values()) for entry in log]).all()
    fresh = tiny_model(row.id).state_dict()
    assert any(not torch.equal(t, fresh[n]) for n, t in model.weights().items() if t.is_floating_point())


@pytest.mark.parametrize("system", sorted({row.trained for row in registry.SYSTEMS.values()}))
def test_gradients_reach_every_parameter_and_the_loss_falls(system):
    model = tiny_model(system).train()
    model.start_epoch(1)
    inputs, adversary = tiny_inputs(model), {id(p) for p in model.adversary()}
    own = {name: p for name, p in model.named_parameters() if id(p) not in adversary}
    optimiser, losses = torch.optim.Adam(own.values(), lr=0.005), []
    for _ in range(25):
        optimiser.zero_grad()
        terms = model.loss(model(inputs.batch(model, np.arange(2 * N_IMG))))
        terms["loss"].backward()
        assert [name for name, p in own.items() if p.grad is None or not p.grad.isfinite().all()] == []
        optimiser.step()
        losses.append(terms["loss"].item())
    assert sum(losses[-5:]) < sum(losses[:5])


def test_settings_are_json_and_weights_are_part_of_the_state(trained):
    row, model, _, _ = trained
    assert json.loads(json.dumps(model.settings)).keys() >= {"recipe"}
    assert set(model.weights()) <= set(model.state_dict())
    again = tiny_model(row.id)
    again.load_state_dict(model.weights(), strict=False)
    again.eval()
    first = [side.vectors for side in row.serving.encode(model, *features(model, trained[2]))]
    second = [side.vectors for side in row.serving.encode(again, *features(again, trained[2]))]
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True)), "encoding needs no more than weights"


def features(model, inputs) -> tuple[np.ndarray, np.ndarray]:
    return inputs.image[model.image_input], inputs.text[model.text_input]


def test_an_item_is_encoded_alone_as_in_a_batch(trained):
    _, model, inputs, _ = trained
    images, texts = features(model, inputs)
    for side, encoder in ((images, model.encode_image), (texts, model.encode_text)):
        with torch.inference_mode():
            whole = encoder(training.as_tensor(side))
            alone = encoder(training.as_tensor(side[2:3]))
        assert torch.isfinite(whole).all()
        assert torch.allclose(whole[2:3], alone, atol=1e-5)


def test_what_is_stored_can_be_evaluated(trained):
    row, model, inputs, _ = trained
    stored = row.serving.stored_scores(model, inputs, depth=3)
    arguments = row.serving.evaluation_arguments(stored)
    table = evaluate(**arguments, caption_image=inputs.caption_image, metrics="recall@1,3")
    assert table["value"].between(0, 1).all()
    assert set(table["direction"]) == {"i2t", "t2i"}
    if row.serving.hashed:
        assert all(array.dtype == np.uint8 for array in stored.values())


def test_comparing_and_reading_pairs_agree_with_what_is_stored(trained):
    row, model, inputs, _ = trained
    serving, stored = row.serving, row.serving.stored_scores(model, inputs, depth=N_IMG)
    images, texts = serving.encode(model, *features(model, inputs))
    ranking = serving.compare(model, images.vectors, texts.vectors)
    assert ranking.shape == (len(images), len(texts)) == (N_IMG, 2 * N_IMG)
    assert images.bytes_per_item == sum(a[0].nbytes for a in serving.storage(images) if a is not None)
    if not serving.reads_pairs:
        if "sim_i2t" in stored:
            assert np.array_equal(ranking, stored["sim_i2t"])
        with pytest.raises(NotImplementedError):
            serving.answer_query(model, images[:1], texts, 3)
        return
    everything = stored.get("sim_t2i", stored["sim_i2t"].T)
    some = np.array([5, 0, 3])
    scores = serving.score_candidates(model, images, texts, np.arange(4), some)
    assert np.allclose(scores, everything[:4][:, some], atol=1e-4)
    each = serving.score_candidates(model, images, texts, np.arange(4), np.stack([some] * 4))
    assert np.allclose(each, scores, atol=1e-4)
    candidates, answers = serving.answer_query(model, images, texts[1:2], N_IMG)
    assert np.allclose(answers, everything[1][candidates], atol=1e-4)
    whole = serving.read_pairs(model, images, texts, serving.rank_first(model, images, texts), N_IMG)
    whole = whole["sim_t2i"] if isinstance(whole, dict) else whole.T
    assert np.allclose(whole, everything, atol=1e-4)


READS_STATES = sorted({row.trained for row in registry.SYSTEMS.values() if row.family == "vlp"})


@pytest.mark.parametrize("system", READS_STATES)
def test_a_row_with_pretrained_towers_begins_with_what_they_say_of_the_whole(system):
    """Until a gain is learned, the mean of the cells and the sentence vector alone count; then the rest does too."""
    model = tiny_model(system, d_states=WIDTH).eval()
    gains = [p for name, p in model.named_parameters() if name.endswith(".gain")]
    cells, states = torch.randn(5, CELLS, WIDTH), torch.randn(5, LONGEST, WIDTH)
    model.begin({"patches": cells.numpy()}, {"tokens": states.numpy()}, np.arange(5))
    others = torch.cat([states[:, :1], torch.randn(5, LONGEST - 1, WIDTH)], 1)

    def same() -> tuple[bool, bool]:
        image, text = model.encode_image, model.encode_text
        pairs = (image(cells), image(cells.roll(1, 1))), (text(states), text(others))
        assert all(not torch.allclose(a[0], a[1], atol=1e-3) for a, _ in pairs)
        return tuple(torch.allclose(a, b, atol=1e-5) for a, b in pairs)

    with torch.inference_mode():
        assert same() == (True, True)
        for gain in gains:
            gain.fill_(1.0)
        assert same() == (False, False)
    assert len(gains) == 2


def test_heads_begin_as_a_canonical_correlation_analysis():
    """Against one that is written down: axes of the two whitened sides, each as long as its correlation."""
    rng, pairs = np.random.default_rng(0), np.repeat(np.arange(40), 2)
    patches, states = rng.standard_normal((40, 3, 6)), rng.standard_normal((80, 2, 5))
    states[:, 0, :3] += patches.mean(1)[pairs, :3]
    image, text = TowerHead(6, 8), TowerHead(5, 8)
    solve_heads(image, text, patches, states, pairs)
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (patches.mean(1)[pairs], states[:, 0]))
    a, b = a - a.mean(0), b - b.mean(0)
    aa, bb = (x.T @ x / 80 for x in (a, b))
    aa, bb = (x + r * np.trace(x) / len(x) * np.eye(len(x)) for x, r in zip((aa, bb), RIDGES, strict=True))
    squares = np.linalg.eigvals(np.linalg.solve(aa, a.T @ b) @ np.linalg.solve(bb, b.T @ a)).real / 80**2
    expected = np.zeros(8)
    expected[:5] = np.sort(squares)[::-1][:5]
    for head, spread in ((image, aa), (text, bb)):
        lengths = np.diag(head.map.T.double().numpy() @ spread @ head.map.double().numpy())
        assert np.allclose(lengths, expected, atol=1e-5)
    said = [(x @ h.map.double().numpy()) for x, h in ((a, image), (b, text))]
    assert np.allclose(said[0].T @ said[1] / 80, np.diag(expected**1.5), atol=1e-5)


@pytest.mark.parametrize("system", ["xvlm", "blip2"])
def test_a_head_that_learns_alone_leaves_the_row_without_it_at_its_best(system):
    model = tiny_model(system, d_states=WIDTH, fusion_alone=True, fusion_epoch=3)
    rng = np.random.default_rng(0)
    cells, states = rng.standard_normal((12, CELLS, WIDTH)), rng.standard_normal((24, LONGEST, WIDTH))
    given = training.Inputs(
        {"patches": cells.astype(np.float32)}, {"tokens": states.astype(np.float32)}, np.repeat(np.arange(12), 2), ""
    )
    seen, scores = [], iter([0.3, 0.9, 0.5, 0.2, 0.4, 0.1])
    shown, read = torch.from_numpy(cells[:4]).float(), torch.from_numpy(states[:4]).float()

    def match_of(trained):
        return trained.match(trained.image_context(shown), trained.text_context(read))

    def validate(trained) -> float:
        with torch.inference_mode():
            seen.append((trained.encode_image(shown), match_of(trained)))
        return next(scores)

    training.fit(model, given, seed=0, epochs=6, validate=validate)
    dual, match = zip(*seen, strict=True)
    assert not torch.equal(dual[1], dual[2])
    assert all(torch.equal(dual[1], later) for later in dual[3:])  # the best of the first phase, kept
    assert not torch.equal(match[3], match[4])
    assert torch.equal(model.eval().encode_image(shown), dual[1])
    assert torch.equal(match_of(model), match[4])  # the best of the second
    assert model.cosine_weight == 1 / model.temperature().item()
