"""Progress: one line on a terminal, nothing anywhere else."""

import io

import pytest

from concordet import progress
from concordet.cli import common
from concordet.progress import Progress, clock


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def time(monkeypatch):
    """A clock that the test moves."""

    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    moving = Clock()
    monkeypatch.setattr(progress, "time", moving)
    return moving


def test_a_file_or_pipe_gets_nothing():
    stream = io.StringIO()
    with Progress("SIRT", 10, stream=stream) as line:
        for done in range(11):
            line.update(done)
    assert stream.getvalue() == ""


def test_quiet_is_quiet_on_a_terminal_too():
    stream = Terminal()
    with Progress("SIRT", 10, quiet=True, stream=stream) as line:
        line.update(10)
    assert stream.getvalue() == ""


def test_rate_and_time_left(time):
    stream = Terminal()
    with Progress("SIRT", 100, stream=stream) as line:
        time.now += 10
        line.update(25)
        assert "SIRT" in stream.getvalue() and "25/100" in stream.getvalue()
        assert "2.5/s" in stream.getvalue() and "0:30 left" in stream.getvalue()
        time.now += 190
        line.update(50)
        assert "4.0 s each" in stream.getvalue() and "3:20 left" in stream.getvalue()
    assert stream.getvalue().endswith("\r\x1b[K")  # the line is taken away at the end


def test_lines_come_no_faster_than_can_be_read_but_the_last_always(time):
    stream = Terminal()
    line = Progress("x", 1000, stream=stream)
    for done in range(1, 1000):
        time.now += 0.001
        line.update(done)
    assert stream.getvalue().count("\r") < 12
    line.update(1000)
    assert "1000/1000" in stream.getvalue()


def test_no_steps_at_all_is_no_division_by_zero():
    with Progress("x", 0, stream=Terminal()) as line:
        line.update(0)


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.4, "0:59"), (60, "1:00"), (3725, "1:02:05")])
def test_clock(seconds, text):
    assert clock(seconds) == text


def test_one_stage_after_another_each_has_its_line(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)

    class Flags:
        quiet = False

    lines = common.ProgressLines(Flags())
    for label in ("reading views", "SIRT"):
        for done in (1, 2):
            lines(label, done, 2)
    lines.close()
    lines.close()
    shown = stream.getvalue()
    assert shown.index("reading views") < shown.index("SIRT")
    assert shown.endswith("\r\x1b[K")
