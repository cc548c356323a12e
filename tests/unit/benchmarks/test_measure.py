import os
import sys
from pathlib import Path

import pytest

from benchmarks import measure
from benchmarks.machine import TICK_SECONDS
from benchmarks.measure import CommandFailed, Patience, peak_memory, run, take
from benchmarks.model import Command
from benchmarks.services import Services


def python(code: str, directory: Path) -> Command:
    return Command((sys.executable, "-c", code), {"PATH": os.environ["PATH"]}, directory)


def test_output_is_what_both_streams_got(tmp_path: Path) -> None:
    assert run(python("import sys; print(1, flush=True); print(2, file=sys.stderr)", tmp_path)) == "1\n2\n"


def test_a_failure_tells_what_the_command_said(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match=r"exit 3\nreason"):
        run(python("print('reason'); raise SystemExit(3)", tmp_path))


def test_cpu_time_of_a_grandchild_counts(tmp_path: Path) -> None:
    spin = "import time\nwhile time.process_time() < 0.2: pass"
    outer = f"import subprocess, sys; subprocess.check_call([sys.executable, '-c', {spin!r}])"
    sample = take(lambda: print(run(python(outer, tmp_path))), Services(), None)
    assert sample.cpu >= 0.2
    assert sample.servers == 0


def test_memory_of_a_child_is_seen(tmp_path: Path) -> None:
    with peak_memory(Services()) as peak:
        run(python("import time; held = b'x' * (60 << 20); time.sleep(0.5)", tmp_path))
    assert peak[0] >= 60 << 20


class Machine:
    """A machine that uses so many CPU seconds in each window, by ticks; no time passes."""

    def __init__(self, *windows: float) -> None:
        self.used = 0.0
        self.windows = list(windows)

    def stat(self, _path: str) -> str:
        return f"cpu {round(self.used / TICK_SECONDS)} 0 0 0 0 0 0 0 0 0\n"

    def sleep(self, _seconds: float) -> None:
        self.used += self.windows.pop(0)


@pytest.mark.parametrize(("windows", "left"), [((0.0,), 5), ((0.2, 0.4, 0.0), 3), ((0.4,) * 5, 0)])
def test_patience_lasts_until_the_machine_is_quiet(
    windows: tuple[float, ...], left: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(*windows)
    monkeypatch.setattr(measure, "text", machine.stat)
    monkeypatch.setattr(measure.time, "sleep", machine.sleep)
    patience = Patience(5)
    patience.wait()
    assert patience.windows == left
    assert machine.windows == []
