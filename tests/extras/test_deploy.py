"""`fico_utils.deploy`: what it measures is true, what it recommends can be built again, and bad input is refused."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import faiss
import numpy as np
import pytest

import fico_utils
from fico_utils.cli import main
from fico_utils.errors import InputError
from fico_utils.extras import deploy as package
from fico_utils.extras.deploy import answer, growth, read_sizes, sweep, timing
from fico_utils.extras.deploy.candidates import ALL, GRAPH, LISTS, list_builds
from fico_utils.extras.deploy.inputs import read_asked, unit_rows
from fico_utils.extras.deploy.measuring import task_scores

DIM = 32


def make_pairs(n: int, noise: float = 1.2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images, and a caption of each in the same order."""
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(n, DIM)).astype(np.float32)
    return images, (images + noise * rng.normal(size=(n, DIM))).astype(np.float32)


@pytest.fixture(scope="module")
def found() -> package.Deployment:
    images, texts = make_pairs(1600)
    labels = np.arange(1600) % 7
    return fico_utils.deploy(images, texts, labels=labels, grow_to="5k,1M", memory_gib=1, latency_ms=50, quick=True)


@pytest.fixture(scope="module")
def small() -> package.Deployment:
    """So small that all captions ask."""
    images, texts = make_pairs(60)
    return fico_utils.deploy(images, texts, labels=np.arange(60) % 5, quick=True)


def test_columns(found: package.Deployment) -> None:
    table = found.table
    named = "name factory items bytes_per_item build_s query_ms batch_ms memory_bytes".split()  # noqa: SIM905
    named.append("neighbour_recall@1")
    assert list(table.columns[:9]) == named
    assert {"recall@1", "recall@1_ci_low", "recall@10_ci_high", "map@10", "share_of_exact", "status"} <= {*table}
    assert set(table["status"]) == {"measured", "extrapolated"}
    assert set(table["items"]) == {200, 400, 1600, 5000, 1_000_000}
    measured = table[table["status"] == "measured"]
    assert measured[[*named[2:], "recall@1", "map@10"]].notna().to_numpy().all()
    assert not table.duplicated(["name", "items"]).any()


def test_the_exhaustive_index_loses_nothing(found: package.Deployment) -> None:
    exact = found.table[found.table["name"] == "Flat"]
    assert (exact["share_of_exact"] == 1).all()
    assert (exact[["neighbour_recall@1", "neighbour_recall@10"]] == 1).to_numpy().all()
    assert exact.loc[exact["status"] == "measured", "bytes_per_item"].between(4 * DIM, 4 * DIM + 1).all()


def test_scores_are_those_of_evaluate(small: package.Deployment) -> None:
    images, texts = make_pairs(60)
    scores = fico_utils.evaluate(images, texts, labels=np.arange(60) % 5, metrics="recall@1,5,10", intervals=True)
    expected = scores[(scores["direction"] == "t2i") & (scores["task"] == "instance")].set_index("k")
    mean = fico_utils.evaluate(images, texts, labels=np.arange(60) % 5, map_at=(10,))
    mean = mean[(mean["direction"] == "t2i") & (mean["metric"] == "map")]["value"].iloc[0]
    exact = small.table.set_index("name").loc["Flat"]
    for k in (1, 5, 10):
        row = expected.loc[str(k)]
        assert exact[f"recall@{k}"] == pytest.approx(row["value"])
        assert (exact[f"recall@{k}_ci_low"], exact[f"recall@{k}_ci_high"]) == (row["ci_low"], row["ci_high"])
    assert exact["map@10"] == pytest.approx(mean)


def test_copies_count_as_the_nearest() -> None:
    images, texts = make_pairs(40)
    found = fico_utils.deploy(np.repeat(images, 5, 0), np.repeat(texts, 5, 0), caption_image=np.arange(200), quick=True)
    exact = found.table.set_index("name").loc["Flat"].query("status == 'measured' and items == 200").iloc[0]
    assert exact["neighbour_recall@1"] == 1.0
    assert exact["recall@1"] < 0.5  # any of five equal images may stand first


