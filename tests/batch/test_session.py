"""What a run shows: a bar in a terminal, lines elsewhere, problems always."""

from __future__ import annotations

import io
import sys

import pytest

from fico_utils.batch.notebook import Execution
from fico_utils.batch.pipeline import STEPS
from fico_utils.batch.session import Progress


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def play(progress: Progress) -> None:
    """One step that fails."""
    execution = Execution()
    execution.heading = "4.2 Measures"
    progress.show([(STEPS[4], execution)])
    progress.end_step(STEPS[4], "failed after 2 s", "step 04 failed")
    progress.bar.close()


def test_terminal_shows_step_and_heading(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    play(Progress(1, quiet=False))
    assert "04_evaluation · 4.2 Measures" in screen.getvalue()
    assert "1/1" in screen.getvalue()
    assert "step 04 failed" in screen.getvalue()
    assert capsys.readouterr().out == "[1/1] 04_evaluation: failed after 2 s\n"


@pytest.mark.parametrize("quiet", [False, True])
def test_plain_lines_elsewhere(quiet: bool, capsys: pytest.CaptureFixture) -> None:
    play(Progress(1, quiet))
    said = capsys.readouterr()
    assert said.err == "step 04 failed\n"
    assert said.out == ("" if quiet else "[1/1] 04_evaluation: failed after 2 s\n")
