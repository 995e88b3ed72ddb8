"""Damaged and hostile files of results, profiles and settings: tables, manifests, records, and what is kept."""

from __future__ import annotations

import io
import json
import random
import shutil
from argparse import Namespace
from collections.abc import Callable
from contextlib import redirect_stderr, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fico_utils import profiles
from fico_utils.artifacts import Recipe, Store
from fico_utils.batch.pipeline import STEPS, Batch, find_step, step_state
from fico_utils.extras.comparison import write_comparison
from fico_utils.extras.deploy.records import Records
from fico_utils.extras.pages.report import read_parts, write_report
from fico_utils.extras.paired import compare
from fico_utils.extras.seeds import write_seeds
from fico_utils.manifests import read_manifest
from fico_utils.provenance import PROJECT
from fico_utils.results import load
from fico_utils.verbs.check import verify_content
from fico_utils.verbs.clean import noted_outputs
from tests.display.test_report import manifest, sealed
from tests.faults.arrays import run_evaluate
from tests.faults.mutations import Files, Mutate, hunt_readers, mutate_bytes, mutate_json, mutate_text
from tests.faults.texts import QUOTES, TAGS, _encoded

PAIRS = "image,caption,grade\n" + "".join(f"{n},{n},{n % 3}\n" for n in range(6))
SETTINGS = (PROJECT / "configs/mini.yaml").read_text(encoding="utf-8")
BASE = (PROJECT / "configs/base.yaml").read_text(encoding="utf-8")
RECIPE = Recipe("visual_features")
ARRAYS = {"x": np.arange(6, dtype=np.float32), "m": np.array([True, False])}


def prepare(folder: Path) -> Path:
    """Good files of every kind, below a folder, which it gives back."""
    images = np.random.default_rng(0).standard_normal((6, 4)).astype("f4")
    np.save(folder / "i.npy", images)
    given = ["--images", folder / "i.npy", "--texts", folder / "i.npy", "--recall-at", "1", "--caption-image"]
    np.save(folder / "c.npy", np.arange(6))
    for name in ("a", "b"):
        run_evaluate(*given, folder / "c.npy", "--per-query", folder / f"{name}.csv")
    for name in ("mini", "other"):
        (folder / name).mkdir()
        for table in ("metrics", "costs", "claims"):
            lines = (PROJECT / f"figures/mini/{table}.csv").read_text(encoding="utf-8").splitlines()
            few = lines[:1] + [line for line in lines[1:] if "picto_people" in line][:40]
            text = "\n".join(few) + "\n"
            (folder / name / f"{table}.csv").write_text(text.replace("mini-s0", f"mini-s{int(name == 'other')}"))
    store = Store(folder / "store")
    store.arrays("features", "a", RECIPE, lambda: ARRAYS)
    store.records("costs", "a", RECIPE, lambda: [{"seconds": 1.5}])
    store.units("models", "a", RECIPE).write(1, ARRAYS, {"block": 1})
    records = Records(folder / "deploy", {"inputs": "key"})
    records.kept("flat", lambda: [{"query_ms": 1.5}])
    records.kept_arrays("learned", lambda: ARRAYS)
    return folder


def mutate_file(rng: random.Random, data: bytes) -> bytes:
    """The content of a file, changed as JSON, as text or as bytes."""
    kind = rng.randrange(3)
    if kind == 0 and data[:1] == b"{":
        return mutate_json(rng, json.loads(data)).encode("utf-8", "surrogatepass")
    return mutate_bytes(rng, data) if kind == 1 else _encoded(rng, mutate_text(rng, data.decode("latin-1"), QUOTES))


def mutate_per_query(rng: random.Random, folder: Path) -> tuple[Files, Callable[[], Any]]:
    """Values per query, of one of two systems."""
    text = mutate_text(rng, (folder / "b.csv").read_text(encoding="utf-8"), QUOTES)
    names = [folder / "a.csv", folder / "changed.csv"]
    return {names[1]: _encoded(rng, text)}, lambda: compare(names, metric="recall@1")


def mutate_relevance(rng: random.Random, folder: Path) -> tuple[Files, Callable[[], Any]]:
    """Pairs that are relevant, by number or by name; or the names of images."""
    call = ["--images", folder / "i.npy", "--texts", folder / "i.npy", "--recall-at", "1"]
    if rng.random() < 0.4:
        path = folder / "ids.txt"
        names = "".join(f"p{n}\n" for n in range(6))
        (folder / "good.txt").write_text(names)
        call += rng.choice((["--image-ids", path, "--caption-image-ids"], ["--caption-image-ids", path, "--image-ids"]))
        return {path: _encoded(rng, mutate_text(rng, names, QUOTES))}, lambda: run_evaluate(*call, folder / "good.txt")
    path = folder / "r.csv"
    return {path: _encoded(rng, mutate_text(rng, PAIRS, QUOTES))}, lambda: run_evaluate(*call, "--relevance", path)


def mutate_profile(rng: random.Random, folder: Path) -> tuple[Files, Callable[[], Any]]:
    """A profile, or a text of ``--set``."""
    base = profiles.profile_settings("mini")
    if rng.random() < 0.5:
        name = rng.choice(sorted(base))
        value = json.dumps(base[name]) if rng.random() < 0.5 else str(base[name])
        text = mutate_text(rng, f"{name}={value}", TAGS)
        return {}, lambda: profiles.read_overrides([text], base)
    path = folder / "configs" / "mini.yaml"
    path.parent.mkdir(exist_ok=True)
    (path.parent / "base.yaml").write_text(BASE, encoding="utf-8")

    def read() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(profiles, "CONFIGS", path.parent)
            profiles._parsed.cache_clear()
            profiles.profile_settings("mini")

    return {path: _encoded(rng, mutate_text(rng, SETTINGS, TAGS))}, read


