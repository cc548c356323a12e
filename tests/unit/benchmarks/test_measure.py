import os
import sys
from pathlib import Path

import pytest

from benchmarks.measure import CommandFailed, peak_memory, run, take
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
