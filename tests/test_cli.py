"""The command line: exit codes, one sentence for bad usage, nothing written that was not asked for."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from fico_utils import cli
from fico_utils.batch import pipeline, runner
from fico_utils.locks import hold_locks
from fico_utils.provenance import PROJECT
from fico_utils.verbs import check

PARAMETERS = 'profile: str = "mini"  # profile\nseed: int = 0  # seed\nout_dir: str = "results"  # folder\n'


@pytest.fixture
def notebooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder whose notebooks are tiny: the second one breaks with seed 13."""
    for step in pipeline.STEPS:
        code = "if seed == 13:\n    raise ValueError('unlucky')" if step.id == "01" else "seed + 1"
        cells = [("parameters", PARAMETERS, ["parameters"]), ("work", code, [])]
        rows = [
            {"cell_type": "code", "id": i, "metadata": {"tags": t}, "source": s, "outputs": [], "execution_count": None}
            for i, s, t in cells
        ]
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        path = tmp_path / "project" / "notebooks" / f"{step.notebook}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"cells": rows, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}))
    monkeypatch.setattr(pipeline, "PROJECT", tmp_path / "project")
    return path.parent


def sentence(capsys: pytest.CaptureFixture, *arguments: str) -> str:
    """What a refused command says, after checking that it is one line on stderr and the exit code is 2."""
    assert cli.main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "Traceback" not in said.err
    return said.err


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["run", "--profile", "huge"], "unknown profile 'huge'; expected one of"),
        (["status", "--profile", "../configs/mini"], "unknown profile"),
        (["run", "--only", "99"], "unknown notebook or step '99'"),
        (["run", "--from", "metrics"], "unknown notebook or step 'metrics'"),
        (["step", "x"], "unknown notebook or step 'x'"),
        (["run", "--set", "sead=1"], "unknown parameter 'sead'; did you mean 'seed'?"),
        (["run", "--set", "seed=x"], "parameter seed was given 'x'"),
        (["run", "--dry-run", "--set", "seed"], "expected NAME=VALUE"),
        (["fetch", "cifar"], "unknown corpus 'cifar'"),
        (["fetch", "--set", "data_dri=x"], "unknown parameter 'data_dri'; did you mean 'data_dir'?"),
        (["run", "--profile", "precomputed", "--only", "04"], "profile precomputed runs no notebooks"),
        (
            ["run", "--dry-run", "--set", "corpora=mscooc"],
            "'mscooc', which is unknown; did you mean 'mscoco'?",
        ),
        (["status", "--set", "systems=beit3,uchh"], "systems names 'uchh', which is unknown; did you mean 'ucch'?"),
        (["precomputed", "--profile", "minni"], "--profile was given 'minni'"),
        (["report", "/nope/a"], "the folder /nope/a does not exist"),
        (["train", "uchh", "picto_people"], "profile mini trains no system 'uchh'; did you mean 'ucch'?"),
        (["train", "xvlm", "picto_people"], "profile mini trains no system 'xvlm'"),
        (
            ["train", "ucch", "mscoco"],
            "trains no corpus 'mscoco'; expected one of picto_diverse, picto_people",
        ),
    ],
)
def test_bad_input_is_one_sentence(notebooks: Path, capsys, arguments: list[str], part: str) -> None:
    assert part in sentence(capsys, *arguments)


@pytest.mark.parametrize("arguments", [[], ["jump"], ["run", "--fast"], ["step"], ["run", "--prof", "mini"]])
def test_bad_usage_exits_2(arguments: list[str], capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize("number", ["-1", "²", "٣", "1_0", "9" * 20, "1e5", ""])
@pytest.mark.parametrize(
    "call",
    [("run", "--jobs"), ("compare", "a.csv", "b.csv", "--seed"), ("exercises", "--mark", ".", "--limit"),
     ("deploy", "--images", "a.npy", "--texts", "b.npy", "--seed")],
    ids=lambda call: call[0],
)  # fmt: skip
def test_numbers_are_ascii_digits_within_int64(call: tuple[str, ...], number: str, capsys) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main([*call[:-1], f"{call[-1]}={number}"])
    assert f"argument {call[-1]}: expected a whole number of 0 or more, such as 12" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["run", "step", "status", "report", "check", "fetch", "clean", "train", "precomputed"])
