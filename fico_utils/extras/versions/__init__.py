"""Whether the stated versions are honest: golden outputs, the code behind them, and the weights that ship.

``versions.lock`` holds a line a producer: its name, the version, and a digest of the code that its golden case ran
through when somebody last looked. ``golden/`` holds what the cases gave when the version was stated.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from fico_utils.artifacts import damage_of, header_of
from fico_utils.data.pictoscenes import drawn_corpus
from fico_utils.errors import InputError
from fico_utils.experiment import PRETRAINING, part
from fico_utils.extras.versions.cases import CASES
from fico_utils.extras.versions.code_digest import digest_of_call
from fico_utils.files import read_arrays, write_arrays, write_text
from fico_utils.producers import stated_by, stated_in, stated_versions, version_of
from fico_utils.profiles import profile_settings
from fico_utils.provenance import PACKAGE, SHIPPED
from fico_utils.workspace import Run

HERE = Path(__file__).resolve().parent
LOCK, GOLDEN = HERE / "versions.lock", HERE / "golden"
#: What ``--keep`` takes for every producer.
ALL = "all"
#: Arrays whose names begin so are compared in a way of their own, see `largest_difference`.
CODES, PICTURES = "codes", "pictures"


class Looked(NamedTuple):
    """What was seen of a producer: its sentence is empty where all is as stated.

    It is `refused` where the meaning cannot be the same, since the output differs under the same version.
    """

    producer: str
    sentence: str
    code: str
    output: Mapping[str, np.ndarray]
    refused: bool


def check_versions(keep: Sequence[str] = (), say: Callable[[str], None] = print) -> int:
    """Exit code of ``check --versions``: 0 where every producer and every shipped file is as stated, else 1.

    `keep` names producers, or ``all``, whose meaning is the same as recorded, or whose raised version is to be
    recorded; `say` gets one sentence for each producer or file that differs, or one that all is well. InputError where
    `keep` names no producer, or one whose output differs under the same version.
    """
    stated, lock = stated_versions(), read_lock()
    unknown = [name for name in keep if name != ALL and name not in stated]
    if unknown:
        raise InputError(f"{unknown[0]!r} is no producer; expected {ALL} or any of {', '.join(sorted(stated))}")
    looked = look_at_producers()
    kept = [seen for seen in looked if seen.sentence and (ALL in keep or seen.producer in keep)]
    refused = [seen.sentence for seen in kept if seen.refused]
    if refused:
        raise InputError(f"{refused[0]}; --keep records only what computes the same")
    for seen in kept:
        if lock.get(seen.producer, (0, ""))[0] != stated[seen.producer]:
            write_arrays(GOLDEN / f"{seen.producer}.safetensors", seen.output, {"version": stated[seen.producer]})
        lock[seen.producer] = stated[seen.producer], seen.code
    if kept:
        lines = [f"{name} {version} {code}" for name, (version, code) in sorted(lock.items()) if name in stated]
        write_text(LOCK, "\n".join(["# producer, version, code: written by check --versions --keep", *lines, ""]))
        say(f"recorded in {LOCK.name}: {', '.join(seen.producer for seen in kept)}")
    sentences = [seen.sentence for seen in looked if seen.sentence and seen not in kept]
    sentences += [f"{p} states a version and has no golden case: add one in cases.py" for p in stated if p not in CASES]
    gone = "is recorded in versions.lock and no module states its version: delete its line"
    sentences += [f"{p} {gone}" for p in read_lock() if p not in stated]
    sentences += check_shipped()
    for sentence in sentences:
        say(sentence)
    if not sentences:
        say(f"{len(looked)} producers compute what they did at their stated versions, and all that ships is whole")
    return 1 if sentences else 0


def look_at_producers(only: Sequence[str] = tuple(CASES)) -> list[Looked]:
    """Run the golden case of every producer, or of some, on one thread, and compare it with what is recorded."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so that sums are added in one order
    try:
        with threadpool_limits(1), contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            return [_look(producer) for producer in sorted(stated_versions()) if producer in only]
    finally:
        torch.set_num_threads(threads)


def _look(producer: str) -> Looked:
    """One producer beside the version, the output and the digest of the code that are recorded of it."""
    version, (case, tolerance) = stated_versions()[producer], CASES[producer]
    recorded, recorded_code = read_lock().get(producer, (None, ""))
    try:
        output = {name: np.asarray(array) for name, array in case().items()}
        code = digest_of_call(case)
    except Exception as error:  # whatever it is, the other producers are looked at all the same
        problem = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return Looked(producer, f"{producer} does not run on its golden input: {problem}", "", {}, True)
    record, to_raise = f"check --versions --keep {producer}", f"raise VERSION in {PACKAGE.name}/{stated_in(producer)}"
    then = read_arrays(GOLDEN / f"{producer}.safetensors") if version == recorded else output
    difference, sentence = largest_difference(output, then, tolerance), ""
    if recorded is None:
        sentence = f"{producer} is not recorded yet: look at what it computes, then say {record}"
    elif version > recorded:
        sentence = f"{producer} has version {version} and is recorded as {recorded}: say {record}"
    elif version < recorded:
        sentence = f"{producer} has version {version} and was {recorded}: a version is never lowered"
    elif difference:
        sentence = f"{producer} computes something else than version {version} did ({difference}); {to_raise}"
    elif code != recorded_code:
        sentence = f"the code of {producer} changed and its output did not: {to_raise} if the meaning changed, "
        sentence += f"or say {record}"
    return Looked(producer, sentence, code, output, bool(difference) or version < (recorded or 0))


