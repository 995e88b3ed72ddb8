"""Each protocol gives what the code that it stands for prints: computed here again, in loops, as that code does it."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from fico_utils.cli import main
from fico_utils.errors import InputError
from fico_utils.evaluation import evaluate
from fico_utils.extras.scoring.protocols import PROTOCOLS

N, CAPTIONS, LABELS = 40, 5, 6


@pytest.fixture(scope="module")
def system():
    """Codes that tie often, as arrays (n, 12) of -1 and 1, with labels; some images share no label with any other."""
    rng = np.random.default_rng(3)
    images = rng.choice([-1, 1], (N, 12))
    texts = np.repeat(images, CAPTIONS, axis=0) * rng.choice([1, -1], (N * CAPTIONS, 12), p=(0.7, 0.3))
    labels = (rng.random((N, LABELS)) < 0.25).astype(int)
    labels[:3] = 0  # these find nothing
    return images, texts, labels


def ours(protocol, system, **more):
    images, texts, labels = system
    table = evaluate(images, texts, labels=labels, measure="hamming", protocol=protocol, **more)
    assert set(table.protocol) == {protocol}
    assert set(table.folds) == {PROTOCOLS[protocol].folds}
    return {(row.direction, row.metric, row.k): row.value for row in table.itertuples()}


def asked(system):
    """(direction, scores, image of each query, image of each item) of both directions."""
    images, texts, _ = system
    own = np.repeat(np.arange(len(images)), CAPTIONS)
    yield "i2t", images @ texts.T, np.arange(len(images)), own
    yield "t2i", texts @ images.T, own, np.arange(len(images))


def ranked(row):
    """The order that a stable sort leaves."""
    return np.argsort(-row, kind="stable")


def first_ranks(system):
    """Direction -> rank of the best own item of each query, from 0, as VSE++ finds it."""
    return {
        direction: np.array([
            min(np.flatnonzero(ranked(scores[q]) == item)[0] for item in np.flatnonzero(items == queries[q]))
            for q in range(len(queries))
        ])
        for direction, scores, queries, items in asked(system)
    }  # fmt: skip


def vsepp(system):
    out = {}
    for direction, ranks in first_ranks(system).items():
        for k in (1, 5, 10):
            out[direction, "recall", str(k)] = len(np.where(ranks < k)[0]) / len(ranks)
        out[direction, "median_rank", ""] = np.floor(np.median(ranks)) + 1
        out[direction, "mean_rank", ""] = ranks.mean() + 1
    out["both", "rsum", ""] = 100 * sum(v for (_, metric, _), v in out.items() if metric == "recall")
    return out


def coco1k(system):
    size, folds = N // 5, []
    for start in range(0, N, size):
        images, texts, labels = system
        part = slice(CAPTIONS * start, CAPTIONS * (start + size))
        folds.append(vsepp((images[start : start + size], texts[part], labels)))
    return {key: np.mean([fold[key] for fold in folds]) for key in folds[0]}


def blip(system):
    out = {key: value for key, value in vsepp(system).items() if key[1] == "recall"}
    means = [np.mean([out[d, "recall", str(k)] for k in (1, 5, 10)]) for d in ("i2t", "t2i")]
    return {**out, ("both", "mean_recall", ""): 100 * np.mean(means)}


def clip_benchmark(system):
    out = {}
    for direction, scores, queries, items in asked(system):
        for k in (1, 5, 10):
            positive = np.array([queries[q] == items[ranked(scores[q])[:k]] for q in range(len(queries))])
            out[direction, "recall", str(k)] = (positive.sum(1) > 0).mean()
    return out


def mteb(system):
    trec = pytest.importorskip("pytrec_eval")
    out = {}
    names = {"recall": "recall_share", "P": "precision", "map_cut": "map", "ndcg_cut": "ndcg"}
    for direction, scores, queries, items in asked(system):
        n = range(len(queries))
        truth = {f"q{q}": {f"d{j}": 1 for j in np.flatnonzero(items == queries[q])} for q in n}
        run = {f"q{q}": {f"d{j}": float(-rank) for rank, j in enumerate(ranked(scores[q]))} for q in n}
        seen = trec.RelevanceEvaluator(truth, {f"{name}.1,5,10" for name in names}).evaluate(run)
        for theirs, name in names.items():
            for k in (1, 5, 10):
                out[direction, name, str(k)] = np.mean([values[f"{theirs}_{k}"] for values in seen.values()])
        for k in (1, 5, 10):
            ranks = first_ranks(system)[direction] + 1
            out[direction, "mrr", str(k)] = np.mean(np.where(ranks <= k, 1 / ranks, 0))
            out[direction, "recall", str(k)] = np.mean(ranks <= k)
    return out


def eccv(system):
    out = {}
    for direction, scores, queries, items in asked(system):
        recalls, precisions, means = {1: [], 5: [], 10: []}, [], []
        for q in range(len(queries)):
            fits = (items == queries[q])[ranked(scores[q])]
            r = fits.sum()
            for k, found in recalls.items():
                found.append(fits[:k].any())
            precisions.append(fits[:r].mean())
            means.append(sum(fits[: i + 1].mean() for i in range(r) if fits[i]) / r)
        out |= {(direction, "recall", str(k)): np.mean(found) for k, found in recalls.items()}
        out |= {(direction, "precision", "R"): np.mean(precisions), (direction, "map", "R"): np.mean(means)}
    return out


def relevant_in_order(system):
    """(direction, for each query which items share a label, in rank order, with their scores)."""
    for direction, scores, queries, items in asked(system):
        labels = system[2]
        fits = labels[queries] @ labels[items].T > 0
        order = np.array([ranked(row) for row in scores])
        yield direction, np.take_along_axis(fits, order, 1), np.take_along_axis(scores, order, 1)


def dcmh(system):
    out = {}
    for direction, fits, _ in relevant_in_order(system):
        n = len(fits)
        for k in (10, 100, "N"):
            mean = precision = recall = 0.0
            for row in fits:
                top = row[: None if k == "N" else k]
                if row.sum() == 0 or top.sum() == 0:
                    continue
                mean += np.mean(np.arange(1, top.sum() + 1) / (np.flatnonzero(top) + 1))
                precision, recall = precision + top.mean(), recall + top.sum() / row.sum()
            out[direction, "map", str(k)] = mean / n
            if k != "N":
                out[direction, "precision", str(k)], out[direction, "recall_share", str(k)] = precision / n, recall / n
    return out


def ucch(system):
    out = {}
    for direction, fits, _ in relevant_in_order(system):
        kept = [row for row in fits if row.sum() > 0]
        means = [np.dot(row, row.cumsum() / np.arange(1.0, 1 + row.size)) / row.sum() for row in kept]
        out[direction, "map", "N"] = np.mean(means)
    return out


def dadh(system):
    out = {}
    for direction, fits, _ in relevant_in_order(system):
        for k in (10, 100, "N"):
            total = 0.0
            for row in fits:
                if row.sum():
                    n = min(row.size if k == "N" else k, row.sum())
                    total += np.mean(np.arange(1, n + 1) / (np.flatnonzero(row)[:n] + 1.0))
            out[direction, "map", str(k)] = total / len(fits)
    return out


def deephash_radius(system):
    out = {}
    for direction, fits, scores in relevant_in_order(system):
        values = []
        for row, score in zip(fits, scores, strict=True):
            size = int(((12 - score) / 2 <= 2).sum())
            ball = row[:size]
            found = ball.sum()
            mean = np.sum(ball.cumsum() / np.arange(1, size + 1) * ball) / found if found else 0.0
            values.append([found / size if size else 0.0, found / row.sum() if row.sum() else 0.0, mean])
        for metric, value in zip(("precision", "recall_share", "map"), np.mean(values, 0), strict=True):
            out[direction, metric, "radius2"] = value
    return out


def fico(system):
    """The paper's own library leaves the order of tied items undefined; `test_peers` compares it where nothing ties."""
    table = evaluate(*system[:2], labels=system[2], measure="hamming")
    return {(row.direction, row.metric, row.k): row.value for row in table.itertuples()}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_gives_what_its_code_prints(protocol, system):
    theirs = globals()[protocol](system)
    mine = ours(protocol, system)
    assert mine.keys() == theirs.keys()
    for key, value in theirs.items():
        assert mine[key] == pytest.approx(value, abs=1e-9), key


