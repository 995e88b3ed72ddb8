"""Whether the stated versions are honest: golden outputs, the code behind them, and the weights that ship.

``versions.lock`` holds a line a producer: its name, the version, and a hash of the code that its golden case ran
through when somebody last looked. A producer whose output differs under the same version is named; so is one whose code
differs, until somebody raises the version or says, with ``check --versions --keep PRODUCER``, that the meaning is the
same.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fico_utils.artifacts import damage_of, header_of
from fico_utils.errors import InputError
from fico_utils.files import read_arrays, write_arrays, write_text
from fico_utils.golden import FOLDER, Case, golden_cases, largest_difference
from fico_utils.package_code import digest_of_call
from fico_utils.producers import PACKAGE, stated_by, stated_in, stated_versions, version_of
from fico_utils.provenance import SHIPPED

LOCK = PACKAGE / "versions.lock"
#: What ``--keep`` takes for every producer.
ALL = "all"


@dataclass(frozen=True)
class Looked:
    """What was seen of a producer: its sentence is empty where all is as stated.

    It is `refused` where the meaning cannot be the same, since the output differs under the same version.
    """

    producer: str
    version: int
    code: str
    output: Mapping[str, np.ndarray]
    sentence: str = ""
    refused: bool = False


def check_versions(keep: Sequence[str] = (), say: Callable[[str], None] = print) -> int:
    """Exit code of ``check --versions``: 0 where every producer and every shipped file is as stated, else 1.

    `keep` names producers, or ``all``, whose meaning is the same as recorded, or whose raised version is to be
    recorded; `say` gets one sentence for each producer or file that differs, or one that all is well. InputError where
    `keep` names no producer, or one whose output differs under the same version.
    """
    stated = stated_versions()
    unknown = [name for name in keep if name != ALL and name not in stated]
    if unknown:
        raise InputError(f"{unknown[0]!r} is no producer; expected {ALL} or any of {', '.join(sorted(stated))}")
    looked = list(look_at_producers())
    kept = [p for p in looked if p.sentence and (ALL in keep or p.producer in keep)]
    refused = [p.sentence for p in kept if p.refused]
    if refused:
        raise InputError(f"{refused[0]}; --keep records only what computes the same")
    if kept:
        _record(looked, kept)
        say(f"recorded in {LOCK.name}: {', '.join(p.producer for p in kept)}")
    sentences = [p.sentence for p in looked if p.sentence and p not in kept]
    sentences += _missing(stated, [p.producer for p in looked]) + check_shipped()
    for sentence in sentences:
        say(sentence)
    if not sentences:
        say(f"{len(looked)} producers compute what they did at their stated versions, and all that ships is whole")
    return 1 if sentences else 0


def look_at_producers(only: Sequence[str] | None = None) -> Iterator[Looked]:
    """Run the golden case of every producer, or of some, on one thread, and compare it with what is recorded."""
    import torch
    from threadpoolctl import threadpool_limits

    stated, lock, threads = stated_versions(), read_lock(), torch.get_num_threads()
    torch.set_num_threads(1)  # so that sums are added in one order
    try:
        with threadpool_limits(1):
            for producer, case in golden_cases().items():
                if producer in stated and (only is None or producer in only):
                    yield _look(producer, case, stated[producer], *lock.get(producer, (None, "")))
    finally:
        torch.set_num_threads(threads)


def _look(producer: str, case: Case, version: int, recorded: int | None, recorded_code: str) -> Looked:
    """One producer beside the version and the hash of the code that are recorded of it; None: nothing is recorded."""
    record = f"check --versions --keep {producer}"
    module = f"{PACKAGE.name}/{stated_in(producer).as_posix()}"
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        try:
            output = {name: np.asarray(array) for name, array in case.run().items()}
            seen = producer, version, digest_of_call(case.run), output
        except Exception as error:  # whatever it is, the other producers are looked at all the same
            problem = f"{type(error).__name__}: {' '.join(str(error).split())}"
            sentence = f"{producer} does not run on its golden input: {problem}"
            return Looked(producer, version, "", {}, sentence, refused=True)
    if recorded is None:
        return Looked(*seen, f"{producer} is not recorded yet: look at what it computes, then say {record}")
    if version > recorded:
        return Looked(*seen, f"{producer} has version {version} and is recorded as {recorded}: say {record}")
    if version < recorded:
        sentence = f"{producer} has version {version} and was {recorded}: a version is never lowered"
        return Looked(*seen, sentence, refused=True)
    path = _golden_path(producer)
    if difference := largest_difference(output, read_arrays(path) if path.is_file() else {}, case.tolerance):
        sentence = f"{producer} computes something else than version {version} did ({difference}); raise VERSION in "
        return Looked(*seen, sentence + module, refused=True)
    if seen[2] != recorded_code:
        sentence = f"the code of {producer} changed and its output did not: raise VERSION in {module} if the meaning "
        return Looked(*seen, f"{sentence}changed, or say {record}")
    return Looked(*seen)


def _missing(stated: Mapping[str, int], looked: Sequence[str]) -> list[str]:
    """Producers without a case, and recorded ones that nobody states any more."""
    without = [p for p in stated if p not in looked]
    gone = [p for p in read_lock() if p not in stated]
    return [f"{p} states a version and has no golden case: add one in {FOLDER.name}/" for p in without] + [
        f"{p} is recorded in {LOCK.name} and no module states its version: delete its line" for p in gone
    ]


def read_lock() -> dict[str, tuple[int, str]]:
    """Producer -> (version, hash of the code), as recorded."""
    if not LOCK.is_file():
        return {}
    lines = [line.split() for line in LOCK.read_text(encoding="utf-8").splitlines() if line and line[0] != "#"]
    return {producer: (int(version), code) for producer, version, code in lines}


def _golden_path(producer: str) -> Path:
    return FOLDER / f"{producer}.safetensors"


def _record(looked: Sequence[Looked], kept: Sequence[Looked]) -> None:
    """Write the lock, and the golden outputs of versions that are new."""
    lock = read_lock()
    for seen in kept:
        if lock.get(seen.producer, (0, ""))[0] != seen.version:
            write_arrays(_golden_path(seen.producer), seen.output, {"version": seen.version})
        lock[seen.producer] = seen.version, seen.code
    stated = {seen.producer for seen in looked}
    lines = [f"{name} {version} {code}" for name, (version, code) in sorted(lock.items()) if name in stated]
    write_text(LOCK, "\n".join(["# producer, version, code: written by check --versions --keep", *lines, ""]))


def check_shipped(folder: Path = SHIPPED) -> list[str]:
    """A sentence for each shipped file that is damaged, or that an older version of its producer made."""
    sentences = []
    for path in sorted(folder.rglob("*.safetensors")):
        name, recipe = path.relative_to(folder.parent).as_posix(), header_of(path).get("recipe")
        if recipe is None:
            continue
        now = version_of(recipe["producer"])
        if damage := damage_of(path):
            sentences.append(f"{name} {damage}; take it from the repository again")
        elif recipe["version"] != now:
            sentences.append(
                f"{name} was made by version {recipe['version']} of {stated_by(recipe['producer'])}, which is {now} "
                "now, so it serves no more: train it anew and ship it"
            )
    return sentences