def read_lock() -> dict[str, tuple[int, str]]:
    """Producer -> (version, digest of the code), as recorded."""
    lines = [line.split() for line in LOCK.read_text(encoding="utf-8").splitlines() if line and line[0] != "#"]
    return {producer: (int(version), code) for producer, version, code in lines}


def check_shipped(folder: Path = SHIPPED) -> list[str]:
    """A sentence for each shipped file that is damaged or, where none is, that serves no more.

    An older version of its producer made it, or it read scenes or shipped files that are made otherwise now.
    """
    paths = [path for path in sorted(folder.rglob("*")) if path.suffix in (".safetensors", ".json")]
    problems = {path: f"{damage}; take it from the repository again" for path in paths if (damage := damage_of(path))}
    headers = {} if problems else {path: header_of(path) for path in paths}
    for path, recipe in ((path, header["recipe"]) for path, header in headers.items()):
        if recipe["version"] != (now := version_of(recipe["producer"])):
            made_by = f"version {recipe['version']} of {stated_by(recipe['producer'])}, which is {now} now"
            problems[path] = f"was made by {made_by}, so it serves no more: train it anew and ship it"
    scenes = set().union(*(_keys_of_scenes(path.name) for path in folder.iterdir() if path.is_dir()))
    outdated = True
    while outdated:
        serving = {path: header for path, header in headers.items() if path not in problems}
        known = scenes.union(*((header["key"], header["digest"]) for header in serving.values()))
        read = {path: {i for i in header["recipe"]["inputs"] if len(i) >= 16} for path, header in serving.items()}
        outdated = [path for path, keys in read.items() if not keys <= known]
        sentence = "read what is made otherwise now, so it serves no more: train it anew and ship it"
        problems |= dict.fromkeys(outdated, sentence)
    return [f"{path.relative_to(folder.parent).as_posix()} {problems[path]}" for path in sorted(problems)]


def _keys_of_scenes(profile: str) -> set[str]:
    """Keys of all drawn scenes that the trainings of a profile read."""
    run = Run(profile, 0, Path(), profile_settings(profile))
    parts = [part(run, name, split) for name in run["n_train"] for split in ("train", "val")]
    parts += [part(run, name, "train_vlp") for name in run["n_train_vlp"]]
    parts += [drawn_corpus(PRETRAINING, train=backbone["scenes"]) for backbone in run["backbones"].values()]
    return {scenes.key for scenes in parts}


def largest_difference(now: Mapping[str, np.ndarray], then: Mapping[str, np.ndarray], tolerance: float) -> str:
    """Where two outputs differ most, in words, such as ``largest difference 0.31 in txt``; empty where they agree.

    Real numbers agree where the difference is at most `tolerance` of the length of the recorded array, and what is
    infinite or undefined is so in both. ``codes...`` agree in 95 of 100 bits, ``pictures...`` in 99 of 100 values
    within two levels. Everything else agrees exactly.
    """
    if set(now) != set(then):
        return f"its arrays are {', '.join(sorted(now))} and were {', '.join(sorted(then))}"
    differences = []
    for name, before in then.items():
        after, kind = now[name], before.dtype.kind
        if after.shape != before.shape or after.dtype.kind != kind:
            return f"{name} is {after.dtype} {after.shape} and was {before.dtype} {before.shape}"
        if name.startswith(CODES):
            after, before = np.unpackbits(after), np.unpackbits(before)
        after, before = after.astype(np.float64), before.astype(np.float64)
        finite = np.isfinite(after) & np.isfinite(before)
        apart = np.abs(after[finite] - before[finite])
        if name.startswith((CODES, PICTURES)):
            limit, share = (0, 0.05) if name.startswith(CODES) else (2, 0.01)
            agree = (apart > limit).sum() <= share * apart.size
        else:
            allowed = tolerance * np.linalg.norm(before[finite]) + 1e-6 if kind == "f" else 0
            agree = np.linalg.norm(apart) <= allowed
        if not np.array_equal(after[~finite], before[~finite], equal_nan=True):
            differences.append((np.inf, name))
        elif not agree:
            differences.append((apart.max(), name))
    return "largest difference {:.2g} in {}".format(*max(differences)) if differences else ""
