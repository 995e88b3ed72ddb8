"""What ``original`` undoes, against the originals' formulas in a few lines of numpy; and the list of differences."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

from fico_utils import experiment
from fico_utils.errors import InputError
from fico_utils.evaluation import evaluate
from fico_utils.experiment import systems
from fico_utils.extras.pages.page import differences_table
from fico_utils.extras.versions.tiny_models import tiny_inputs, tiny_model
from fico_utils.models import encoding, losses, model_class
from fico_utils.models.adv import Adv, AdvConfig
from fico_utils.models.beit3 import Beit3, Beit3Config
from fico_utils.models.contract import restores
from fico_utils.models.dadh import Dadh
from fico_utils.models.imram import Imram, ImramConfig
from fico_utils.models.losses import asymmetric_loss, negative_weights
from fico_utils.models.originals import DIFFERENCES, read_differences, require_known, system_differences
from fico_utils.models.query2label import Query2Label, Query2LabelConfig
from fico_utils.models.training import schedule_factor
from fico_utils.models.ucch import Ucch
from fico_utils.models.vsrn import Captioner, Vsrn, VsrnConfig
from tests.test_experiment import NAME, setup

B, R, D, L, WORDS = 6, 9, 12, 8, 30
IMAGE = torch.tensor([0, 0, 1, 2, 3, 4])


def generated(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def word_ids(*shape: int, seed: int = 0) -> torch.Tensor:
    """Rows of words of different lengths, 0 after them."""
    g = torch.Generator().manual_seed(seed)
    tokens = torch.randint(4, WORDS, (*shape, L), generator=g).view(-1, L)
    for row, length in zip(tokens, torch.randint(3, L, (len(tokens),), generator=g).tolist(), strict=True):
        row[length:] = 0
    return tokens.view(*shape, L)


def array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().numpy().astype(np.float64)


def weights_of(layer: torch.nn.Module) -> list[np.ndarray]:
    return [array(parameter) for parameter in layer.parameters()]


def softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))


# --------------------------------------------------------------------------- X-VLM, BLIP-2: negatives of matching


def weights_among_all(scores: np.ndarray, same: np.ndarray, floor: float) -> np.ndarray:
    """X-VLM, and the first release of BLIP-2: the softmax over all pairs, a floor, then the positives struck out."""
    return np.where(same, 0.0, softmax(scores) + floor)


@pytest.mark.parametrize("floor", [1e-5, 1e-4])
@pytest.mark.parametrize("scale", [1.0, 20.0])
def test_negatives_are_weighed_as_the_originals_weigh_them(floor, scale):
    logits, same = scale * generated(B, B), IMAGE[:, None] == IMAGE
    for scores in (logits, logits.T):
        expected = weights_among_all(array(scores), same.numpy(), floor)
        assert np.abs(array(negative_weights(scores, same, floor, among_all=True)) - expected).max() < 1e-5
        # later releases of BLIP-2, and ours: -10000 for the positives, then the softmax, no floor
        expected = softmax(np.where(same.numpy(), -1e4, array(scores)))
        assert np.abs(array(negative_weights(scores, same)) - expected).max() < 1e-5


def test_the_original_draws_evenly_where_the_pair_itself_stands_out():
    logits = torch.zeros(40, 40).fill_diagonal_(20.0)
    logits[0, 1] = 5.0
    ours, theirs = (negative_weights(logits, torch.eye(40, dtype=torch.bool), 1e-5, w)[0] for w in (False, True))
    assert ours[1] / ours.sum() > 0.7
    assert theirs[1] / theirs.sum() < 0.05


@pytest.mark.parametrize(("system", "floors"), [("xvlm", (1e-5, 1e-5)), ("blip2", (0.0, 1e-4))])
def test_matching_draws_by_the_weights_that_original_asks_for(system, floors, monkeypatch):
    asked, data, cls = [], tiny_inputs(), model_class(system)
    weigh = losses.negative_weights
    monkeypatch.setattr(losses, "negative_weights", lambda *how: asked.append(how[2:]) or weigh(*how))
    for original in (False, ("negatives",), True):
        model = cls(replace(tiny_model(cls).config, original=original))
        model.start_epoch(1)
        model.loss(data.batch(model, np.arange(12)))
    assert asked == [
        (floor, among_all)
        for floor, among_all in zip(floors[:1] + floors[1:] * 2, (False, True, True), strict=True)
        for _ in "ab"
    ]


# --------------------------------------------------------------------------------------------------------- ADV


def adv_batch() -> dict[str, torch.Tensor]:
    rewritten = {"rephrased": word_ids(B, 2, seed=2), "adversarial": word_ids(B, 4, seed=3)}
    return {"regions": generated(5, R, D)[IMAGE], "tokens": word_ids(B), "image": IMAGE, **rewritten}


def adv_model(**over) -> Adv:
    torch.manual_seed(0)
    sizes = {"bits": 16, "width": 8, "heads": 2, "ffn": 10, "d_word": 6, "channels": 7, "n_regions": R}
    return Adv(AdvConfig(D, WORDS, **sizes | over)).double().eval()


def near_binary(x: np.ndarray, slope: float) -> np.ndarray:
    """tanh of the distance from the lower median, as torch.median and the release take it."""
    lower = np.sort(x, -1)[..., (x.shape[-1] - 1) // 2, None]
    return np.tanh(slope * (x - (lower + 1e-8)))


def hardest(scores: np.ndarray) -> float:
    total = 0.0
    for s in (scores, scores.T):
        cost = np.maximum(0.2 + s - np.diag(s)[:, None], 0)
        np.fill_diagonal(cost, 0)
        total += cost.max(1).sum()
    return total


@pytest.mark.parametrize("bits", [16, 512])
def test_adv_is_the_release_where_original_says_so(bits):
    """Up to 256 bits its screening model: no softmax over a picture's bits, slope 10, texts against the caption."""
    model, data = adv_model(original=True, bits=bits, n_rephrased=2, n_adversarial=4), adv_batch()
    terms, entered = model.loss(data), []
    model.image_net.bits.register_forward_hook(lambda _, __, out: entered.append(array(out)))
    model.image_net(data["regions"])
    shares = entered[0].mean(1) if bits <= 256 else softmax(entered[0]).mean(1)
    image = near_binary(shares, 10 if bits <= 256 else 100)
    text, said, wrong = (
        near_binary(softmax(array(model.text_net(data[name].flatten(0, -2)))), 10).reshape(*data[name].shape[:-1], bits)
        for name in ("tokens", "rephrased", "adversarial")
    )
    scores = cosine(image[:, None], text[None])
    meant = (text if bits <= 256 else image)[:, None]
    above = cosine(meant, wrong) - (0.8 if bits <= 256 else (np.diag(scores) - 0.5)[:, None])
    expected = {
        "hinge": hardest(scores),
        "rephrase": 0.5 * (1 - cosine(meant, said)).sum(),
        "adversary": 0.5 * np.maximum(above, 0).sum(),
    }
    for name, value in expected.items():
        assert terms[name].item() == pytest.approx(value, rel=1e-5, abs=1e-5), name