def test_every_verb_has_help_with_profile_out_and_quiet(verb: str, capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([verb, "--help"])
    assert caught.value.code == 0
    said = capsys.readouterr().out
    assert all(option in said for option in ("--profile", "--out", "--quiet"))


def test_run_status_report_clean(notebooks: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "place"
    root = out / "mini"
    common = ["--out", str(out)]

    assert cli.main(["run", *common, "--dry-run"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "00_start_here: run (missing: never run)"
    assert not out.exists()

    assert cli.main(["run", *common, "--only", "01,06", "--set", "seed=13"]) == 1
    said = capsys.readouterr()
    assert re.sub(r"\d+ s$", "1 s", said.out, flags=re.MULTILINE).splitlines() == [
        "[1/2] 01_feature_extraction: failed after 1 s",
        "[2/2] 06_figures: not run: needs 01, which failed",
        str(root / "report/index.html"),
    ]
    told = [line for line in said.err.splitlines() if " so far, " not in line]  # a slow machine says how far it is
    assert told == ["step 01 failed in cell work: ValueError: unlucky"]
    facts = json.loads((root / "report/summary.json").read_text())
    assert facts["good"] is False
    assert facts["steps"][1]["failure"]["error"] == "ValueError: unlucky"

    assert cli.main(["step", "01", *common, "--quiet"]) == 0
    assert cli.main(["run", *common, "--only", "01", "--quiet"]) == 0
    assert capsys.readouterr().out == f"{root / 'report/index.html'}\n"
    assert cli.main(["status", *common]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["01_feature_extraction", "fresh"]
    assert lines[-1] == f"1 of 7 steps are fresh in {root}"
    assert cli.main(["run", *common, "--only", "01", "--dry-run", "--force"]) == 0
    assert capsys.readouterr().out == "01_feature_extraction: run (forced)\n"
    assert cli.main(["run", *common, "--only", "01", "--dry-run", "--set", "seed=1"]) == 0
    assert capsys.readouterr().out == "01_feature_extraction: run (stale: seed 0 -> 1)\n"
    assert cli.main(["report", *common]) == 0

    (root / "mine.txt").write_text("notes")
    assert cli.main(["clean", *common]) == 0
    assert "left what no run of this package wrote: mine.txt" in capsys.readouterr().out
    assert [p.name for p in root.iterdir()] == ["mine.txt"]
    assert "holds no runs/ of ours" in sentence(capsys, "clean", *common)
    assert "holds no runs to report" in sentence(capsys, "report", *common)
    assert cli.main(["clean", "--out", str(tmp_path / "nowhere")]) == 0


def test_missing_package_says_what_to_install(notebooks: Path, tmp_path, monkeypatch, capsys) -> None:
    real = check.version

    def version(name: str) -> str:
        if name in ("torch", "faiss-cpu"):
            raise PackageNotFoundError(name)
        return "1.0" if name == "scipy" else real(name)

    monkeypatch.setattr(check, "version", version)
    for verb in ("check", "run"):
        said = sentence(capsys, verb, "--out", str(tmp_path / "place"))
        assert "faiss-cpu is missing, scipy 1.0 is too old (at least 1.17 needed), torch is missing" in said
        assert "pip install -c constraints.txt faiss-cpu scipy torch" in said
    assert not (tmp_path / "place").exists()


def test_check_tells_each_thing_and_leaves_nothing(tmp_path: Path, capsys) -> None:
    assert cli.main(["check", "--out", str(tmp_path / "a" / "b")]) == 0
    said = capsys.readouterr().out
    assert all(word in said for word in ("Python 3.", "torch", "faiss", "font", "can be written", "GiB of disk"))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    assert "cannot write" in sentence(capsys, "check", "--out", str(tmp_path / "file"))


def test_little_disk_is_refused(tmp_path: Path, monkeypatch, capsys) -> None:
    usage = type("Usage", (), {"free": 2**20})
    monkeypatch.setattr(check.shutil, "disk_usage", lambda path: usage)
    assert "0.0 GiB free" in sentence(capsys, "check", "--out", str(tmp_path))


def test_little_memory_is_refused(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(check, "available_memory", lambda: 2**30)
    assert "1.0 GiB of memory free; 2 GiB needed" in sentence(capsys, "check", "--out", str(tmp_path))


def test_a_room_of_machines_gets_a_line_each(tmp_path: Path, monkeypatch, capsys) -> None:
    assert cli.main(["check", "--json", "--out", str(tmp_path)]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["problem"] == ""
    assert row["host"]
    assert min(row[name] for name in ("memory_gib", "disk_gib", "cores")) > 0
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(check, "package_version", lambda name: "0.1" if name == "torch" else None)
    monkeypatch.setattr(check.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 2**20}))
    assert cli.main(["check", "--json", "--out", str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert said.err == ""
    (line,) = said.out.splitlines()
    assert "0.0 GiB free" in json.loads(line)["problem"]
    pinned = re.search(r"^torch==(\S+)$", (PROJECT / "constraints.txt").read_text(encoding="utf-8"), re.M)[1]
    assert json.loads(line)["differs"]["torch"] == f"0.1 (tested: {pinned})"


def test_a_folder_for_students_lacks_what_is_for_the_lecturer(tmp_path: Path) -> None:
    assert cli.main(["init", str(tmp_path / "all")]) == 0
    assert cli.main(["init", str(tmp_path / "some"), "--students"]) == 0
    everything, some = (
        {p.relative_to(f).as_posix() for p in f.rglob("*.*")} for f in (tmp_path / "all", tmp_path / "some")
    )
    assert everything - some == {
        "notebooks/TEACHING.md",
        *(f"notebooks/solutions/{path.name}" for path in (PROJECT / "notebooks/solutions").glob("*.ipynb")),
    }
    assert {"constraints.txt", "notebooks/00_start_here.ipynb", "notebooks/exercises/06_figures.ipynb"} < some


def test_fetch_of_embedded_corpora_has_nothing_to_do(capsys) -> None:
    assert cli.main(["fetch"]) == 0
    said = capsys.readouterr().out
    assert all(f"Nothing to download: {name} is drawn" in said for name in ("picto_diverse", "picto_people"))


def test_clean_refuses_foreign_folders(tmp_path: Path, capsys) -> None:
    (tmp_path / "mini" / "runs").mkdir(parents=True)
    (tmp_path / "mini" / "data").mkdir()
    assert "nothing was removed" in sentence(capsys, "clean", "--out", str(tmp_path))
    assert (tmp_path / "mini" / "data").is_dir()


def test_clean_refuses_while_a_run_is_going(notebooks: Path, tmp_path: Path, capsys) -> None:
    with hold_locks(tmp_path / "mini/runs", ["04_evaluation"]):
        assert "another run" in sentence(capsys, "clean", "--out", str(tmp_path))


def test_interrupt_is_one_line_and_130(notebooks: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "run_step", interrupted)
    assert cli.main(["run", "--out", str(tmp_path / "place")]) == 130
    assert capsys.readouterr().err == "interrupted; the same command goes on where it stopped\n"


def test_run_as_module_without_traceback() -> None:
    command = [sys.executable, "-m", "fico_utils", "run", "--profile", "nope"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("fico_utils run: unknown profile 'nope'")
    assert done.stderr.count("\n") == 1


def test_report_of_two_runs_shows_them_side_by_side(tmp_path: Path, capsys) -> None:
    committed = PROJECT / "figures" / "mini"
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for table in ("metrics", "costs"):
            shutil.copy(committed / f"{table}.csv", tmp_path / name)
    assert cli.main(["report", str(tmp_path / "one"), str(tmp_path / "two")]) == 0
    page = Path(capsys.readouterr().out.strip())
    assert page == tmp_path / "one" / "report" / "comparison.html"
    assert "mini-s0" in page.read_text(encoding="utf-8")
    assert "expected two or more" in sentence(capsys, "report", str(tmp_path / "one"))


def test_help_lists_every_verb_and_loads_little() -> None:
    code = (
        "import sys\nfrom fico_utils.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'pandas', 'papermill', 'faiss'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    *said, heavy = done.stdout.splitlines()
    assert heavy == "[]"
    for verb, module in cli.find_verbs().items():
        assert any(line.split()[:1] == [verb] for line in said), verb
        assert module.HELP[0].islower()
        assert module.__doc__.startswith(f"The verb `{verb}`: ")
