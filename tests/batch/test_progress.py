"""What a run shows: a bar in a terminal, lines elsewhere, problems always."""

from __future__ import annotations

import io
import sys

import pytest

from fico_utils.batch.notebook import Execution
from fico_utils.batch.pipeline import STEPS
from fico_utils.batch.runner import end_step, show_running
from fico_utils.progress import show_progress


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def play(quiet: bool) -> None:
    """One step that fails."""
    execution = Execution()
    execution.heading = "4.2 Measures"
    with show_progress(total=1, shown=not quiet, leave=False) as bar:
        show_running(bar, [(STEPS[4], execution)])
        end_step(bar, STEPS[4], "failed after 2 s", "step 04 failed")


def test_terminal_shows_step_and_heading(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    play(quiet=False)
    assert "04_evaluation · 4.2 Measures" in screen.getvalue()
    assert "1/1" in screen.getvalue()
    assert "step 04 failed" in screen.getvalue()
    assert capsys.readouterr().out == "[1/1] 04_evaluation: failed after 2 s\n"


@pytest.mark.parametrize("quiet", [False, True])
def test_plain_lines_elsewhere(quiet: bool, capsys: pytest.CaptureFixture) -> None:
    play(quiet)
    said = capsys.readouterr()
    assert said.err == "step 04 failed\n"
    assert said.out == ("" if quiet else "[1/1] 04_evaluation: failed after 2 s\n")