def test_adv_norms_are_those_of_one_matrix_a_projection():
    """0.01 times the sum of norms, without biases and gains; the release has a matrix each of queries, keys, values."""
    model = adv_model(original=["norm"])
    net, total = model.image_net, 0.0
    for weight in (net.project, net.layer.self_attn.out_proj, net.layer.linear1, net.layer.linear2, net.bits):
        total += np.sqrt((array(weight.weight) ** 2).sum())
    total += sum(np.sqrt((part**2).sum()) for part in np.split(array(net.layer.self_attn.in_proj_weight), 3))
    total += np.sqrt((array(net.positions) ** 2).sum())  # ours alone
    assert model.loss(adv_batch())["norm"].item() == pytest.approx(0.01 * total, abs=1e-5)


def test_adv_learns_at_the_rate_of_the_release_in_steps_without_clipping():
    recipe, steps = adv_model(original=True).recipe, 7
    assert (recipe.lr, recipe.warmup, recipe.clip) == (1e-4, 0.0, 0.0)
    for epoch, step in product(range(30), range(steps)):  # 30 epochs, a tenth after every tenth
        expected = 1e-4 * 0.1 ** (epoch // 10)
        assert recipe.lr * schedule_factor(recipe, epoch * steps + step, 30 * steps) == pytest.approx(expected)
    assert adv_model(original=["slopes"]).recipe == Adv.recipe == adv_model().recipe


# ------------------------------------------------------------------------------------------------------ BEiT-3


@pytest.mark.parametrize("original", [False, ["word scale"]])
def test_beit3_words_enter_as_they_are_in_the_original(original):
    torch.manual_seed(0)
    model = Beit3(Beit3Config(D, 400, max_words=L, width=64, original=original)).double().eval()
    entered, tokens = [], word_ids(1)
    model.text_tower.blocks[0].register_forward_pre_hook(lambda _, given: entered.append(array(given[0])))
    model.encode_text(tokens)
    row = tokens[0][tokens[0] != 0]
    scale, spread = (1.0, 64**-0.5) if original else (8.0, 0.02)
    expected = scale * array(model.word.weight)[row] + array(model.text_tower.positions)[: len(row)]
    assert np.abs(entered[0][0] - expected).max() < 1e-5
    assert array(model.word.weight).std() == pytest.approx(spread, rel=0.03)


# ------------------------------------------------------------------------------------------------- SCAN, IMRAM


def l2norm(x: np.ndarray, axis: int) -> np.ndarray:
    """As both originals write it: 1e-8 is added to the norm."""
    return x / (np.sqrt((x**2).sum(axis, keepdims=True)) + 1e-8)


def attended_score(words: np.ndarray, regions: np.ndarray, smooth: float, steps: int, gate: list) -> float:
    query, score = words, 0.0
    for _ in range(steps):
        raw = regions @ query.T
        weights = softmax(smooth * l2norm(np.where(raw > 0, raw, 0.1 * raw), 1).T)
        context = weights @ regions
        norms = np.linalg.norm(words, axis=1) * np.linalg.norm(context, axis=1)
        score += ((words * context).sum(1) / np.maximum(norms, 1e-8)).mean()
        if gate:
            kept, new = np.split(np.concatenate([query, context], 1) @ gate[0].T + gate[1], 2, 1)
            query = sigmoid(kept) * query + (1 - sigmoid(kept)) * np.tanh(new)
    return score


@pytest.mark.parametrize(("smooth", "steps"), [(9.0, 1), (11.0, 3)])
def test_imram_scores_are_the_originals_with_its_norms_and_temperature(smooth, steps):
    torch.manual_seed(0)
    model = Imram(ImramConfig(D, WORDS, d=8, d_word=6, steps=steps, smooth=smooth, original=True)).double()
    regions, tokens = model.encode_image(generated(4, R, D)), word_ids(5)
    words, gate = model.encode_text(tokens), weights_of(model.memories["text"])
    found = array(model.similarity(regions, words))
    for i, j in product(range(4), range(5)):
        said = array(words[j])[tokens[j] != 0]
        assert found[i, j] == pytest.approx(attended_score(said, array(regions[i]), smooth, steps, gate), abs=1e-5)


def test_fragments_have_the_norm_of_the_originals():
    torch.manual_seed(0)
    model, regions = Imram(ImramConfig(D, WORDS, d=8, d_word=6)).double(), generated(3, R, D)
    weight, bias = weights_of(model.region)
    assert np.abs(array(model.encode_image(regions)) - l2norm(array(regions) @ weight.T + bias, -1)).max() < 1e-5


# -------------------------------------------------------------------------------------------------------- VSRN


def gru_step(x: np.ndarray, h: np.ndarray, w_x: np.ndarray, w_h: np.ndarray, b_x: np.ndarray, b_h: np.ndarray):
    (rx, zx, nx), (rh, zh, nh) = np.split(w_x @ x + b_x, 3), np.split(w_h @ h + b_h, 3)
    update = sigmoid(zx + zh)
    return (1 - update) * np.tanh(nx + sigmoid(rx + rh) * nh) + update * h


def told(captioner: Captioner, regions: np.ndarray, caption: list[int], drop) -> np.ndarray:
    """Logits after each word, as VSRN's decoder computes them: what it reads, a word and what it attends to, drops."""
    encoder, decoder = weights_of(captioner.encoder), weights_of(captioner.decoder)
    (reduce, shift), (of_region, bias) = weights_of(captioner.reduce), weights_of(captioner.of_region)
    state, seen, logits = np.zeros(len(shift)), [], []
    for region in regions:
        seen.append(state := gru_step(drop(reduce @ region + shift), state, *encoder))
    seen = np.stack(seen)
    for word in caption:
        hidden = np.tanh(seen @ of_region.T + bias + array(captioner.of_state.weight) @ state)
        context = softmax(hidden @ array(captioner.attention.weight)[0]) @ seen
        state = gru_step(drop(np.concatenate([array(captioner.word.weight)[word], context])), state, *decoder)
        logits.append(array(captioner.out.weight) @ state + array(captioner.out.bias))
    return np.stack(logits)


class Halves(torch.nn.Module):
    """In place of dropout: the first half is lost, the rest doubled."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([0 * x[..., : x.shape[-1] // 2], 2 * x[..., x.shape[-1] // 2 :]], -1)


def test_the_captioner_drops_what_it_reads_in_the_original_and_what_it_said_in_ours(monkeypatch):
    monkeypatch.setattr("fico_utils.models.vsrn.nn.Dropout", lambda _: Halves())
    regions, tokens = generated(1, R, 8), torch.tensor([[5, 9, 4, 7]])

    def drop(x: np.ndarray) -> np.ndarray:
        return np.where(np.arange(len(x)) < len(x) // 2, 0, 2 * x)

    found = []
    for original in (["dropout"], False):
        torch.manual_seed(0)
        captioner = Captioner(VsrnConfig(D, WORDS, d=8, d_word=6, d_caption=7, original=original)).double()
        found.append(array(captioner(regions, tokens))[0])
    expected = told(captioner, array(regions[0]), tokens[0].tolist(), drop)
    assert np.abs(found[0] - expected).max() < 1e-5
    assert np.abs(found[1] - expected).max() > 1e-3


def test_regions_are_normalised_across_regions_without_an_epsilon():
    torch.manual_seed(0)
    model, regions = Vsrn(VsrnConfig(D, WORDS, d=8, d_word=6, normalise_regions=True)).double(), generated(3, R, D)
    weight, bias = weights_of(model.region)
    x = array(regions) @ weight.T + bias
    x = x / np.sqrt((x**2).sum(1, keepdims=True))  # the graph's blocks are the identity at the start
    assert np.abs(array(model.reason(regions)) - x / np.sqrt((x**2).sum(1, keepdims=True))).max() < 1e-5


# ------------------------------------------------------------------------------------------------- Query2Label


@pytest.mark.parametrize("original", [True, ["clamp"], ["scale"], False])
def test_the_loss_of_query2label_is_the_release_s(original):
    """The released loss: logarithms of 1e-5 at least, weights without gradient, mean over the batch, 1000 / labels."""
    torch.manual_seed(0)
    model = Query2Label(Query2LabelConfig(D, 5, n_patches=R, width=16, original=original)).double()
    logits = (30 * generated(8, 5)).requires_grad_()  # some told wrong with certainty
    labels = (generated(8, 5, seed=1) > 0).double()
    model.encode_image = lambda _: logits
    loss = model.loss({"patches": None, "labels": labels})["loss"]
    p, rest, y = sigmoid(array(logits)), sigmoid(-array(logits)), labels.numpy()
    floor = 1e-5 if restores(original, "clamp") else 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(y > 0, np.log(np.maximum(p, floor)), np.log(np.maximum(rest, floor)))
    weight = np.where(y > 0, 1.0, p**2)
    scale = 1000 / 5 if restores(original, "scale") else 1.0
    assert loss.item() == pytest.approx(-scale * (terms * weight).sum() / 8, rel=1e-5)
    (gradient,) = torch.autograd.grad(loss, logits)
    slope = np.where(y > 0, rest, -p) * (np.where(y > 0, p, rest) > floor)
    assert np.abs(array(gradient) + scale * slope * weight / 8).max() < 1e-5


def test_without_its_floor_the_loss_is_what_it_was():
    logits, labels = generated(8, 5).float(), (generated(8, 5, seed=1) > 0).float()
    exact = asymmetric_loss(logits, labels)
    assert torch.equal(exact, asymmetric_loss(logits, labels, floor=0.0))
    assert asymmetric_loss(logits, labels, floor=1e-5).item() == pytest.approx(exact.item(), rel=1e-5)


# ------------------------------------------------------------------------------------------------- checkpoints


def mean_precision(distance: np.ndarray, relevant: np.ndarray, skip: bool) -> float:
    """Mean over queries of the average precision of the whole ranking; without a relevant item: left out, or 0."""
    values = []
    for row, right in zip(distance, relevant, strict=True):
        found = right[np.argsort(row)]
        if found.any():
            values.append((found.cumsum() / np.arange(1, len(found) + 1))[found].mean())
        elif not skip:
            values.append(0.0)
    return float(np.mean(values))


@pytest.mark.parametrize(("cls", "skip"), [(Ucch, True), (Dadh, False)])
def test_the_checkpoint_is_kept_by_the_originals_map(cls, skip, monkeypatch):
    """UCCH leaves a query without a relevant item out, DADH counts it as 0; both take the mean of both directions."""
    rng, n, bits = np.random.default_rng(0), 6, 4096  # of so many bits few draws have ties
    while True:  # codes without ties, since the originals leave these to the sort
        image, text = rng.standard_normal((2, n, bits)).astype(np.float32)
        distance = (bits - np.sign(image) @ np.sign(text).T) / 2
        if all(len(set(row)) == n for row in (*distance, *distance.T)):
            break
    labels = rng.integers(0, 2, (n, 3)).astype(np.uint8)
    labels[0] = 0
    model = cls(replace(tiny_model(cls).config, bits=bits, original=["checkpoint"]))
    stored = {"img": encoding.hash_codes(image), "txt": encoding.hash_codes(text)}
    serving = replace(systems.registry.system("ucch").serving)
    monkeypatch.setattr(type(serving), "stored_scores", lambda *_: stored)
    monkeypatch.setattr(systems, "inputs", lambda *_: replace(tiny_inputs(), caption_image=np.arange(n)))
    monkeypatch.setattr(systems, "labels", lambda *_: labels)
    found = systems.validation({"rerank_depth": 1}, "ucch", "picto_diverse")(model)
    shared = labels @ labels.T > 0
    expected = [mean_precision(d, shared, skip) for d in (distance, distance.T)]
    assert found == pytest.approx(np.mean(expected), abs=1e-5)
    plain = systems.validation({"rerank_depth": 1}, "ucch", "picto_diverse")(cls(replace(model.config, original=False)))
    recall = evaluate(**serving.evaluation_arguments(stored), caption_image=np.arange(n), metrics="recall@1,5,10")
    assert plain == float(recall["value"].mean())


# ------------------------------------------------------------------------------------------ the option, the list


def test_without_original_a_key_is_what_it_was():
    """Systems that had no such field have no trace of it in their settings; the others keep theirs."""
    for cls in (Dadh, Query2Label):
        model = tiny_model(cls)
        assert "original" not in model.settings
        undone = cls(replace(model.config, original=["x"]))
        assert undone.settings == model.settings | {"original": ["x"], "recipe": undone.settings["recipe"]}
    for cls in (Adv, Beit3, Imram, Ucch, Vsrn):
        assert tiny_model(cls).settings["original"] is False


def test_sizes_of_the_original_depend_on_the_corpus_and_give_way_to_those_of_the_profile(tmp_path):
    def sizes(corpus: str, **own):
        over = {n: {corpus: 20} for n in ("n_train", "n_val", "n_test")}
        run = setup(tmp_path, corpora=[corpus], sizes={s: {"original": True} | own for s in ("imram", "vsrn")}, **over)
        imram, vsrn = (experiment.new_model(run, s, corpus).config for s in ("imram", "vsrn"))
        return imram.smooth, vsrn.normalise_regions, vsrn.batch_norm, vsrn.captioning

    assert sizes(NAME) == (11.0, True, False, 1.0)  # beside MS-COCO
    assert sizes("picto_people") == (9.0, False, True, 1.0)
    run = setup(tmp_path, sizes={"imram": {"original": ["softmax"], "smooth": 5.0}, "vsrn": {"original": ["norms"]}})
    assert experiment.new_model(run, "imram", NAME).config.smooth == 5.0
    assert experiment.new_model(run, "vsrn", NAME).config.captioning == 0.25


@pytest.mark.parametrize("original", ["negatives", ["hinge", "gate"], 1, {"hinge": True}])
def test_an_unknown_difference_is_one_sentence(original, tmp_path):
    with pytest.raises(
        InputError, match=r"^original of adv_64 was given .*; expected true, false or a list of same im"
    ):
        experiment.new_model(setup(tmp_path, sizes={"adv_64": {"original": original}}), "adv_64", NAME)
    require_known("adv_64", ["hinge"])
    with pytest.raises(InputError, match="original of query2label"):
        require_known("query2label", ["hinge"])


def test_every_difference_that_can_be_undone_is_undone_by_the_code_and_no_other_name_is():
    sizes = {c: [*model_class(c).original_sizes("mscoco")] for c in ("imram", "vsrn")}
    for stem in {d["system"] for d in read_differences()}:
        text = (DIFFERENCES.parent / f"{stem}.py").read_text(encoding="utf-8")
        asked = {part.split('"')[1] for part in text.split("restores(")[1:] if '"' in part.split(")")[0]}
        if stem == "imram":
            asked.add("same image")  # in the loss of SCAN
        named = {d["difference"] for d in read_differences() if d["system"] == stem and d["undone"] == "yes"}
        assert asked | {*sizes.get(stem, ())} == named, stem


def test_the_list_is_whole_and_shown_whole():
    rows = read_differences()
    assert len({(d["system"], d["difference"]) for d in rows}) == len(rows)
    assert all(all(value.strip() for value in d.values()) and d["undone"] in ("yes", "no") for d in rows)
    stems = {row.model.split(":")[0].rsplit(".")[-1] for row in systems.registry.SYSTEMS.values() if row.paper_names}
    stems.add("query2label")
    assert {d["system"] for d in rows} == stems  # of the paper's systems and the label generator
    html = differences_table()
    assert html.count("<tr>") == len(rows) + 1
    assert "X-VLM, X-VLM NF" in html
    assert [d["difference"] for d in system_differences("adv_64")] == [
        d["difference"] for d in system_differences("adv_2048")
    ]
