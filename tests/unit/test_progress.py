"""What people see of a long command."""

import io
import logging
import os
import re
import struct
import termios
import threading
from contextlib import suppress
from fcntl import ioctl

import pytest

from walpy.progress_bar import PeriodicProgress, clock_text, log_progress, size_text, terminal_progress


class Clock:
    """Time that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Shown:
    """Collects what was shown; tells when something was."""

    def __init__(self) -> None:
        self.texts: list[tuple[str, bool]] = []
        self.changed = threading.Event()

    def __call__(self, text: str, final: bool) -> None:
        self.texts.append((text, final))
        self.changed.set()


NEVER = 1e6  # seconds


def test_percent_rate_and_time_left() -> None:
    clock = Clock()
    progress = PeriodicProgress(Shown(), NEVER, clock)
    progress.start(100 << 20, "backup")
    clock.now += 2
    progress.advance(20 << 20)
    assert progress.text() == "backup: 20% (20.0 MiB of 100 MiB), 10.0 MiB/s, 0:08 left"
    progress.finish()


def test_rate_is_that_of_the_last_seconds() -> None:
    clock = Clock()
    progress = PeriodicProgress(Shown(), NEVER, clock)
    progress.start(1000 << 20, "backup")
    for _ in range(30):
        clock.now += 1
        progress.advance(10 << 20)
        progress.text()
    for _ in range(16):
        clock.now += 1
        stalled = progress.text()
    assert stalled == "backup: 30% (300 MiB of 0.98 GiB), 0 B/s"
    progress.finish()


def test_the_end_tells_the_mean_rate() -> None:
    clock, shown = Clock(), Shown()
    progress = PeriodicProgress(shown, NEVER, clock)
    progress.start(None, "fetch")
    progress.advance(30 << 20)
    clock.now += 60
    progress.finish()
    progress.finish()
    assert shown.texts == [("fetch: 30.0 MiB, 512 KiB/s, 1:00 in all", True)]


def test_start_ends_what_was_counted_before() -> None:
    shown = Shown()
    progress = PeriodicProgress(shown, NEVER, Clock())
    progress.start(10, "one")
    progress.advance(10)
    progress.start(0, "two")
    progress.finish()
    assert [text for text, _ in shown.texts] == [
        "one: 100% (10 B of 10 B), 0 B/s, 0:00 in all",
        "two: 100% (0 B of 0 B), 0 B/s, 0:00 in all",
    ]


def test_finish_without_start_shows_nothing() -> None:
    shown = Shown()
    PeriodicProgress(shown, NEVER).finish()
    assert shown.texts == []


def test_shown_again_and_again_while_nothing_moves() -> None:
    shown = Shown()
    progress = PeriodicProgress(shown, 0.001)
    progress.start(10, "x")
    for _ in range(3):
        assert shown.changed.wait(10)
        shown.changed.clear()
    progress.finish()
    assert not any(final for _, final in shown.texts[:-1])


def test_counts_of_many_threads_add_up() -> None:
    progress = PeriodicProgress(Shown(), NEVER, Clock())
    progress.start(None, "x")
    threads = [threading.Thread(target=lambda: [progress.advance(1) for _ in range(1000)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert progress.text().startswith(f"x: {size_text(8000)}")
    progress.finish()


def test_terminal_line_fits_its_width_at_each_redraw() -> None:
    controller, terminal = os.openpty()
    with os.fdopen(terminal, "w") as stream:
        for columns in (20, 60):
            ioctl(stream.fileno(), termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
            progress = terminal_progress(stream)
            progress.start(1000, "a rather long label")
            progress.finish()
            drawn = ""
            while not drawn.endswith("\r\n"):  # a terminal hands over in pieces what was written in one
                drawn += os.read(controller, 4096).decode()
            for line in drawn.removesuffix("\r\n").split("\r\x1b[K"):
                assert len(line) <= columns - 1
            assert "a rather long label"[: columns - 1] in drawn
    os.close(controller)


def test_a_terminal_that_goes_away_does_not_stop_the_work() -> None:
    controller, terminal = os.openpty()
    os.close(controller)
    stream = os.fdopen(terminal, "w")
    progress = terminal_progress(stream)
    progress.start(10, "x")
    progress.finish()
    with suppress(OSError):  # what could not be written
        stream.close()


def test_no_terminal() -> None:
    stream = io.StringIO()
    progress = terminal_progress(stream)
    progress.start(10, "x")
    progress.finish()
    assert stream.getvalue().endswith("in all\n")


def test_log_lines_now_and_then(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    logged = threading.Event()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logged.set()

    monkeypatch.setattr("walpy.progress_bar.LOG_SECONDS", 0.001)
    handler = Handler()
    logging.getLogger("walpy").addHandler(handler)
    with caplog.at_level(logging.INFO, "walpy"):
        progress = log_progress()
        progress.start(900, "backup")
        progress.advance(500)
        assert logged.wait(10)
        progress.finish()
    logging.getLogger("walpy").removeHandler(handler)
    assert re.fullmatch(r"backup: \d+% \(\d+ B of 900 B\), .*", caplog.messages[-1])
    assert "in all" not in caplog.text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "0.98 KiB"),
        (1310720, "1.25 MiB"),
        (310 << 20, "310 MiB"),
        (5 << 50, "5120 TiB"),
    ],
)
def test_sizes(size: int, text: str) -> None:
    assert size_text(size) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (5, "0:05"), (754, "12:34"), (12345, "3:25:45")])
def test_times(seconds: float, text: str) -> None:
    assert clock_text(seconds) == text