def mutate_manifest(rng: random.Random, folder: Path) -> tuple[Files, Callable[[], Any]]:
    """The manifest of a step, or the report's summary, as all that reads them does; mostly with a forged seal."""
    # most often in a folder without tables, which would be read each time
    root = folder / ("mini" if rng.random() < 0.05 else "bare")
    batch, step = Batch("mini", root, {}, {"04": {"cells": []}}, folder), find_step(STEPS, "04")
    batch.package = {}
    record = manifest(made_from=batch.parts(step), inputs=[{"path": "metrics.csv", "sha256": "x", "bytes": 3}])
    record |= rng.choice(({}, {"failure": {"cell": "fit", "heading": "2.2 Fit", "error": "ValueError: x"}}))
    paths = batch.runs(step, "manifest.json"), batch.root / "report/summary.json"
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
    text = mutate_json(rng, sealed(record))
    if rng.random() < 0.8:
        with suppress(ValueError, TypeError, RecursionError):  # no JSON, no record, or none that has a seal
            text = json.dumps(sealed(json.loads(text)))

    def report() -> None:
        state = step_state(batch, step)
        told = {"id": "04", "notebook": step.notebook, "state": state.name, "why": state.why}
        write_report(batch.root, "mini", [told])

    def check() -> None:
        with redirect_stderr(io.StringIO()):
            verify_content(Namespace(profile="mini", out=str(batch.root), quiet=True))

    calls = (report, check, lambda: noted_outputs(batch.root), lambda: read_manifest(paths[0]))
    if root.name == "mini":
        calls = (report, lambda: write_comparison([root, folder / "other"]))
    return dict.fromkeys(paths, _encoded(rng, text)), rng.choice(calls)


def mutate_tables(rng: random.Random, folder: Path) -> tuple[Files, Callable[[], Any]]:
    """A table of one run: its report, the comparison of two runs, numbers over seeds."""
    shutil.rmtree(folder / "mini/runs", ignore_errors=True)
    name, places = rng.choice(("metrics", "costs", "claims")), [folder / "mini", folder / "other"]
    kept = folder / f"{name}.kept"
    if not kept.exists():
        shutil.copy(places[0] / f"{name}.csv", kept)
    for other in {"metrics", "costs", "claims"} - {name}:
        if (folder / f"{other}.kept").exists():
            shutil.copy(folder / f"{other}.kept", places[0] / f"{other}.csv")
    text = mutate_text(rng, kept.read_text(encoding="utf-8"), QUOTES)
    if rng.random() < 0.9:  # by what reads it for all of these
        alone = folder / "alone"
        alone.mkdir(exist_ok=True)
        call = (lambda: read_parts(alone, [])) if name == "claims" else lambda: load(alone, name)
        return {alone / f"{name}.csv": _encoded(rng, text)}, call
    calls = (
        lambda: write_report(places[0], "mini", []),
        lambda: write_comparison(places),
        lambda: write_seeds(places, folder / "seeds.csv"),
    )
    return {places[0] / f"{name}.csv": _encoded(rng, text)}, rng.choice(calls)


def mutate_kept(rng: random.Random, folder: Path) -> tuple[Files, Callable[[], Any]]:
    """Something that a run or `deploy` keeps: what is read again must be what was kept, or made anew."""
    root = folder / "store"
    store, paths = Store(root), [p for p in root.rglob("*a__s0*") if p.is_file()] + [*root.rglob("unit_*")]
    path = rng.choice(sorted(paths))
    path = path if not path.is_dir() else next(path.iterdir())

    def read() -> None:
        held = store.arrays("features", "a", RECIPE, lambda: ARRAYS)
        assert all(np.array_equal(held[name], ARRAYS[name]) for name in ARRAYS), "other arrays were believed"
        assert store.records("costs", "a", RECIPE, lambda: [{"seconds": 1.5}]) == [{"seconds": 1.5}]
        units = store.units("models", "a", RECIPE)
        if 1 not in units.numbers():
            units.write(1, ARRAYS, {"block": 1})
        assert units.read(1)[1] == {"block": 1}

    return {path: mutate_file(rng, path.read_bytes())}, read


def mutate_deploy(rng: random.Random, folder: Path) -> tuple[Files, Callable[[], Any]]:
    """What `deploy` keeps in its folder."""
    path = rng.choice(sorted(p for p in (folder / "deploy").rglob("*") if p.is_file()))
    good = {p: p.read_bytes() for p in (folder / "deploy").rglob("*") if p.is_file()}

    def read() -> None:
        try:
            records = Records(folder / "deploy", {"inputs": "key"})
            assert records.kept("flat", lambda: [{"query_ms": 1.5}]) == [{"query_ms": 1.5}], "other rows were believed"
            held = records.kept_arrays("learned", lambda: ARRAYS)
            assert all(np.array_equal(held[name], ARRAYS[name]) for name in ARRAYS), "other arrays were believed"
        finally:
            for place, content in good.items():
                place.write_bytes(content)

    return {path: mutate_file(rng, good[path])}, read


READERS: dict[str, Mutate] = {
    "per query": mutate_per_query, "relevance": mutate_relevance, "profile": mutate_profile,
    "manifest": mutate_manifest, "tables": mutate_tables, "kept": mutate_kept, "deploy": mutate_deploy,
}  # fmt: skip


def campaign(seconds: float, seed: int, readers: tuple[str, ...] = tuple(READERS), least: int = 0) -> str:
    """Mutations of each kind of file for its share of the time, or until at least so many are tried."""
    return hunt_readers({name: READERS[name] for name in readers}, prepare, seconds, seed, least)
