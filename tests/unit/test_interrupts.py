"""Signals become Interrupted in the main thread: at once, or at the end of a step that must stay whole."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

START = """
import os, signal, time
from walpy import interrupts
from walpy.errors import Interrupted
interrupts.catch(lambda number: 128 + number)
try:
"""
END = """
except Interrupted as error:
    print(error.signal_number, error)
"""


def output_of(body: str) -> list[str]:
    """Lines that a program prints; body: statements, where one may be interrupted."""
    lines = [f"    {line}" for line in body.strip().splitlines()]
    program = START + "\n".join(lines) + END
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stderr == ""
    return result.stdout.splitlines()


def test_a_signal_interrupts_at_once() -> None:
    assert output_of("os.kill(os.getpid(), signal.SIGTERM)\nprint('not reached')") == ["15 interrupted by SIGTERM"]


def test_only_the_first_signal_counts() -> None:
    body = """
try:
    os.kill(os.getpid(), signal.SIGINT)
finally:
    os.kill(os.getpid(), signal.SIGTERM)
    print("cleaned up")
"""
    assert output_of(body) == ["cleaned up", "2 interrupted by SIGINT"]


def test_a_deferred_signal_interrupts_at_the_end_of_the_outermost_block() -> None:
    body = """
with interrupts.deferred():
    with interrupts.deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        print("inner")
    print("outer")
print("not reached")
"""
    assert output_of(body) == ["inner", "outer", "15 interrupted by SIGTERM"]


def test_a_deferred_signal_goes_before_an_error_of_the_block() -> None:
    body = """
with interrupts.deferred():
    os.kill(os.getpid(), signal.SIGTERM)
    raise ValueError
"""
    assert output_of(body) == ["15 interrupted by SIGTERM"]


def test_without_a_signal_nothing_is_raised() -> None:
    assert output_of("with interrupts.deferred():\n    print('whole')\nprint('after')") == ["whole", "after"]


def test_a_signal_in_a_step_that_commits_is_forgotten_with_all_later_ones() -> None:
    body = """
with interrupts.committing():
    os.kill(os.getpid(), signal.SIGTERM)
    print("whole")
os.kill(os.getpid(), signal.SIGINT)
time.sleep(interrupts.GRACE_SECONDS + 0.5)
print("reported")
"""
    assert output_of(body) == ["whole", "reported"]


def test_a_signal_after_a_step_that_committed_is_not_heard() -> None:
    body = """
with interrupts.committing():
    print("whole")
os.kill(os.getpid(), signal.SIGTERM)
print("reported")
"""
    assert output_of(body) == ["whole", "reported"]


def test_a_signal_in_a_step_that_failed_to_commit_interrupts() -> None:
    body = """
with interrupts.committing():
    os.kill(os.getpid(), signal.SIGTERM)
    raise ValueError
"""
    assert output_of(body) == ["15 interrupted by SIGTERM"]


def test_a_step_that_fails_to_commit_leaves_signals_as_they_were() -> None:
    body = """
try:
    with interrupts.committing():
        raise ValueError
except ValueError:
    os.kill(os.getpid(), signal.SIGTERM)
"""
    assert output_of(body) == ["15 interrupted by SIGTERM"]