def test_what_a_search_did_not_find_counts_as_not_found() -> None:
    images, texts = make_pairs(60)
    part = read_asked({"images": images, "texts": texts}, None, "t2i", 0, 500).part(60)
    own = np.argsort(part.chosen)[part.task.asking]
    ids = np.full((60, 10), -1)
    ids[:30, 0] = own[:30]
    row = task_scores(ids, np.zeros((60, 10), np.float32), part.task)
    assert [row[f"recall@{k}"] for k in (1, 5, 10)] == [0.5, 0.5, 0.5]


def test_each_factory_string_finds_what_the_table_says(found: package.Deployment) -> None:
    images, texts = make_pairs(1600)
    asked = read_asked({"images": images, "texts": texts}, None, "t2i", 0, 500)
    part = asked.part(1600)
    rows = found.table.query("items == 1600 and status == 'measured' and codes == ''")
    assert len(rows) >= 8
    for row in rows.to_dict("records"):
        index = faiss.index_factory(DIM, row["factory"], faiss.METRIC_INNER_PRODUCT)
        index.train(part.items)
        index.add(part.items)
        if row["search"]:
            faiss.ParameterSpace().set_index_parameters(index, row["search"])
        first = part.chosen[index.search(part.queries, 10)[1][:, 0]]
        reached = (first == part.task.asking).mean()  # image i belongs to caption i
        assert row["recall@1_ci_low"] <= reached <= row["recall@1_ci_high"]
        assert reached == pytest.approx(row["recall@1"], abs=0.01)


