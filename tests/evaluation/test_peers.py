"""Equal to other packages where they define the same thing, and to the average over many tie orders."""

from __future__ import annotations

import numpy as np
import pytest

from fico_utils.evaluation import evaluate

RECALL_AT = (1, 5, 10)


def corpus(n_img=60, uneven=False, seed=0, width=16, noise=1.5):
    """(images, texts, caption_image, labels): a tie-free continuous corpus."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 8, n_img) if uneven else np.full(n_img, 5)
    caption_image = np.repeat(np.arange(n_img), counts)
    latent = rng.standard_normal((n_img, width))
    images = latent.astype(np.float32)
    texts = (latent[caption_image] + noise * rng.standard_normal((caption_image.size, width))).astype(np.float32)
    return images, texts, caption_image, (rng.random((n_img, 6)) < 0.25).astype(np.uint8)


def table(scores):
    assert (scores.status == "ok").all()
    return scores.set_index(["direction", "metric", "k"])["value"].to_dict()


@pytest.mark.parametrize("measure", ["cosine", "inner_product", "euclidean"])
@pytest.mark.parametrize("uneven", [False, True])
def test_fico_itr(measure, uneven):
    fico = pytest.importorskip("fico_itr")
    images, texts, index, labels = corpus(uneven=uneven)
    ours = table(evaluate(images, texts, caption_image=index, labels=labels, measure=measure, recall_at=RECALL_AT))
    sim = fico.compute_similarity(images.astype(np.float64), texts.astype(np.float64), measure)
    how = index.tolist() if uneven else "auto"
    for direction, theirs in zip(("i2t", "t2i"), fico.instance_retrieval(sim, captions_per_image=how), strict=True):
        for k in RECALL_AT:
            assert ours[direction, "recall", str(k)] == pytest.approx(theirs[f"R@{k}"] / 100)
        assert ours[direction, "mean_rank", ""] == pytest.approx(theirs["MeanR"])
        # theirs is rounded down where the number of queries is even
        assert np.floor(ours[direction, "median_rank", ""]) == theirs["MedianR"]
    for k, name in ((10, "10"), (100, "100"), (None, "N")):
        theirs = fico.category_retrieval(sim, labels, k, captions_per_image=how)
        assert [ours[d, "map", name] for d in ("i2t", "t2i")] == pytest.approx(theirs)


def test_fico_itr_square():
    fico = pytest.importorskip("fico_itr")
    images, texts, index, labels = corpus()
    square = fico.compute_similarity(images, texts)[index]
    theirs = fico.instance_retrieval(square, captions_per_image=5)
    # the repeated images of a square matrix are told apart by the caption index, not guessed
    ours = table(evaluate(similarity=square[::5], caption_image=index, labels=labels, recall_at=RECALL_AT))
    for direction, scores in zip(("i2t", "t2i"), theirs, strict=True):
        assert ours[direction, "recall", "10"] == pytest.approx(scores["R@10"] / 100)
    alone = evaluate(similarity=square[::5][:, ::5], recall_at=RECALL_AT)
    theirs = fico.instance_retrieval(square[::5][:, ::5])
    assert table(alone)["t2i", "recall", "5"] == pytest.approx(theirs[1]["R@5"] / 100)


def relevance(index, labels):
    shared = (labels @ labels.T) > 0
    return {"i2t": shared[:, index], "t2i": shared[index]}


def test_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    images, texts, index, labels = corpus(uneven=True)
    sim = (images @ texts.T).astype(np.float64)
    ours = table(evaluate(similarity=sim, caption_image=index, labels=labels, curve=True))
    for direction, relevant in relevance(index, labels).items():
        scores = sim if direction == "i2t" else sim.T
        ap, curves = [], []
        for row, flags in zip(scores, relevant, strict=True):
            if not flags.any():
                ap.append(0.0)
                curves.append(np.zeros(11))
                continue
            ap.append(metrics.average_precision_score(flags, row))
            precision, recall, _ = metrics.precision_recall_curve(flags, row)
            reached = [precision[:-1][recall[:-1] >= t / 10 - 1e-12].max() for t in range(11)]
            curves.append(np.array(reached))
        assert ours[direction, "map", "N"] == pytest.approx(np.mean(ap))
        mine = [ours[direction, "precision", f"R={t / 10:.1f}"] for t in range(11)]
        assert mine == pytest.approx(np.mean(curves, axis=0))


def test_torchmetrics():
    torch = pytest.importorskip("torch")
    retrieval = pytest.importorskip("torchmetrics.retrieval")
    images, texts, index, labels = corpus(n_img=30, uneven=True)
    sim = images @ texts.T
    ours = table(evaluate(similarity=sim, caption_image=index, labels=labels, recall_at=RECALL_AT, map_at=(5, "N")))
    correct = {"i2t": np.arange(30)[:, None] == index, "t2i": index[:, None] == np.arange(30)}
    for direction, relevant in relevance(index, labels).items():
        scores = sim if direction == "i2t" else sim.T
        # it takes scores of 0 and less for irrelevant: lift them
        lifted = torch.from_numpy(np.ascontiguousarray(scores - scores.min() + 1).astype(np.float64)).ravel()
        rows = torch.arange(scores.shape[0]).repeat_interleave(scores.shape[1])
        for name, k in (("N", None), ("5", 5)):
            theirs = retrieval.RetrievalMAP(top_k=k, empty_target_action="neg")
            assert ours[direction, "map", name] == pytest.approx(
                float(theirs(lifted, torch.from_numpy(relevant).ravel(), indexes=rows)), abs=1e-5
            )
        for k in RECALL_AT:
            theirs = retrieval.RetrievalHitRate(top_k=k)
            value = float(theirs(lifted, torch.from_numpy(correct[direction]).ravel(), indexes=rows))
            assert ours[direction, "recall", str(k)] == pytest.approx(value, abs=1e-6)


def test_mean_over_random_tie_orders():
    n_img, repeats = 160, 100
    images, texts, index, labels = corpus(n_img, uneven=True, width=12)
    codes = images > 0, texts > 0
    flags = {"measure": "hamming", "labels": labels, "recall_at": RECALL_AT, "map_at": (3, 10, 50, "N")}
    exact = table(evaluate(*codes, caption_image=index, **flags))
    assert exact["t2i", "median_rank", ""] % 0.5 != 0
    rng, drawn = np.random.default_rng(1), []
    for _ in range(repeats):
        a, b = rng.permutation(n_img), rng.permutation(index.size)
        place = np.argsort(a)
        moved = flags | {"labels": labels[a], "caption_image": place[index[b]], "ties": "index"}
        drawn.append(table(evaluate(codes[0][a], codes[1][b], **moved)))
    for key, value in exact.items():
        sample = np.array([d[key] for d in drawn])
        assert abs(sample.mean() - value) < 4.5 * sample.std() / np.sqrt(repeats) + 1e-9, key
    bounds = [table(evaluate(*codes, caption_image=index, ties=t, **flags)) for t in ("pessimistic", "optimistic")]
    for (direction, metric, k), value in exact.items():
        low, high = sorted(b[direction, metric, k] for b in bounds)
        assert low - 1e-12 <= value <= high + 1e-12


@pytest.mark.parametrize("flags", [{}, {"measure": "hamming"}, {"measure": "euclidean"}, {"measure": "inner_product"}])
def test_a_constant_model_scores_chance(flags):
    _, _, index, labels = corpus(uneven=True)
    scores = evaluate(
        np.ones((60, 4)), np.ones((index.size, 4)), caption_image=index, labels=labels, curve=True, **flags
    )
    np.testing.assert_allclose(scores.value, scores.chance, rtol=1e-9)
    assert scores.loc[scores.metric == "recall", "value"].iloc[0] < 0.1


def test_chance_is_the_mean_of_random_rankings():
    n_img, repeats = 120, 75
    _, _, index, labels = corpus(n_img, uneven=True)
    rng, drawn = np.random.default_rng(0), []
    for _ in range(repeats):
        scores = evaluate(
            similarity=rng.standard_normal((n_img, index.size)), caption_image=index, labels=labels,
            similarity_t2i=rng.standard_normal((index.size, n_img)), recall_at=RECALL_AT,
        )  # fmt: skip
        drawn.append(scores.value.to_numpy())
    drawn = np.array(drawn)
    margin = 4.5 * drawn.std(axis=0) / np.sqrt(repeats) + 1e-9
    assert (np.abs(drawn.mean(axis=0) - scores.chance) < margin).all()
