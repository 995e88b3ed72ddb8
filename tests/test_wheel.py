"""The package as it is installed from a wheel, away from any checkout: checks, scores, and runs a notebook."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fico_utils.provenance import PROJECT

#: What stands beside the notebooks.
LECTURER = {"notebooks": {"README.md", "TEACHING.md"}}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without network from the files of the project."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    left_out = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("fico_utils", "notebooks", "configs"):
        shutil.copytree(PROJECT / name, source / name, ignore=left_out)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "constraints.txt"):
        shutil.copy(PROJECT / name, source)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        target,
        source,
    ]
    subprocess.run(command, check=True)
    (built,) = target.glob("fico_utils-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the commands of a fresh environment, which sees the packages of this one beside the installed wheel."""
    folder = tmp_path_factory.mktemp("venv") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    commands = folder / ("Scripts" if os.name == "nt" else "bin")
    place = subprocess.run(
        [commands / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        **{"capture_output": True, "text": True, "check": True},
    ).stdout.strip()
    Path(place, "others.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", commands / "python", "install", "--quiet", "--no-deps", wheel],
        check=True,
    )
    return commands


def run(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """The finished command ``fico ...`` in a folder."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(installed / "fico"), *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_wheel_holds_notebooks_profiles_and_data(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder, pattern in (
        ("notebooks", "**/*.ipynb"),
        ("notebooks", "*.md"),
        ("configs", "*.yaml"),
        (".", "constraints.txt"),
    ):
        assert {
            f"fico_utils/_project/{p.relative_to(PROJECT).as_posix()}" for p in (PROJECT / folder).glob(pattern)
        } <= names
    package = PROJECT / "fico_utils"
    files = {f"fico_utils/{p.relative_to(package).as_posix()}" for p in package.rglob("*.*") if p.is_file()}
    assert {name for name in files if "__pycache__" not in name} <= names


def test_check_and_evaluate_away_from_a_checkout(installed: Path, tmp_path: Path) -> None:
    done = run(installed, tmp_path, "check")
    assert done.returncode == 0, done.stderr
    assert f"results folder {tmp_path / 'results/mini'} can be written" in done.stdout
    rng = np.random.default_rng(0)
    for name, n in (("images", 20), ("texts", 100)):
        np.save(tmp_path / f"{name}.npy", rng.normal(size=(n, 8)))
    done = run(installed, tmp_path, "evaluate", "--images", "images.npy", "--texts", "texts.npy")
    assert done.returncode == 0, done.stderr
    assert "recall" in done.stdout


def test_run_without_init_says_what_to_do(installed: Path, tmp_path: Path) -> None:
    done = run(installed, tmp_path, "run")
    assert done.returncode == 2
    assert "make a folder to work in with: fico init FOLDER" in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_init_gives_a_folder_in_which_a_notebook_runs(installed: Path, tmp_path: Path) -> None:
    done = run(installed, tmp_path, "init", "work")
    assert done.returncode == 0, done.stderr
    for folder, pattern in (("notebooks", "*.ipynb"), ("notebooks/exercises", "*.ipynb"), ("configs", "*.yaml")):
        written = {p.name for p in (tmp_path / "work" / folder).iterdir() if p.is_file()}
        assert written == {p.name for p in (PROJECT / folder).glob(pattern)} | LECTURER.get(folder, set())
    exercises = tmp_path / "work/notebooks/exercises"
    before = {path.name: path.read_bytes() for path in exercises.iterdir()}
    assert run(installed, tmp_path / "work", "exercises").returncode == 0
    assert {path.name: path.read_bytes() for path in exercises.iterdir()} == before
    assert run(installed, tmp_path, "init", "work").returncode == 0  # the same again changes nothing
    (tmp_path / "work/configs/mini.yaml").write_text("profile: mini\n", encoding="utf-8")
    done = run(installed, tmp_path, "init", "work")
    assert (done.returncode, "is there already and differs" in done.stderr) == (2, True)
    shutil.rmtree(tmp_path / "work")
    run(installed, tmp_path, "init", "work")
    done = run(installed, tmp_path / "work", "run", "--only", "00")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "work/results/mini/runs/00_start_here/manifest.json").is_file()
    assert (tmp_path / "work/results/mini/report/index.html").is_file()
