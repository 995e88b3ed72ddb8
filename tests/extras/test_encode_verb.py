"""The verb `encode`: what it writes is what the encoder gives, and an interrupted run goes on."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from fico_utils import load_encoder
from fico_utils.cli import main
from fico_utils.extras.pretrained.encoders import Clip
from fico_utils.locks import hold_locks
from tests.models import tiny

N = 150
FILES = ("caption_image.npy", "image_ids.txt", "images.npy", "texts.npy")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.save(tmp_path_factory.mktemp("model") / "clip", "clip")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A corpus of a file in COCO's layout, in which one picture has no caption."""
    root, rng = tmp_path_factory.mktemp("corpus"), np.random.default_rng(0)
    (root / "images").mkdir()
    images, notes = [], []
    for n in range(N):
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(root / "images" / f"é {n}.png")
        images.append({"id": 1000 - n, "file_name": f"é {n}.png"})
        texts = [" ".join(rng.choice(tiny.WORDS, 3 + n % 8)) for _ in range(1 + n % 2)] if n else []
        notes += [{"image_id": 1000 - n, "caption": text} for text in texts]
    rng.shuffle(notes)
    (root / "captions_test.json").write_text(json.dumps({"images": images, "annotations": notes}))
    return root / "captions_test.json"


def encode(place, model, out) -> int:
    return main(["encode", str(place), "--model", str(model), "--out", str(out)])


def test_what_is_written_is_what_the_encoder_gives(place, model, tmp_path, capsys):
    assert encode(place, model, tmp_path / "out") == 0
    assert "150 images and" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(FILES)
    read = {name: np.load(tmp_path / "out" / name) for name in FILES if name.endswith("npy")}
    ids = (tmp_path / "out" / "image_ids.txt").read_text(encoding="utf-8").splitlines()
    assert ids == [f"é {n}.png" for n in range(N)]
    notes = json.loads(place.read_text())["annotations"]
    assert read["caption_image.npy"].tolist() == [1000 - note["image_id"] for note in notes]
    encoder = load_encoder(model)
    images = encoder.encode_images([place.parent / "images" / name for name in ids])
    np.testing.assert_allclose(read["images.npy"], images, atol=1e-5)
    np.testing.assert_allclose(read["texts.npy"], encoder.encode_texts([n["caption"] for n in notes]), atol=1e-5)
    assert read["images.npy"].dtype == read["texts.npy"].dtype == np.float32
    files = {f"--{name.removesuffix('.npy').replace('_', '-')}": str(tmp_path / "out" / name) for name in read}
    table = tmp_path / "scores.csv"
    captioned = np.save(tmp_path / "captioned.npy", read["images.npy"][1:])  # evaluate has no word yet for distractors
    np.save(tmp_path / "index.npy", read["caption_image.npy"] - 1)
    files |= {"--images": str(tmp_path / "captioned.npy"), "--caption-image": str(tmp_path / "index.npy")}
    assert captioned is None
    assert main(["evaluate", *(word for pair in files.items() for word in pair), "--out", str(table)]) == 0
    assert "recall" in table.read_text()


class Counter:
    """Counts the items that a tower encodes, and stops after some."""

    def __init__(self, monkeypatch, name: str, stop: int | None) -> None:
        self.seen, real = 0, getattr(Clip, name)

        def counted(model, features):
            if len(features) == 1:  # the picture and the word with which an encoder is tried when it is loaded
                return real(model, features)
            if stop is not None and self.seen >= stop:
                raise KeyboardInterrupt
            self.seen += len(features)
            return real(model, features)

        monkeypatch.setattr(Clip, name, counted)


@pytest.mark.parametrize(("tower", "stop", "again"), [("encode_image", 128, N - 128), ("encode_text", 128, None)])
def test_interrupted_it_goes_on_and_leaves_nothing_half_written(
    tower, stop, again, place, model, tmp_path, monkeypatch
):
    assert encode(place, model, tmp_path / "whole") == 0
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        Counter(patch, tower, stop)
        assert encode(place, model, out) == 130
    assert [path.name for path in out.iterdir()] == [".encode"]
    with monkeypatch.context() as patch:
        images, texts = Counter(patch, "encode_image", None), Counter(patch, "encode_text", None)
        assert encode(place, model, out) == 0
    captions = len(np.load(out / "texts.npy"))
    if tower == "encode_image":
        assert (images.seen, texts.seen) == (again, captions)
    else:
        assert (images.seen, texts.seen) == (0, captions - 128)
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    for name in FILES:
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_work_of_another_model_is_not_gone_on_with(place, model, tmp_path, monkeypatch):
    other, out = tiny.save(tmp_path / "siglip", "siglip"), tmp_path / "out"
    with monkeypatch.context() as patch:
        Counter(patch, "encode_image", 64)
        assert encode(place, model, out) == 130
    assert encode(place, other, out) == 0
    np.testing.assert_allclose(
        np.load(out / "texts.npy")[:1],
        load_encoder(other).encode_texts([json.loads(place.read_text())["annotations"][0]["caption"]]), atol=1e-5,
    )  # fmt: skip
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)


def refused(capsys, *arguments) -> str:
    assert main(["encode", *map(str, arguments)]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("fico_utils encode: ")]
    assert len(lines) == 1
    return lines[0]


def test_refusals(place, model, tmp_path, capsys):
    out = tmp_path / "out"
    assert "has no files of pictures" in refused(capsys, "picto_people", "--model", model, "--out", out)
    assert "there is no folder" in refused(capsys, place, "--model", tmp_path / "none", "--out", out)
    assert "split" in refused(capsys, place, "--model", model, "--split", "dev", "--out", out)
    with hold_locks(out / ".encode", ["encode"]):
        assert f"is writing to {out}" in refused(capsys, place, "--model", model, "--out", out)
    (tmp_path / "file").write_text("")
    assert "cannot write" in refused(capsys, place, "--model", model, "--out", tmp_path / "file")
    assert not any((out / name).exists() for name in FILES)


def test_a_picture_that_cannot_be_read_is_named_and_its_repair_encoded(model, tmp_path, capsys):
    (tmp_path / "images").mkdir()
    for n in range(3):
        Image.new("RGB", (9, 9), (80 * n, 0, 0)).save(tmp_path / "images" / f"{n}.png")
    whole = (tmp_path / "images" / "1.png").read_bytes()
    (tmp_path / "images" / "1.png").write_bytes(whole[:50])
    (tmp_path / "captions.csv").write_text("image,caption\n" + "".join(f"{n}.png,a cat\n" for n in range(3)))
    assert "1.png cannot be read as a picture" in refused(capsys, tmp_path, "--model", model, "--out", tmp_path / "out")
    assert not (tmp_path / "out" / "images.npy").exists()
    (tmp_path / "images" / "1.png").write_bytes(whole)
    assert encode(tmp_path, model, tmp_path / "out") == 0
    assert np.load(tmp_path / "out" / "images.npy").shape == (3, 6)
