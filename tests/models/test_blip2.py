"""BLIP-2: its four ways of reading, against the definitions written out."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from fico_utils.models.blip2 import Blip2, Blip2Config
from fico_utils.models.vlp import initial_spread

B, R, D, L, WORDS, QUERIES = 6, 9, 12, 8, 30, 3
LENGTHS = (7, 5, 3, 7, 4, 6)
IMAGE = torch.tensor([0, 0, 1, 2, 3, 4])  # pairs 0 and 1 show one image
FIRST = [0, 2, 3, 4, 5]  # captions that are told and matched: the first of each image


def batch(seed: int = 0) -> dict[str, torch.Tensor]:
    """Six pairs, captions of different lengths, none as long as the row."""
    g = torch.Generator().manual_seed(seed)
    tokens = torch.randint(4, WORDS, (B, L), generator=g)
    for row, length in enumerate(LENGTHS):
        tokens[row, length:] = 0
    return {"patches": torch.randn(5, R, D, generator=g)[IMAGE], "tokens": tokens, "image": IMAGE}


def make(**over) -> Blip2:
    torch.manual_seed(0)
    sizes = {"n_patches": R, "max_words": L + 4, "width": 16, "heads": 2, "d_embed": 8, "n_queries": QUERIES}
    return Blip2(Blip2Config(D, WORDS, **{"dropout": 0.0, "n_layers": 3} | sizes | over))


@pytest.fixture(scope="module")
def model() -> Blip2:
    """A model whose queries have had time to become different, and whose two feed-forward layers too."""
    model = make()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()


# ---------------------------------------------------------------------------------------------- training


def test_matching_waits_for_the_embeddings_and_then_begins_alone():
    model, data = make(fusion_epoch=1), batch()
    for epoch, learns in enumerate(({"itc", "lm"}, {"itm"}, {"itc", "itm", "lm"}, {"itc", "itm", "lm"})):
        model.start_epoch(epoch)
        model.zero_grad(set_to_none=True)
        terms = model.loss(data)
        terms["loss"].backward()
        assert {n for n in ("itc", "itm", "lm") if terms[n] > 0} == learns
        assert (model.itm.weight.grad is not None) == ("itm" in learns)
        assert (model.text_projection.weight.grad is not None) == ("itc" in learns)
        assert (model.word_bias.grad is not None) == ("lm" in learns)
        assert terms["loss"].item() == pytest.approx(sum(terms[n].item() for n in ("itc", "itm", "lm")), rel=1e-5)


def test_matching_fuses_each_pair_and_two_negatives_of_other_images(model, monkeypatch):
    data, fused = batch(), []
    fuse = model._fuse

    def spy(image, tokens):
        fused.append((image, tokens, fuse(image, tokens)))
        return fused[-1][2]

    monkeypatch.setattr(model, "_fuse", spy)
    itm = model.loss(data)["itm"]
    (image, tokens, logits), *again = fused
    assert again == []
    with torch.no_grad():
        images = model.image_context(data["patches"])
    seen = torch.cdist(image.flatten(1), images.flatten(1)).argmin(1)
    read = (tokens[:, None] == data["tokens"][None, :, : tokens.shape[1]]).all(-1).long().argmax(1)
    n = len(FIRST)
    assert IMAGE[seen[:n]].tolist() == IMAGE[FIRST].tolist()
    assert read[:n].tolist() == FIRST
    assert (IMAGE[seen[n:]] != IMAGE[read[n:]]).all()
    labels = torch.tensor([1] * n + [0] * 2 * n)  # a third belongs
    assert itm.item() == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)


@pytest.mark.parametrize("original", [False, True])
def test_contrastive_targets_are_smoothed_and_captions_of_one_image_left_out_or_all_right(original):
    model, data = make(original=original), batch()
    logits = model.similarity(model.encode_image(data["patches"]), model.encode_text(data["tokens"]))
    logits, expected = logits / model.temperature(), 0.0
    for i in range(B):
        for row in (logits[i], logits[:, i]):
            others = [j for j in range(B) if j == i or original or IMAGE[j] != IMAGE[i]]
            right = [j for j in others if IMAGE[j] == IMAGE[i]]
            told = row[others].log_softmax(0)
            target = [0.9 * (j in right) / len(right) + 0.1 / len(others) for j in others]
            expected -= (torch.tensor(target) * told).sum().item() / (2 * B)
    assert model.loss(data)["itc"].item() == pytest.approx(expected, rel=1e-4)


def test_temperature_is_clamped_unless_original():
    for original, limits in ((False, (0.001, 0.5)), (True, (math.exp(-20), math.exp(5)))):
        model = make(original=original)
        assert model.temperature().item() == pytest.approx(0.07)
        with torch.no_grad():
            for value, limit in zip((-20.0, 5.0), limits, strict=True):
                model.temperature.log.fill_(value / model.temperature.SPEED)
                assert model.temperature().item() == pytest.approx(limit)


def test_feed_forward_layers_of_the_queries_start_as_copies():
    model = make()
    for layer in model.qformer.encoder.layer:
        assert torch.equal(layer.intermediate.dense.weight, layer.intermediate_query.dense.weight)
        assert torch.equal(layer.output.dense.weight, layer.output_query.dense.weight)
    assert model.queries.std().item() == pytest.approx(initial_spread(model.config.width), rel=0.3)


# -------------------------------------------------------------------------------- the definition, by hand


def attend(attention, x: torch.Tensor, context: torch.Tensor, allowed: torch.Tensor | None = None) -> torch.Tensor:
    """One attention block of the Q-Former for one item: x (n, width) over context (m, width); allowed (n, m) bool."""
    inner, heads = attention.attention, attention.attention.num_attention_heads
    q, k, v = (
        f(y).unflatten(-1, (heads, -1)) for f, y in ((inner.query, x), (inner.key, context), (inner.value, context))
    )
    scores = torch.einsum("nhd,mhd->hnm", q, k) / math.sqrt(q.shape[-1])
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -math.inf)
    return attention.output(torch.einsum("hnm,mhd->nhd", scores.softmax(-1), v).flatten(1), x)


def read(model: Blip2, image: torch.Tensor, words: torch.Tensor, mode: str) -> tuple[torch.Tensor, torch.Tensor]:
    """States of queries and words of one pair: image (T, width), words (L,) without padding.

    mode: ``joint``, all see all; ``causal``, the queries are read first and alone, and each word then sees their
    states of the layer below and the words up to itself.
    """
    q = model.qformer.layernorm(model.queries[0])
    positions = torch.arange(len(words))
    t = model.embeddings.word_embeddings(words) + model.embeddings.position_embeddings(positions)
    t = model.qformer.layernorm(t)
    before = torch.cat([torch.ones(len(words), len(q), dtype=torch.bool), positions[:, None] >= positions], 1)
    for number, layer in enumerate(model.qformer.encoder.layer):
        both = torch.cat([q, t])
        text = attend(layer.attention, t, both, before if mode == "causal" else None)
        query = attend(layer.attention, q, q if mode == "causal" else both)
        if number % 2 == 0:
            query = attend(layer.crossattention, query, image)
        q = layer.output_query(layer.intermediate_query(query), query)
        t = layer.output(layer.intermediate(text), text)
    return q, t


def test_match_is_the_mean_of_the_head_over_the_queries(model):
    data = batch()
    image = model.image_context(data["patches"])
    logits = model.match(image, data["tokens"])
    assert logits.shape == (B,)
    for row, length in enumerate(LENGTHS):
        queries, _ = read(model, image[row], data["tokens"][row, :length], "joint")
        assert logits[row].item() == pytest.approx(model.itm(queries)[:, 1].mean().item(), abs=1e-4)


def test_captioning_equals_the_form_with_cached_queries(model):
    data = batch()
    image, losses = model.image_context(data["patches"]), []
    queries, loss = model._tell(image, data["tokens"])
    for row, length in enumerate(LENGTHS):
        words = data["tokens"][row, :length].clone()
        words[0] = WORDS  # the id beyond the vocabulary: a caption to be told
        seen, told = read(model, image[row], words, "causal")
        assert torch.allclose(queries[row], seen, atol=1e-4)
        scores = (model.tell(told[:-1]) @ model.embeddings.word_embeddings.weight.T + model.word_bias).log_softmax(1)
        chosen = scores[torch.arange(length - 1), words[1:]]
        losses += (-(0.9 * chosen + 0.1 * scores.mean(1))).tolist()
    assert loss.item() == pytest.approx(sum(losses) / len(losses), rel=1e-4)
    embedded = F.normalize(model.image_projection(queries), dim=-1)
    assert torch.allclose(embedded, model.encode_image(data["patches"]), atol=1e-5)


def test_similarity_is_the_largest_cosine_over_the_queries(model):
    data = batch()
    image, text = model.encode_image(data["patches"]), model.encode_text(data["tokens"])
    assert image.shape == (B, QUERIES, 8)
    assert text.shape == (B, 8)
    scores = model.similarity(image, text[:4])
    assert scores.shape == (B, 4)
    for i in range(B):
        for j in range(4):
            cosines = [F.cosine_similarity(query, text[j], dim=0).item() for query in image[i]]
            assert scores[i, j].item() == pytest.approx(max(cosines), abs=1e-5)
    blocks = [torch.cat([model.similarity(i, t) for t in text.split(4)], 1) for i in image.split(5)]
    assert torch.allclose(torch.cat(blocks), model.similarity(image, text), atol=1e-6)
    assert model.adds_cosine


# ----------------------------------------------------------------------------------------- independence


def test_text_alone_reads_no_picture_and_no_query(model):
    model.zero_grad(set_to_none=True)
    model.encode_text(batch()["tokens"]).sum().backward()
    touched = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    model.zero_grad(set_to_none=True)
    assert any(name.startswith("qformer.encoder.layer.0.attention") for name in touched)
    assert not [n for n in touched if n.startswith(("vision", "queries")) or "crossattention" in n or "_query" in n]


def test_embeddings_are_unit_vectors_from_the_contexts(model):
    data = batch()
    image, text = model.encode_image(data["patches"]), model.encode_text(data["tokens"])
    assert torch.allclose(image.norm(dim=-1), torch.ones(B, QUERIES), atol=1e-5)
    assert torch.allclose(text.norm(dim=-1), torch.ones(B), atol=1e-5)
    assert torch.equal(image, model.embed_image(model.image_context(data["patches"])))
    assert torch.equal(text, model.embed_text(model.text_context(data["tokens"])))
    assert torch.equal(model.text_context(data["tokens"]), data["tokens"])


def test_batch_and_padding_change_nothing(model):
    data, order = batch(), torch.tensor([3, 0, 5, 1, 4, 2])
    image, tokens, padded = model.image_context(data["patches"]), data["tokens"], F.pad(data["tokens"], (0, 4))
    queries, text, logits = model.embed_image(image), model.encode_text(tokens), model.match(image, tokens)
    assert torch.allclose(model.encode_image(data["patches"][order]), queries[order], atol=1e-5)
    assert torch.allclose(model.encode_text(tokens[order]), text[order], atol=1e-5)
    assert torch.allclose(model.encode_text(padded), text, atol=1e-5)
    assert torch.allclose(model.match(image[order], tokens[order]), logits[order], atol=1e-5)
    assert torch.allclose(model.match(image, padded), logits, atol=1e-5)
    for row in range(B):
        one = slice(row, row + 1)
        assert torch.allclose(model.encode_text(tokens[one]), text[one], atol=1e-5)
        assert torch.allclose(model.match(image[one], tokens[one]), logits[one], atol=1e-5)


def test_a_pair_scores_the_same_by_image_and_by_caption(model):
    data = batch()
    image, tokens = model.image_context(data["patches"])[1:], data["tokens"]
    by_image = torch.stack([model.match(i.expand(len(tokens), -1, -1), tokens) for i in image])
    by_text = torch.stack([model.match(image, t.expand(len(image), -1)) for t in tokens])
    assert torch.allclose(by_image, by_text.T, atol=1e-5)
    cosines = model.similarity(model.embed_image(image), model.encode_text(tokens))
    assert not torch.allclose(by_image, cosines, atol=1e-2)