def test_all_protocols_are_those_one_by_one(system):
    images, texts, labels = system
    table = evaluate(images, texts, labels=labels, measure="hamming", protocol="all")
    assert list(dict.fromkeys(table.protocol)) == list(PROTOCOLS)
    for protocol, part in table.groupby("protocol"):
        alone = ours(protocol, system)
        assert {(r.direction, r.metric, r.k): r.value for r in part.itertuples()} == pytest.approx(alone, abs=1e-12)


def test_all_leaves_out_what_the_input_does_not_allow(system):
    images, texts, labels = system
    floats = evaluate(images.astype(float), texts.astype(float), protocol="all")
    assert set(PROTOCOLS) - set(floats.protocol) == {"dcmh", "ucch", "dadh", "deephash_radius"}
    sets = {"query_labels": labels, "gallery_labels": labels, "measure": "hamming"}
    hashed = evaluate(queries=images, gallery=images, **sets, protocol="all")
    assert set(hashed.protocol) == {"fico", "dcmh", "ucch", "dadh", "deephash_radius"}
    assert set(hashed.direction) == {"q2g"}
    folded = evaluate(images[:-1], texts[:-CAPTIONS], labels=labels[:-1], measure="hamming", protocol="all")
    assert set(PROTOCOLS) - set(folded.protocol) == {"coco1k"}  # 39 images have no five equal parts