def test_the_code_of_every_candidate_runs(found: package.Deployment, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    images, texts = make_pairs(1600)
    np.save("images.npy", images)
    np.save("texts.npy", texts)
    for row in found.table.query("items == 1600").to_dict("records"):
        names: dict = {}
        exec(compile(answer.build_code(found, row), row["name"], "exec"), names)  # noqa: S102
        assert names["ids"].shape == (1600, 10), row["name"]
        reached = (names["ids"][:, 0] == np.arange(1600)).mean()
        assert reached == pytest.approx(row["recall@1"], abs=0.1), row["name"]
    code = re.search("```python\n(.*?)```", found.answer, re.DOTALL)[1]
    names = {}
    exec(compile(code, "answer", "exec"), names)  # noqa: S102
    assert names["ids"].shape == (1600, 10)
    assert len(code.splitlines()) <= 10


def test_what_is_recommended_keeps_its_promise(found: package.Deployment, tmp_path: Path, monkeypatch) -> None:
    """Built afresh by the code that the answer gives, each named candidate reaches its R@1 within the interval."""
    monkeypatch.chdir(tmp_path)
    images, texts = make_pairs(1600)
    asking = read_asked({"images": images, "texts": texts}, None, "t2i", 0, package.N_QUERY).task.asking
    np.save("images.npy", images)
    np.save("texts.npy", texts[asking])
    named = found.named()
    assert {"Flat", found.best()["name"], found.best(items=1_000_000)["name"]} <= named
    rows = found.table.query("items == 1600").set_index("name", drop=False).loc[sorted(named)]
    assert (rows["codes"] != "").any()
    assert ((rows["query_ms_low"] <= rows["query_ms"]) & (rows["query_ms"] <= rows["query_ms_high"])).all()
    for row in rows.to_dict("records"):
        names: dict = {}
        exec(compile(answer.build_code(found, row), row["name"], "exec"), names)  # noqa: S102
        reached = (names["ids"][:, 0] == asking).mean()  # image i belongs to caption i
        assert row["recall@1_ci_low"] <= reached <= row["recall@1_ci_high"], row["name"]


def test_a_slow_spell_of_the_machine_does_not_count(monkeypatch) -> None:
    """Everything takes three times as long now and then, the reference search, too; the time is that of most rounds."""
    clock, speeds = [0.0], []

    def refer() -> float:
        speeds.append(3.0 if len(speeds) % 30 > 20 else 1.0)
        return speeds[-1]

    def search(queries, codes):
        clock[0] += 0.002 * (speeds or [1.0])[-1] * len(queries)

    monkeypatch.setattr(timing, "reference_clock", lambda: refer)
    rounds = timing.Rounds(20, 1.0, 1.0)
    (times,) = timing.time_searches([search], np.zeros((300, 4)), None, rounds, lambda: clock[0])
    assert times.row()["query_ms"] == pytest.approx(2)
    assert times.row()["reference_ms"] == 1
    assert times.interval("query_ms")["query_ms_low"] <= 2 <= times.interval("query_ms")["query_ms_high"]
    slow = {"query_ms": 6.0, "reference_ms": 3.0}
    assert timing.at_one_state([slow], 1.0) == [{"query_ms": 2.0, "reference_ms": 1.0}]


def test_the_best_fits_and_finds_most(found: package.Deployment) -> None:
    rows = found.table[found.table["items"] == 1600]
    fastest, least = float(rows["query_ms"].min()), 1600 * 40 / 2**30
    for memory_gib, latency_ms in [(1, 1000), (least, 1000), (1, 1.01 * fastest)]:
        best = found.best(memory_gib, latency_ms)
        fits = rows[
            (rows["status"] == "measured")
            & (rows["memory_bytes"] <= memory_gib * 2**30)
            & (rows["query_ms"] <= latency_ms)
        ]
        assert best["name"] in set(fits["name"])
        assert best["recall@1"] >= min(fits["recall@1"].max(), rows.set_index("name").loc["Flat", "recall@1"]) - 1e-12
    assert found.best(items=5000)["items"] == 5000
    assert found.best(items=777_777)["status"] == "extrapolated"


def test_a_budget_that_nothing_meets_names_the_nearest(found: package.Deployment) -> None:
    with pytest.raises(InputError, match=r"no candidate for 1,600 items fits .*; the nearest is .*times what"):
        found.best(memory_gib=1e-9, latency_ms=1e-6)
    tight = replace(found, memory_gib=1e-4)
    assert "No candidate for 1,000,000 items" in tight.answer
    over = tight.table[tight.table["memory_bytes"] > 1e-4 * 2**30]
    assert len(over)
    assert over["note"].str.contains("exceeds 0.0001 GiB").all()


def test_items_that_opq_turned_are_found_as_by_an_index_that_turned_them_itself() -> None:
    """Filled from turned items in a file, it is the index that FAISS fills through the same turn."""
    items = make_pairs(3000, noise=1.0)[0]
    build = next(build for build in list_builds(len(items), items.shape[1], [], False) if "OPQ" in build.factory)
    index = build.filled_index(items)
    turned = faiss.downcast_VectorTransform(index.chain.at(0)).apply(items)
    behind = faiss.deserialize_index(faiss.serialize_index(faiss.downcast_index(index.index)))
    assert index.ntotal == len(items)
    scores = index.search(items[:50], 10)[0]
    assert np.allclose(behind.search(turned[:50], 10)[0], scores, rtol=1e-5)
    whole = faiss.deserialize_index(faiss.serialize_index(index))
    whole.reset()
    whole.add(items)
    assert np.allclose(whole.search(items[:50], 10)[0], scores, rtol=1e-4)


def test_growth_is_marked_and_has_an_interval(found: package.Deployment) -> None:
    rows = found.table[found.table["items"] == 1_000_000]
    assert len(rows) >= 5
    assert (rows["status"] == "extrapolated").all()
    assert ((rows["query_ms_low"] <= rows["query_ms"]) & (rows["query_ms"] <= rows["query_ms_high"])).all()
    assert ((rows["recall@1_ci_low"] <= rows["recall@1"]) & (rows["recall@1"] <= rows["recall@1_ci_high"])).all()
    assert (rows["share_of_exact"] <= 1 + 1e-9).all()
    before = found.table[found.table["items"] == 1600].set_index("name")["recall@1"]
    assert (rows.set_index("name")["recall@1"] <= before.reindex(rows["name"]).fillna(1) + 1e-9).all()


@pytest.mark.parametrize("law", ["n", LISTS, GRAPH])
def test_a_time_of_the_law_is_carried_exactly(law: str) -> None:
    steps = growth.STEPS[law]
    sizes = [1000, 2000, 4000]
    fit, truth = (
        growth.fit_times(sizes, [3 + 0.01 * float(steps(float(n))) for n in sizes], steps),
        3 + 0.01 * float(steps(1e7)),
    )
    noisy = growth.fit_times(sizes, [1.0, 2.2, 3.9], steps)
    value, low, high = fit.predict(10**7, [fit, noisy])
    assert value == pytest.approx(truth)
    assert low < truth < high


def test_a_time_that_did_not_rise_grows_by_no_more_than_its_noise_allows() -> None:
    sizes, steps = [200, 400, 800, 1600], growth.STEPS[ALL]
    calm, noisy = (growth.fit_times(sizes, [8 + e, 8 - e, 8 + e, 8 - e], steps) for e in (0.01, 0.4))
    assert calm.predict(1600, [calm])[0] == pytest.approx(8, rel=0.01)
    assert 8 < calm.predict(10**6, [calm])[0] < noisy.predict(10**6, [noisy])[0] < 8 * 10**6 / 200


def test_a_time_that_did_not_rise_grows_as_those_of_its_law_did() -> None:
    """Of two sizes the noise says nothing; without searches alike, all of the time may be steps."""
    law, both = {"law": LISTS}, (10_000, 40_000)
    rows = {"rose": [4.0, 6.0], "steeper": [1.0, 1.5], "flat": [5.0, 4.5]}  # steps take two thirds of 6 and of 1.5
    rows = {
        name: [law | {"items": n, "query_ms": ms} for n, ms in zip(both, times, strict=True)]
        for name, times in rows.items()
    }
    fits = growth.fit_alike(rows, "query_ms")
    assert [fit.rose for fit in fits.values()] == [True, True, False]
    assert [fit.share(40_000) for fit in fits.values()] == pytest.approx([2 / 3] * 3)
    assert 4.5 < fits["flat"].predict(40_000, [])[0] < 5
    ratio = fits["flat"].predict(10**6, [])[0] / fits["flat"].predict(40_000, [])[0]
    assert ratio == pytest.approx(1 / 3 + 2 / 3 * 5)
    alone = growth.fit_alike({"flat": rows["flat"]}, "query_ms")["flat"]
    assert alone.share(40_000) == pytest.approx(1)


def test_recall_is_carried_to_a_gallery_that_was_held_out() -> None:
    """From an eighth and a quarter of the images, the recall of all of them lies in the interval, 7 points each way."""
    images, texts = make_pairs(4000, noise=2.0)
    whole = fico_utils.deploy(images, texts, grow_to=4000, quick=True)
    rows = [row for row in whole.records if row["items"] < 4000]
    carried = {row["name"]: row for row in growth.carry_rows(rows, 4000, {}, whole.n_query)}
    exact = whole.table.query("items == 4000").set_index("name").loc["Flat", "recall@1"]
    low, value, high = (carried["Flat"][f"recall@1{end}"] for end in ("_ci_low", "", "_ci_high"))
    assert low < exact < high
    assert max(value - low, high - value) < 0.07


def test_what_is_noise_in_a_slope_is_taken_from_its_kind() -> None:
    """Slopes of 30 shares from 500 queries at two sizes: pooled, they lead nearer to the true shares at a third."""
    rng, sizes, least = np.random.default_rng(0), np.array([1000, 2000]), 1 / 1000
    logits = rng.uniform(1, 4, 30) + np.array([0.0, -0.3])[:, None]
    found = rng.binomial(1, 1 / (1 + np.exp(-logits[..., None])), (2, 30, 500))
    weights = np.concatenate([np.ones((1, 500)), rng.multinomial(500, np.full(500, 1 / 500), 200)]) / 500
    slopes = growth.odds_line(sizes, found @ weights.T, least)[1]
    own, kind = growth.pool_slopes(slopes)
    true = -0.3 / np.log(2)
    assert own.max() < 0.5
    assert kind[0] == pytest.approx(true, abs=0.2)
    assert np.percentile(kind[1:], 1) < true < np.percentile(kind[1:], 99)
    expected, shares = 1 / (1 + np.exp(0.6 - logits[0])), found.mean(axis=2)
    pooled, alone = (
        np.sqrt(np.mean((growth.fit_share(sizes, shares, 4000, least, *how) - expected) ** 2))
        for how in ((own, kind[0]), ())
    )
    assert pooled < 0.7 * alone

    far = np.array([[-1.0], [0.0], [-3.0]]) + rng.normal(scale=0.01, size=(3, 200))
    assert growth.pool_slopes(far)[0].min() > 0.99  # slopes that differ beyond their noise stay
    own, kind = growth.pool_slopes(np.concatenate([slopes, np.zeros((1, 201))]))
    assert own[-1] == 1  # a share that never changed, which tells nothing of the others
    assert np.allclose(kind, growth.pool_slopes(slopes)[1])


def test_recall_of_half_a_gallery_is_that_of_random_halves() -> None:
    """R@1 and R@5 with half of the others are those of drawn halves; with more of them R@1 falls."""
    rng = np.random.default_rng(0)
    beaten = np.stack([rng.binomial(1, 0.2, 400), rng.geometric(0.3, 400) - 1])
    drawn = [beaten[0] + rng.hypergeometric(beaten[1], 1000 - beaten[1], 500) for _ in range(200)]
    from scipy.stats import hypergeom

    for k in (1, 5):
        expected = hypergeom.cdf(k - 1 - beaten[0], 1000, beaten[1], 500).mean()
        assert expected == pytest.approx(np.mean([(each < k).mean() for each in drawn]), abs=0.01)
    first = (beaten.sum(axis=0) == 0).mean()
    value, draws = growth.carry_hits(beaten, 1000, 2000, 1, first)
    assert value < first
    assert np.percentile(draws, 2.5) < value < np.percentile(draws, 97.5)


def test_items_that_are_asked_for_do_not_become_more() -> None:
    """Where they alone stand before the right ones, a gallery that grows by others loses nothing."""
    beaten = np.stack([np.arange(100) % 2, np.zeros(100, int)])
    assert growth.carry_hits(beaten, 1000, 100_000, 1, 0.5)[0] == pytest.approx(0.5)


def test_recall_at_one_is_carried_to_eight_times_the_gallery() -> None:
    """From an eighth of random items, what exhaustive search finds among all of them is met within 3 points."""
    images, texts = make_pairs(16_000, noise=2.0)
    asked = read_asked(
        {"images": images, "texts": texts[:1000], "caption_image": np.arange(1000)}, None, "t2i", 0, 1000
    )
    part, whole = asked.part(2000), asked.part(16_000)
    first, last = ((each.beaten.sum(axis=0) == 0).mean() for each in (part, whole))
    assert part.n_others == 1000
    value = growth.carry_hits(part.beaten, part.n_others, whole.n_others, 1, first)[0]
    assert value == pytest.approx(last, abs=0.03)
    assert first > value + 0.1


def test_images_may_ask_and_items_may_have_names() -> None:
    images, texts = make_pairs(50)
    order = np.random.default_rng(1).permutation(50)
    names = [f"image {i}" for i in range(50)]
    turned = {"image_ids": names, "caption_image_ids": [names[i] for i in order], "quick": True}
    by_name = fico_utils.deploy(images, texts[order], direction="i2t", **turned)
    plain = fico_utils.deploy(images, texts, direction="i2t", quick=True)
    values = [each.table.set_index("name").loc["Flat", "recall@1"] for each in (by_name, plain)]
    assert values[0] == pytest.approx(values[1])
    assert "caption first for" in by_name.answer


def test_own_codes_are_a_candidate() -> None:
    images, texts = make_pairs(80)
    bits = [(side > 0) for side in (images, texts)]
    packed = [np.packbits(side, axis=1) for side in bits]
    tables = [fico_utils.deploy(images, texts, codes=codes, quick=True).table for codes in (bits, packed)]
    for table in tables:
        rows = table[table["items"] == 80].set_index("name")
        assert rows.loc["own 32 bits, BFlat", "recall@1"] == rows.loc["sign 32 bits, BFlat", "recall@1"]


def test_learned_codes_find_more_than_where_they_begin() -> None:
    """Captions say only half of what a picture holds; on pairs that were held out, heads learn to look there."""
    from fico_utils.extras.deploy.learned import head_codes, learn_heads

    images, texts = make_pairs(3000, noise=0.3)
    texts[:, DIM // 2 :] = np.random.default_rng(2).normal(size=(3000, DIM // 2))
    sides = [unit_rows(side, np.arange(3000)) for side in (images, texts)]
    rotation = np.linalg.qr(np.random.default_rng(3).normal(size=(DIM, DIM)))[0].astype(np.float32)
    head = learn_heads(sides[0][:2000], sides[1][:2000], np.stack([np.arange(2000)] * 2, 1), rotation, 0)
    begin = {
        f"{side}.{name}": value for side in ("items", "asking") for name, value in (("weight", rotation), ("bias", 0))
    }
    reached = []
    for weights in (begin, head):
        codes = [head_codes(weights, *each) for each in (("items", sides[0][2000:]), ("asking", sides[1][2000:]))]
        scores = fico_utils.evaluate(*codes, measure="hamming", bits=DIM, metrics="recall@1")
        reached.append(scores.loc[scores["direction"] == "t2i", "value"].iloc[0])
    assert reached[1] > 1.5 * reached[0]


@pytest.fixture(scope="module")
def tables() -> package.Deployment:
    pytest.importorskip("lancedb")
    return fico_utils.deploy(*make_pairs(1600), lance=True, quick=True, memory_gib=1e-5)


def test_tables_of_lancedb_find_what_faiss_finds(tables: package.Deployment) -> None:
    rows = tables.table.query("items == 1600").set_index("name")
    assert (rows["query_ms"] > 0).all()
    made = "sign 32 bits"
    for depth in ("", ", 100 reranked"):  # equal distances come in another order
        reached = rows.loc[[f"{made}, LanceDB{depth}", f"{made}, BFlat{depth}"], "recall@1"]
        assert reached.iloc[0] == pytest.approx(reached.iloc[1], abs=0.05)
    assert rows.loc["LanceDB HNSW-SQ, ef=64", "neighbour_recall@1"] > 0.95
    assert rows.loc[f"{made}, LanceDB IVF, nprobes=16", "recall@1"] > 0.5 * rows.loc[f"{made}, BFlat", "recall@1"]
    assert rows.loc["LanceDB HNSW-SQ, ef=64", "bytes_per_item"] > 4 * DIM  # the vectors and the graph
    assert rows.loc["LanceDB HNSW-SQ, ef=64", "note"].endswith("LanceDB reads the rest from disk, slower than measured")


def test_the_code_of_every_table_runs(tables: package.Deployment, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    images, texts = make_pairs(1600)
    np.save("images.npy", images)
    np.save("texts.npy", texts[:300])
    rows = [row for row in tables.table.query("items == 1600").to_dict("records") if "LanceDB" in row["name"]]
    assert len(rows) == 5
    for row in rows:
        names: dict = {}
        exec(compile(answer.build_code(tables, row), row["name"], "exec"), names)  # noqa: S102
        reached = np.mean([found[0] == i for i, found in enumerate(names["ids"])])
        assert reached == pytest.approx(row["recall@1"], abs=0.15), row["name"]


def test_tables_without_their_package_are_refused(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "lancedb", None)
    np.save(tmp_path / "eye.npy", EYE)
    place = str(tmp_path / "eye.npy")
    assert main(["deploy", "--images", place, "--texts", place, "--lance", "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "the package lancedb is not installed: pip install lancedb, or leave lance out" in said
    assert not (tmp_path / "out").exists()


def test_an_interrupted_run_goes_on(tmp_path: Path, monkeypatch) -> None:
    images, texts = make_pairs(60)
    measure, calls = sweep.measure_build, []

    def stop_third(*arguments):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(arguments[0].name)
        return measure(*arguments)

    monkeypatch.setattr(sweep, "measure_build", stop_third)
    with pytest.raises(KeyboardInterrupt):
        fico_utils.deploy(images, texts, quick=True, out=tmp_path / "out")
    monkeypatch.setattr(sweep, "measure_build", lambda *a: calls.append(a[0].name) or measure(*a))
    found = fico_utils.deploy(images, texts, quick=True, out=tmp_path / "out")
    assert calls.count(calls[0]) == 1
    monkeypatch.setattr(sweep, "measure_build", lambda *a: pytest.fail("all is kept"))
    again = fico_utils.deploy(images, texts, quick=True, out=tmp_path / "out")
    assert again.table.equals(found.table)
    for name in ("table.csv", "answer.md", "figure.png", "figure.svg", "figure.html"):
        assert (tmp_path / "out" / name).stat().st_size
    with pytest.raises(InputError, match="holds a run with other inputs"):
        fico_utils.deploy(images, texts + 1, quick=True, out=tmp_path / "out")


def test_the_page_stands_alone(found: package.Deployment) -> None:
    from fico_utils.extras.deploy.figure import hover_page

    page = hover_page(found.figure(), "recall@1", found.answer)
    assert not re.search(r'<script|<link|src=|href="[^#]|@import|url\((?!#)', page)
    for name in found.table.query("items == 1600")["name"]:
        assert f"<title>{name}" in page


EYE = np.eye(8, dtype=np.float32)
BAD = {
    "nan": ({"images": np.where(EYE > 0, np.nan, EYE)}, "NaN or infinity in row 0"),
    "zero vector": ({"texts": EYE * (np.arange(8) > 2)[:, None]}, "zero vector in row 0"),
    "widths": ({"texts": EYE[:, :4]}, "8 wide and texts 4"),
    "one side": ({"texts": None}, "texts are not given"),
    "captions": ({"texts": EYE[:5]}, "5 captions do not divide"),
    "no pair": ({"caption_image": np.full(8, -1)}, "no caption has an image"),
    "direction": ({"direction": "up"}, "expected one of i2t, t2i"),
    "budget": ({"memory_gib": 0}, "memory_gib is 0, expected a number above 0"),
    "latency": ({"latency_ms": float("nan")}, "latency_ms is nan"),
    "size": ({"grow_to": "ten"}, "grow_to has 'ten'"),
    "too small to grow": ({"grow_to": "10M"}, "given with 8 items"),
    "one code": ({"codes": EYE}, "codes are a pair"),
    "rows of codes": ({"codes": (EYE[:3], EYE)}, "have 3 rows"),
    "codes without bits": ({"codes": (EYE[:, :0], EYE[:, :0])}, "none empty"),
    "no code": ({"codes": (EYE * 3, EYE)}, "a third value"),
    "length of codes": ({"codes": (EYE > 0, np.ones((8, 16)))}, "codes of one length"),
    "labels": ({"labels": np.zeros(3)}, "one row for each of 8 images"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence(case: str) -> None:
    changes, sentence = BAD[case]
    with pytest.raises(InputError, match=re.escape(sentence)):
        fico_utils.deploy(**{"images": EYE, "texts": EYE, "quick": True, **changes})


def test_a_size_below_the_gallery_is_refused() -> None:
    with pytest.raises(InputError, match="below the 100 items"):
        fico_utils.deploy(*make_pairs(100), grow_to=50)
    assert read_sizes("10M,2.5k,1G") == (2500, 10_000_000, 1_000_000_000)


def test_all_candidates_of_a_gallery_that_does_not_grow() -> None:
    """No size to grow to, default sweeps: every candidate is there, graphs over codes, too."""
    found = fico_utils.deploy(*make_pairs(600))
    assert found.rows_at(600)["name"].str.contains("BHNSW").any()
    assert found.best()["recall@1"] > 0


def test_very_few_items() -> None:
    for n in (1, 2, 5):
        found = fico_utils.deploy(np.eye(5)[:n], np.eye(5)[:n], quick=True)
        assert found.best()["recall@1"] == 1.0


def test_the_verb(tmp_path: Path, capsys) -> None:
    images, texts = make_pairs(50)
    np.savez(tmp_path / "both.npz", images=images, texts=texts)
    place = str(tmp_path / "both.npz")
    command = ["deploy", "--images", f"{place}:images", "--texts", f"{place}:texts", "--quick"]
    assert main([*command, "--memory-gib", "1", "--out", str(tmp_path / "out")]) == 0
    assert "# What to deploy" in capsys.readouterr().out
    assert main([*command, "--memory-gib", "1e-9", "--out", str(tmp_path / "out")]) == 2
    assert "the nearest is" in capsys.readouterr().err
    for codes in (["images.npy"], [place, place, place]):
        assert main([*command, "--codes", *codes]) == 2
        assert "two files, or one .npz" in capsys.readouterr().err
