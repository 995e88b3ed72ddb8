"""Encoding in streams of bounded memory: what is timed, what is kept, and how a stopped measurement goes on."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
import torch

from fico_utils.costs.clock import Timing
from fico_utils.costs.codes import CodeFiles
from fico_utils.costs.encoding import encoding_rows, together
from fico_utils.costs.memory import PeakMemory
from fico_utils.costs.stages import CAPTIONS, Scenes, Stage, encoder, extractors
from fico_utils.data.features import CLASSES, Backbone
from fico_utils.data.pictoscenes import make_corpus, unique_pairs
from fico_utils.data.text import Vocabulary
from fico_utils.errors import InputError
from fico_utils.models.ucch import Ucch, UcchConfig
from fico_utils.results.schema import validate


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
        extract = Stage("backbone", {"image": ("pixels", self.extract)}, "b", ("regions",))
        words = Stage("tokens", {"text": ("captions", lambda c: {"tokens": np.array(c)})}, "t", ("tokens",))
        sides = {side: (reads, self.encode(side)) for side, reads in (("image", "regions"), ("text", "tokens"))}
        return [extract, words], [Stage(name, sides, key)]

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
    images, captions = unique_pairs("picto_diverse", 248, 252)
    assert np.array_equal(images[:], corpus.images[248:252])
    expected = [
        [c for c, i in zip(corpus.captions, corpus.caption_image, strict=True) if i == row] for row in range(248, 252)
    ]
    assert len(expected[2]) == 6
    assert captions == [c for five in expected for c in five[:5]]
    given = Scenes("picto_diverse")(248, 252)
    assert np.array_equal(given["pixels"], corpus.images[248:252])
    assert given["captions"] == captions


def test_streams_that_cannot_be_are_refused():
    with pytest.raises(InputError, match="no embedded corpus 'mscoco'"):
        Scenes("mscoco")
    with pytest.raises(InputError, match="expected a start from 0 and a larger end"):
        unique_pairs("picto_people", 5, 5)
    with pytest.raises(InputError, match="up to 10000000"):
        unique_pairs("picto_people", 9_999_999, 10_000_001)


# ---------------------------------------------------------------------------------------------------- one pass


def test_every_block_is_made_once_and_encoded_once_a_repeat():
    log, source = Log(), Numbers()
    encoding_rows(source, *log.stages(), [25], block=10, repeats=2)
    assert source.asked == [(0, 10), (10, 20), (20, 25)]
    assert log.seen["image"] == [10, 10, 10, 10, 10, 5, 5]  # the first is the warm-up
    assert log.seen["text"] == [50, 50, 50, 50, 50, 25, 25]


def test_rows_keep_sides_and_features_apart_and_fit_the_schema():
    import pandas as pd

    log = Log(1e-4)
    rows = encoding_rows(
        Numbers(), *log.stages(), [20, 40], extrapolate_to=[80], block=20, repeats=3, corpus="picto_people"
    )
    image, text, total = (of(rows, q) for q in ("seconds_image", "seconds_text", "seconds"))
    for n in (20, 40):
        assert 1e-4 * n <= image[n][0] < text[n][0] < total[n][0]
        assert 5e-4 * n <= text[n][0]
    assert [total[n][1] for n in (20, 40, 80)] == ["ok", "ok", "extrapolated"]
    assert total[80][0] == pytest.approx(2 * total[40][0], rel=0.5)
    assert of(rows, "peak_bytes")[20][0] > 0
    assert of(rows, "exponent")[None][0] == pytest.approx(1, abs=0.3)
    assert {n: status for n, (_, status) in of(rows, "seconds", "features", "backbone").items()} == {
        20: "ok",
        40: "ok",
        80: "extrapolated",
    }
    assert set(of(rows, "seconds", "features", "tokens")) == {100, 200, 400}  # its scale is in captions
    validate(pd.DataFrame(rows).assign(profile="mini", run="mini-s0"), "costs")


def test_drawing_is_outside_the_clock():
    rows = encoding_rows(Numbers(delay=0.05), *Log().stages(), [40], block=10, repeats=1)
    assert of(rows, "seconds")[40][0] < 0.05  # the four blocks take 0.2 s to arrive
    assert of(rows, "seconds", "features", "backbone")[40][0] < 0.05


def test_an_extractor_that_nobody_reads_does_not_run():
    extract, _ = Log().stages()
    ran = []
    idle = Stage("doc2vec", {"text": ("captions", lambda c: ran.append(c) or {"doc2vec": c})}, "d", ("doc2vec",))
    _, encode = Log().stages()
    rows = encoding_rows(Numbers(), [*extract, idle], encode, [5, 10], extrapolate_to=[20])
    assert ran == []
    assert {r["system"] for r in rows} == {"backbone", "tokens", "scan"}


def test_the_budget_limits_the_repeats_of_the_whole_size():
    counts = {}
    for budget in (0.05, None):
        log = Log(1e-3)
        encoding_rows(Numbers(), *log.stages(), [40], block=20, repeats=4, budget_s=budget)
        counts[budget] = len(log.seen["image"])
    assert counts == {0.05: 3, None: 9}  # a warm-up, and one or four of each block


def test_a_size_over_the_limit_is_extrapolated_for_that_system_alone():
    slow, fast = Log(2e-4), Log()
    extract, encode = slow.stages()
    rows = encoding_rows(
        Numbers(), extract, [*encode, fast.stages("ucch")[1][0]], [10, 20, 200], block=100, limit_s=0.1
    )
    assert [of(rows, "seconds", system="scan")[n][1] for n in (10, 20, 200)] == ["ok", "ok", "extrapolated"]
    assert [of(rows, "seconds", system="ucch")[n][1] for n in (10, 20, 200)] == ["ok"] * 3
    assert max(slow.seen["image"]) == 20
    assert max(fast.seen["image"]) == 100


def test_each_system_may_have_a_limit_of_its_own():
    extract, encode = Log(2e-4).stages()
    second = Log(2e-4).stages("ucch")[1][0]
    rows = encoding_rows(
        Numbers(), extract, [*encode, second], [10, 20, 200], block=100, limit_s={"scan": 0.1, "ucch": None}
    )
    assert of(rows, "seconds", system="scan")[200][1] == "extrapolated"
    assert of(rows, "seconds", system="ucch")[200][1] == "ok"


def test_a_stage_out_of_memory_did_not_finish_and_the_others_do():
    def full(features):
        raise MemoryError
        yield

    extract, encode = Log().stages()
    broken = Stage("imram", {"image": ("regions", full), "text": ("tokens", full)}, "k")
    rows = encoding_rows(Numbers(), extract, [broken, *encode], [10, 20], extrapolate_to=[40])
    assert {status for _, status in of(rows, "seconds", system="imram").values()} == {"dnf"}
    assert of(rows, "seconds", system="scan")[20][1] == "ok"


def test_memory_does_not_grow_with_the_collection():
    def added(n: int) -> int:
        log = Log()
        with PeakMemory() as memory:
            encoding_rows(Numbers(width=2**15), *log.stages(), [n], block=32, repeats=1)  # 4 MiB a block
        return memory.extra_bytes

    added(64)
    assert added(2048) < 64 * 2**20  # the collection is 256 MiB


def test_together_adds_samples_pairwise():
    both = together(Timing((1.0, 2.0, 3.0), peak_bytes=5), Timing((10.0, 20.0), warm=False, peak_bytes=9))
    assert both.samples == (11.0, 22.0)
    assert (both.warm, both.peak_bytes) == (False, 9)


# ------------------------------------------------------------------------------------------------ part files


def test_a_stopped_measurement_goes_on_and_a_finished_one_is_not_measured_again(tmp_path):
    log, source = Log(), Numbers()
    log.stop_after = 3  # the warm-up and two blocks
    with pytest.raises(KeyboardInterrupt):
        encoding_rows(source, *log.stages(), [50], block=10, repeats=1, parts=tmp_path)
    kept = json.loads((tmp_path / "scan____50.json").read_text())["content"]
    assert [len(kept[side]) for side in ("image", "text")] == [2, 2]
    log.stop_after, source.asked = None, []
    first = encoding_rows(source, *log.stages(), [50], block=10, repeats=1, parts=tmp_path)
    assert source.asked == [(20, 30), (30, 40), (40, 50)]
    total = sum(
        s for block in json.loads((tmp_path / "scan____50.json").read_text())["content"]["image"] for s in block
    )
    assert of(first, "seconds_image")[50][0] == pytest.approx(total)
    source.asked = []
    again = encoding_rows(source, *log.stages(), [50], block=10, repeats=1, parts=tmp_path)
    assert source.asked == []
    assert again == first
    encoding_rows(source, *log.stages(key="other weights"), [50], block=10, repeats=1, parts=tmp_path)
    assert len(source.asked) == 5


def test_a_new_system_joins_without_measuring_the_old_one_again(tmp_path):
    old, new, source = Log(), Log(), Numbers()
    extract, encode = old.stages()
    encoding_rows(source, extract, encode, [20], block=10, repeats=1, parts=tmp_path)
    before = len(old.seen["image"])
    rows = encoding_rows(
        source, extract, [*encode, new.stages("ucch")[1][0]], [20], block=10, repeats=1, parts=tmp_path
    )
    assert len(old.seen["image"]) == before
    assert new.seen["image"] == [10, 10, 10]
    assert {r["system"] for r in rows if r["phase"] == "encode"} == {"scan", "ucch"}


def test_half_a_part_file_is_measured_again(tmp_path):
    source = Numbers()
    encoding_rows(source, *Log().stages(), [10], parts=tmp_path)
    (tmp_path / "scan____10.json").write_text('{"key": ')
    encoding_rows(source, *Log().stages(), [10], parts=tmp_path)
    assert len(source.asked) == 2


# ------------------------------------------------------------------------------------------- real extractors, codes


@pytest.fixture(scope="module")
def tiny() -> tuple[list[Stage], Stage, Ucch]:
    """The extractors with an untrained backbone, and a small hashing system that reads their features."""
    torch.manual_seed(0)
    words = Vocabulary(make_corpus("picto_people", {"test": 20}).captions)
    model = Ucch(UcchConfig(d_global=384, d_text=6, n_images=10, bits=64, hidden=16, n_keys=4))
    model.text_input = "vectors"
    vectors = Stage(
        "doc2vec",
        {
            "text": (
                "captions",
                lambda c: {"vectors": np.array([[len(t) + i for i in range(6)] for t in c], np.float32)},
            )
        },
        "v",
        ("vectors",),
    )
    return [*extractors(Backbone(CLASSES).eval(), words), vectors], encoder("ucch", model, batch=16), model


def test_codes_of_a_stream_are_those_of_the_whole_and_take_eight_bytes(tiny, tmp_path):
    from fico_utils.models.encoding import encode_side, hash_codes

    stages, encode, model = tiny
    encoding_rows(
        Scenes("picto_people"), stages, [encode], [25], block=10, repeats=1, codes=tmp_path, corpus="picto_people"
    )
    img, txt = (np.load(tmp_path / f"ucch__picto_people__25__{side}.npy") for side in ("image", "text"))
    assert (img.shape, txt.shape, img.dtype) == ((25, 8), (125, 8), np.uint8)
    given = Scenes("picto_people")(0, 25)
    features = stages[0].sides["image"][1](given["pixels"]) | stages[-1].sides["text"][1](given["captions"])
    assert np.mean(np.unpackbits(img ^ hash_codes(encode_side(model.encode_image, features["global"])))) < 0.01
    assert np.array_equal(txt, hash_codes(encode_side(model.encode_text, features["vectors"])))
    assert not list(tmp_path.glob("*.part.npy"))


def test_codes_of_a_stopped_stream_are_whole_in_the_end(tiny, tmp_path):
    class Stopped(Scenes):
        def __call__(self, start: int, stop: int) -> dict:
            if start == 8:
                raise KeyboardInterrupt
            return super().__call__(start, stop)

    stages, encode, _ = tiny
    arguments = {"block": 4, "repeats": 1, "corpus": "picto_people"}
    kept = {"parts": tmp_path / "parts", "codes": tmp_path / "codes"}
    with pytest.raises(KeyboardInterrupt):
        encoding_rows(Stopped("picto_people"), stages, [encode], [14], **arguments, **kept)
    assert not list((tmp_path / "codes").glob("*14__text.npy"))
    encoding_rows(Scenes("picto_people"), stages, [encode], [14], **arguments, **kept)
    encoding_rows(Scenes("picto_people"), stages, [encode], [14], **arguments, codes=tmp_path / "whole")
    for side in ("image", "text"):
        name = f"ucch__picto_people__14__{side}.npy"
        assert np.array_equal(np.load(tmp_path / "codes" / name), np.load(tmp_path / "whole" / name))


def test_codes_that_are_gone_are_encoded_again(tiny, tmp_path):
    stages, encode, _ = tiny
    arguments = {"block": 4, "repeats": 1, "parts": tmp_path / "parts", "codes": tmp_path / "codes"}
    encoding_rows(Scenes("picto_people"), stages, [encode], [8], **arguments)
    path = tmp_path / "codes" / "ucch____8__image.npy"
    before = np.load(path)
    path.unlink()
    encoding_rows(Scenes("picto_people"), stages, [encode], [8], **arguments)
    assert np.array_equal(np.load(path), before)


def test_codes_that_cannot_fit_say_what_they_need(tmp_path):
    files = CodeFiles(tmp_path, {"image": "a.npy"})
    with pytest.raises(InputError, match=r"need .* GiB of disk .* drop the codes"):
        files.write("image", 0, 10**16, np.zeros((1, 8), np.uint8))


# ------------------------------------------------------------------------------------------------- bad inputs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sizes": []}, "at least 1 each"),
        ({"sizes": [0]}, "at least 1 each"),
        ({"sizes": [10_001]}, "10001 images were asked for and 10000 can be had"),
        ({"sizes": [10], "extrapolate_to": [20]}, "one size .10. was given to extrapolate from"),
        ({"block": 0}, "block=0"),
        ({"repeats": 0}, "repeats=0"),
        ({"budget_s": 0}, "a budget of 0 s"),
        ({"limit_s": 0}, "a limit of 0 s"),
        ({"limit_s": {"scan": -1}}, "a limit of -1 s"),
        ({"limit_s": {"ucch": 1}}, "limits of ucch were given; expected one for scan"),
        ({"extractors": []}, "scan reads 'regions', which nobody makes"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_runs(change, message):
    log, source = Log(), Numbers()
    extract, encode = log.stages()
    arguments = {"extractors": extract, "encoders": encode, "sizes": [10, 20], **change}
    with pytest.raises(InputError, match=message):
        encoding_rows(source, **arguments)
    assert source.asked == []


def test_a_batch_of_nothing_is_refused(tiny):
    with pytest.raises(InputError, match="a batch size of 0"):
        encoder("ucch", tiny[2], batch=0)
