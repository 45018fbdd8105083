"""What stderr shows of a run: a bar where it can be redrawn, lines where it cannot."""

from __future__ import annotations

import io

import pytest

from infimm_eval.run import bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(bar.time, "monotonic", lambda: now[0])
    return now


def asked(clock: list[float], count: int, seconds: float, known: bool = False) -> bar.Bar:
    shown = bar.Bar()
    shown.started(1_000)
    shown.asking("VQAv2", 4, 0)
    for _ in range(count):
        clock[0] += seconds
        shown.asked(known)
    shown.closed()
    return shown


def test_a_file_gets_a_line_a_minute_and_no_redrawn_bar(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = io.StringIO()
    monkeypatch.setattr("sys.stderr", file)
    asked(clock, 250, 0.5)
    assert file.getvalue().splitlines() == [
        "VQAv2, 4 shots: 120 of 1,000 samples, 2.0 a second, about 7 min left",
        "VQAv2, 4 shots: 240 of 1,000 samples, 2.0 a second, about 6 min left",
    ]


def test_what_was_answered_before_is_no_rate(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = io.StringIO()
    monkeypatch.setattr("sys.stderr", file)
    asked(clock, 1, 61.0, known=True)
    assert file.getvalue() == "VQAv2, 4 shots: 1 of 1,000 samples\n"


def test_a_terminal_gets_a_bar(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    asked(clock, 3, 61.0)
    assert "\r" in terminal.getvalue() and "VQAv2, 4 shots" in terminal.getvalue()


def test_quiet_says_nothing(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr("sys.stderr", file)
    shown = bar.Bar(quiet=True)
    shown.started(10)
    clock[0] += 600
    shown.asked(known=False)
    shown.closed()
    assert file.getvalue() == ""
