"""Encoding in streams of bounded memory: what is timed, what is kept, and how a stopped measurement goes on."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from fico_utils.costs.blocks import (
    CAPTIONS,
    Block,
    Scenes,
    Stage,
    block_spans,
    feature_stages,
    first_features,
    system_stage,
)
from fico_utils.costs.clock import PeakMemory, Timing
from fico_utils.costs.encoding import encoding_rows
from fico_utils.data.features import Backbone
from fico_utils.data.pictoscenes import make_corpus
from fico_utils.data.text import Vocabulary
from fico_utils.errors import InputError
from fico_utils.models.encoding import encode_side, hash_codes
from fico_utils.models.ucch import Ucch, UcchConfig
from fico_utils.results.schema import validate
from fico_utils.workspace import Run

ONCE = Timing(repeats=1)


class Numbers:
    """A source whose pictures and captions are their own numbers; remembers what was asked for."""

    largest = 10_000

    def __init__(self, delay: float = 0.0, width: int = 1) -> None:
        self.delay, self.width, self.asked = delay, width, []

    def __call__(self, start: int, stop: int) -> dict:
        time.sleep(self.delay)
        self.asked.append((start, stop))
        pixels = np.repeat(np.arange(start, stop, dtype=np.float32)[:, None], self.width, 1)
        return {"pixels": pixels, "captions": list(range(CAPTIONS * start, CAPTIONS * stop))}


class Log:
    """Stages that note what they were given, and take their time."""

    def __init__(self, seconds_an_image: float = 0.0) -> None:
        self.seconds, self.seen = seconds_an_image, {"features": [], "image": [], "text": []}
        self.stop_after = None

    def stages(self, name: str = "scan", key: str = "k") -> tuple[list[Stage], list[Stage]]:
        """(extractors, encoders)."""
        extract = Stage("backbone", {"image": ("pixels", self.extract)}, makes=("regions",))
        words = Stage("tokens", {"text": ("captions", lambda c: {"tokens": np.array(c)[:, None]})}, makes=("tokens",))
        sides = {side: (reads, self.encode(side)) for side, reads in (("image", "regions"), ("text", "tokens"))}
        return [extract, words], [Stage(name, sides, {"model": key})]

    def extract(self, pixels: np.ndarray) -> dict:
        self.seen["features"].append(len(pixels))
        return {"regions": pixels * 2}

    def encode(self, side: str):
        def work(features: np.ndarray):
            if self.stop_after is not None and len(self.seen[side]) >= self.stop_after:
                raise KeyboardInterrupt
            self.seen[side].append(len(features))
            time.sleep(self.seconds * len(features))
            yield features

        return work


def of(rows: list[dict], quantity: str, phase: str = "encode", system: str | None = None) -> dict[int, tuple]:
    return {
        r["scale_img"] or r["scale_txt"]: (r["value"], r["status"])
        for r in rows
        if r["quantity"] == quantity and r["phase"] == phase and system in (None, r["system"])
    }


# ---------------------------------------------------------------------------------------------------- scenes


def test_a_stream_has_the_scenes_of_the_corpus_with_five_captions_each():
    corpus = make_corpus("picto_diverse", {"test": 260})  # scene 250 has six captions
    expected = [
        [c for c, i in zip(corpus.captions, corpus.caption_image, strict=True) if i == row] for row in range(248, 252)
    ]
    assert len(expected[2]) == 6
    given = Scenes("picto_diverse")(248, 252)
    assert np.array_equal(given["pixels"], corpus.images[248:252])
    assert given["captions"] == [c for five in expected for c in five[:5]]


def test_streams_that_cannot_be_are_refused():
    with pytest.raises(InputError, match="no embedded corpus 'mscoco'"):
        Scenes("mscoco")
    with pytest.raises(InputError, match="asks for no scene"):
        Scenes("picto_people")(5, 5)
    with pytest.raises(InputError, match="expected a whole number from 0 to 1"):
        Scenes("picto_people")(9_999_999, 10_000_001)


# ---------------------------------------------------------------------------------------------------- one pass


def test_every_block_is_made_once_and_encoded_once_a_repeat():
    log, source = Log(), Numbers()
    encoding_rows(source, [log.stages()], [25], block=10, timing=Timing(repeats=2))
    assert source.asked == [(0, 10), (10, 20), (20, 25)]
    assert log.seen["image"] == [10, 10, 10, 10, 10, 5, 5]  # the first is the warm-up
    assert log.seen["text"] == [50, 50, 50, 50, 50, 25, 25]


@pytest.mark.usefixtures("simulated_time")
def test_rows_keep_sides_and_features_apart_and_fit_the_schema():
    import pandas as pd

    log = Log(1e-4)
    rows = encoding_rows(
        Numbers(), [log.stages()], [20, 40], extrapolate_to=[80], block=20, timing=Timing(3), corpus="picto_people"
    )
    image, text, total = (of(rows, q) for q in ("seconds_image", "seconds_text", "seconds"))
    for n in (20, 40):
        assert image[n][0] == pytest.approx(1e-4 * n)
        assert text[n][0] == pytest.approx(5e-4 * n)
        assert total[n][0] == pytest.approx(6e-4 * n)
    assert [total[n][1] for n in (20, 40, 80)] == ["ok", "ok", "extrapolated"]
    assert total[80][0] == pytest.approx(2 * total[40][0])
    assert of(rows, "peak_bytes")[20][0] > 0
    assert of(rows, "exponent")[None][0] == pytest.approx(1)
    assert {n: status for n, (_, status) in of(rows, "seconds", "features", "backbone").items()} == {
        20: "ok",
        40: "ok",
        80: "extrapolated",
    }
    assert set(of(rows, "seconds", "features", "tokens")) == {100, 200, 400}  # its scale is in captions
    validate(pd.DataFrame(rows).assign(profile="mini", run="mini-s0"), "costs")


def test_drawing_is_outside_the_clock():
    rows = encoding_rows(Numbers(delay=0.05), [Log().stages()], [40], block=10, timing=ONCE)
    assert of(rows, "seconds")[40][0] < 0.05  # the four blocks take 0.2 s to arrive
    assert of(rows, "seconds", "features", "backbone")[40][0] < 0.05


def test_an_extractor_that_nobody_reads_does_not_run():
    extract, _ = Log().stages()
    ran = []
    idle = Stage("doc2vec", {"text": ("captions", lambda c: ran.append(c) or {"doc2vec": c})}, makes=("doc2vec",))
    _, encode = Log().stages()
    rows = encoding_rows(Numbers(), [([*extract, idle], encode)], [5, 10], extrapolate_to=[20])
    assert ran == []
    assert {r["system"] for r in rows} == {"backbone", "tokens", "scan"}


def test_the_budget_limits_the_repeats_of_the_whole_size():
    counts = {}
    for budget in (0.05, None):
        log = Log(1e-3)
        encoding_rows(Numbers(), [log.stages()], [40], block=20, timing=Timing(4, budget_s=budget))
        counts[budget] = len(log.seen["image"])
    assert counts == {0.05: 3, None: 9}  # a warm-up, and one or four of each block


def test_a_size_over_the_limit_is_extrapolated_for_that_system_alone():
    slow, fast = Log(2e-4), Log()
    extract, encode = slow.stages()
    groups = [(extract, [*encode, *fast.stages("ucch")[1]])]
    rows = encoding_rows(Numbers(), groups, [10, 20, 200], block=100, timing=Timing(limit_s=0.1))
    assert [of(rows, "seconds", system="scan")[n][1] for n in (10, 20, 200)] == ["ok", "ok", "extrapolated"]
    assert [of(rows, "seconds", system="ucch")[n][1] for n in (10, 20, 200)] == ["ok"] * 3
    assert max(slow.seen["image"]) == 20
    assert max(fast.seen["image"]) == 100


def test_each_system_may_have_a_limit_of_its_own():
    extract, encode = Log(2e-4).stages()
    groups = [(extract, [*encode, *Log(2e-4).stages("ucch")[1]])]
    rows = encoding_rows(Numbers(), groups, [10, 20, 200], block=100, limits={"scan": 0.1, "ucch": None})
    assert of(rows, "seconds", system="scan")[200][1] == "extrapolated"
    assert of(rows, "seconds", system="ucch")[200][1] == "ok"


def test_a_stage_out_of_memory_did_not_finish_and_the_others_do():
    def full(features):
        raise MemoryError
        yield

    extract, encode = Log().stages()
    broken = Stage("imram", {"image": ("regions", full), "text": ("tokens", full)})
    rows = encoding_rows(Numbers(), [(extract, [broken, *encode])], [10, 20], extrapolate_to=[40])
    assert {status for _, status in of(rows, "seconds", system="imram").values()} == {"dnf"}
    assert of(rows, "seconds", system="scan")[20][1] == "ok"


def test_memory_does_not_grow_with_the_collection():
    def added(n: int) -> int:
        log = Log()
        with PeakMemory() as memory:
            encoding_rows(Numbers(width=2**15), [log.stages()], [n], block=32, timing=ONCE)  # 4 MiB a block
        return memory.extra_bytes

    added(64)
    assert added(2048) < 64 * 2**20  # the collection is 256 MiB


def test_two_groups_share_what_is_drawn_and_the_first_extractor_is_timed():
    first, second, source = Log(), Log(), Numbers()
    rows = encoding_rows(source, [first.stages(), second.stages("ucch")], [20], block=10, timing=ONCE)
    assert source.asked == [(0, 10), (10, 20)]
    assert first.seen["features"] == [10, 10, 10]  # warmed up and timed
    assert second.seen["features"] == [10, 10]  # made when they are read
    assert {r["system"] for r in rows} == {"backbone", "tokens", "scan", "ucch"}


# ----------------------------------------------------------------------------------------------------- blocks


def test_features_are_made_once_and_only_when_read():
    log = Log()
    block = Block(0, 0, 4, Numbers()(0, 4), log.stages()[0])
    assert log.seen["features"] == []
    assert block["regions"] is block["regions"]
    assert log.seen["features"] == [4]
    with pytest.raises(AssertionError, match="no extractor makes 'doc2vec'"):
        block["doc2vec"]


def test_the_first_features_are_those_of_the_blocks():
    source, (extract, _) = Numbers(), Log().stages()
    found = first_features(source, extract, {"regions", "tokens"}, 1500)
    assert source.asked == [(0, 1000), (1000, 1500)]
    np.testing.assert_array_equal(found["regions"][:, 0], 2 * np.arange(1500))
    np.testing.assert_array_equal(found["tokens"][:, 0], np.arange(7500))


def test_spans_end_at_each_size():
    assert block_spans([100, 250], 100) == [(0, 100), (100, 200), (200, 250)]
    for sizes, block in (([], 10), ([0], 10), ([10], 0)):
        with pytest.raises(InputError, match="expected sizes from 1"):
            block_spans(sizes, block)


# ------------------------------------------------------------------------------------------------- the store


@pytest.fixture
def run(tmp_path) -> Run:
    return Run("mini", 0, tmp_path, {})


def test_a_stopped_measurement_goes_on_and_a_finished_one_is_not_measured_again(run):
    log, source = Log(), Numbers()
    options = {"block": 10, "timing": ONCE, "run": run}
    log.stop_after = 3  # the warm-up and two blocks
    with pytest.raises(KeyboardInterrupt):
        encoding_rows(source, [log.stages()], [50], **options)
    log.stop_after, source.asked = None, []
    first = encoding_rows(source, [log.stages()], [50], **options)
    assert source.asked == [(20, 30), (30, 40), (40, 50)]
    assert len(list(run.root.glob("costs/encoding/scan____50__s0__*/unit_*.safetensors"))) == 1
    source.asked = []
    assert encoding_rows(source, [log.stages()], [50], **options) == first
    assert source.asked == []
    encoding_rows(source, [log.stages(key="another size of model")], [50], **options)
    assert len(source.asked) == 5


def test_other_weights_cost_the_same(run):
    """What a system costs does not depend on its weights: a training does not throw measurements away."""
    torch.manual_seed(0)
    config = UcchConfig(d_global=4, d_text=6, n_images=10, bits=64, hidden=16, n_keys=4)
    one, other = (system_stage("ucch", Ucch(config)) for _ in range(2))
    assert one.settings == other.settings
    assert one.content != other.content
    assert "lr" not in str(one.settings)


def test_a_new_system_joins_without_measuring_the_old_one_again(run):
    old, new, source = Log(), Log(), Numbers()
    extract, encode = old.stages()
    options = {"block": 10, "timing": ONCE, "run": run}
    encoding_rows(source, [(extract, encode)], [20], **options)
    before = len(old.seen["image"])
    rows = encoding_rows(source, [(extract, [*encode, *new.stages("ucch")[1]])], [20], **options)
    assert len(old.seen["image"]) == before
    assert new.seen["image"] == [10, 10, 10]
    assert {r["system"] for r in rows if r["phase"] == "encode"} == {"scan", "ucch"}


def test_a_damaged_unit_is_measured_again(run, capsys):
    source = Numbers()
    encoding_rows(source, [Log().stages()], [10], run=run)
    (unit,) = run.root.glob("costs/encoding/scan*/unit_*.safetensors")
    unit.write_bytes(unit.read_bytes()[:-3])
    encoding_rows(source, [Log().stages()], [10], run=run)
    assert len(source.asked) == 2
    assert "made again" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------ real stages


def test_codes_of_a_block_are_those_of_the_whole_and_take_eight_bytes():
    torch.manual_seed(0)
    words = Vocabulary(make_corpus("picto_people", {"test": 20}).captions)
    model = Ucch(UcchConfig(d_global=384, d_text=6, n_images=10, bits=64, hidden=16, n_keys=4))
    model.text_input = "vectors"

    def read(captions):
        return {"vectors": np.array([[len(t) + i for i in range(6)] for t in captions], np.float32)}

    vectors = Stage("doc2vec", {"text": ("captions", read)}, makes=("vectors",))
    stages, encoder = [*feature_stages(Backbone().eval(), words), vectors], system_stage("ucch", model, 16)
    block = Block(0, 0, 25, Scenes("picto_people")(0, 25), stages)
    kept = block.embed(encoder)
    assert (kept["img"].shape, kept["txt"].shape, kept["img"].dtype) == ((25, 8), (125, 8), np.uint8)
    np.testing.assert_array_equal(kept["img"], hash_codes(encode_side(model.encode_image, block["global"])))
    np.testing.assert_array_equal(kept["txt"], hash_codes(encode_side(model.encode_text, block["vectors"])))


# ------------------------------------------------------------------------------------------------- bad inputs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sizes": []}, "at least 1 each"),
        ({"sizes": [0]}, "at least 1 each"),
        ({"sizes": [10_001]}, "10001 images were asked for and 10000 can be had"),
        ({"sizes": [10], "extrapolate_to": [20]}, "at least two different sizes"),
        ({"extrapolate_to": [0]}, "at least 1 each"),
        ({"block": 0}, "expected sizes from 1"),
    ],
)
def test_what_cannot_be_encoded_is_refused_before_anything_is_drawn(change, message):
    source = Numbers()
    with pytest.raises(InputError, match=message):
        encoding_rows(source, [Log().stages()], **{"sizes": [10, 20], **change})
    assert source.asked == []