def test_the_verb_prints_all_dialects_side_by_side(system, tmp_path, capsys):
    flags = []
    for name, array in zip(("images", "texts", "labels"), system, strict=True):
        np.save(tmp_path / f"{name}.npy", array)
        flags += [f"--{name}", str(tmp_path / f"{name}.npy")]
    images, texts, labels = system
    scores = evaluate(images, texts, labels=labels, measure="hamming", protocol="all")
    lines = {}
    for form in ("table", "markdown", "latex"):
        assert main(["evaluate", *flags, "--measure", "hamming", "--protocol", "all", "--format", form]) == 0
        lines[form] = capsys.readouterr().out.splitlines()
        assert all(name.replace("_", r"\_" if form == "latex" else "_") in "\n".join(lines[form]) for name in PROTOCOLS)
    printed = [cell.strip() for cell in next(x for x in lines["markdown"] if "category map@10 t2i" in x).split("|")]
    heads = [cell.strip() for cell in lines["markdown"][0].split("|")]
    row = dict(zip(heads, printed, strict=True))
    for name in PROTOCOLS:
        value = scores.query("protocol == @name and task == 'category' and metric == 'map' and k == '10'")
        value = value[value.direction == "t2i"].value
        assert row[name] == (f"{value.item():.4f}" if len(value) else "")


def test_what_is_said_beside_a_protocol_goes_first(system):
    mine = ours("ucch", system, metrics="map@10", map_divisor="relevant")
    assert set(mine) == {("i2t", "map", "10"), ("t2i", "map", "10")}
    assert mine != ours("ucch", system, metrics="map@10")


@pytest.mark.parametrize(
    ("protocol", "sentence"),
    [
        ("dcmh", "needs labels"),
        ("deephash_radius", "needs labels"),
        ("dadhh", "did you mean dadh?"),
        ("x", "expected one of"),
    ],
)
def test_a_protocol_says_what_it_lacks(protocol, sentence, system):
    with pytest.raises(InputError, match=sentence.replace("?", r"\?")):
        evaluate(*system[:2], measure="hamming", protocol=protocol)


def test_a_radius_needs_codes(system):
    with pytest.raises(InputError, match="hash codes"):
        evaluate(*(x.astype(float) for x in system[:2]), labels=system[2], protocol="deephash_radius")
    with pytest.raises(InputError, match="at least 13 bits"):
        evaluate(*system[:2], labels=system[2], measure="hamming", metrics="precision@radius13")


def test_the_verb_lists_all(capsys):
    assert main(["protocols"]) == 0
    printed = capsys.readouterr().out
    assert all(f"{name}: {protocol.source}" in printed for name, protocol in PROTOCOLS.items())


def test_eccv_caption_scores_the_same():
    """Planted scores over MS-COCO's real ids: the package that holds the relevance agrees, in both directions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metrics = pytest.importorskip("eccv_caption").Metrics()
    rng, truth = np.random.default_rng(0), metrics.coco_gts
    images, captions = np.array(sorted(truth["i2t"])), np.array([int(i) for i in metrics.coco_ids])
    place = {image: at for at, image in enumerate(images)}
    own = np.array([place[truth["t2i"][c][0]] for c in captions])
    vectors = rng.standard_normal((images.size, 24)).astype(np.float32)
    texts = vectors[own] + 0.9 * rng.standard_normal((captions.size, 24)).astype(np.float32)
    lengths = [np.linalg.norm(x, axis=1, keepdims=True) for x in (vectors, texts)]
    scores = (vectors / lengths[0]) @ (texts / lengths[1]).T
    retrieved = {
        "i2t": {int(images[i]): captions[np.argsort(-row)[:200]].tolist() for i, row in enumerate(scores)},
        "t2i": {int(captions[j]): images[np.argsort(-row)[:200]].tolist() for j, row in enumerate(scores.T)},
    }
    how = {
        "image_ids": images,
        "caption_ids": captions,
        "metrics": "recall@1,5 map@R precision@R",
        "no_relevant": "skip",
    }
    for name, names in {
        "coco": {"recall,1": "coco_5k_recalls", "recall,5": "coco_5k_recalls"},
        "cxc": {"recall,1": "cxc_recalls", "recall,5": "cxc_recalls"},
        "eccv": {"recall,1": "eccv_r1", "map,R": "eccv_map_at_r", "precision,R": "eccv_rprecision"},
    }.items():
        table = evaluate(similarity=scores, relevance=name, **how)
        mine = {(row.direction, f"{row.metric},{row.k}"): row.value for row in table.itertuples()}
        for key, theirs in names.items():
            k = {"K": int(key[-1])} if key[-1].isdigit() else {}
            if name == "eccv":
                found = metrics.eccv_metrics(retrieved, "all")[theirs]
            else:
                found = getattr(metrics, theirs)(retrieved, "all", **k)
            for direction in ("i2t", "t2i"):
                assert mine[direction, key] == pytest.approx(found[direction], abs=1e-6), (name, key, direction)
    # five galleries of 1 000 images, in the order of the package's list of captions
    order = np.array(list(dict.fromkeys(own)))
    at = np.empty_like(order)
    at[order] = np.arange(order.size)
    folded = evaluate(similarity=scores[order], caption_image=at[own], protocol="coco1k", metrics="recall@1,5")
    found = {k: metrics.coco_1k_recalls(retrieved, "all", K=int(k)) for k in ("1", "5")}
    for row in folded.itertuples():
        assert row.value == pytest.approx(found[row.k][row.direction], abs=1e-6)
