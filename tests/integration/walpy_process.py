"""Runs of the walpy under test as processes of their own."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
TIMEOUT_SECONDS = 60


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """A process environment with these settings alone."""
    return {"PATH": os.environ.get("PATH", ""), "HOME": "/nonexistent", "PYTHONPATH": str(PROJECT), **settings}


def walpy(*arguments: str, cwd: Path, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Run walpy to its end."""
    return subprocess.run(
        [sys.executable, "-m", "walpy", *arguments],
        cwd=cwd,
        env=environment(settings),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )


def start_walpy(*arguments: str, cwd: Path, **settings: str) -> "subprocess.Popen[str]":
    """Start walpy and go on."""
    return subprocess.Popen(
        [sys.executable, "-m", "walpy", *arguments],
        cwd=cwd,
        env=environment(settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def messages(stderr: str) -> list[str]:
    """Log lines without their time: `INFO: FILE PATH: x.lz4`."""
    lines = (line.split(" ", 3) for line in stderr.splitlines())
    return [f"{parts[0]} {parts[3]}" for parts in lines]
