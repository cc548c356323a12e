"""When a command may start an agent: not again at once, whatever the clock says."""

import os
import time
from pathlib import Path

import pytest

from walpy.agent import start
from walpy.agent.start import LOCK_EXTENSION, RETRY_SECONDS


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "walpy-agents" / "socket")


def test_one_start_at_a_time(path: str) -> None:
    assert start._prepare(path)
    assert not start._prepare(path)
    assert not start._prepare(path)


@pytest.mark.parametrize("jump", [-2 * RETRY_SECONDS, -1e8, 2 * RETRY_SECONDS, 1e8])
def test_a_clock_that_jumped_delays_no_start(jump: float, path: str) -> None:
    """The last start lies in the past, or in the future when the clock was set back; both are long ago."""
    assert start._prepare(path)
    moment = time.time() + jump
    os.utime(path + LOCK_EXTENSION, (moment, moment))
    assert start._prepare(path)
    assert not start._prepare(path)


def test_a_directory_that_others_may_enter_is_refused(path: str) -> None:
    folder = Path(path).parent
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    with pytest.raises(PermissionError, match="is open to others"):
        start._prepare(path)


def test_a_path_that_no_socket_takes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="too long for a socket"):
        start._prepare(str(tmp_path / ("x" * 100) / "socket"))
