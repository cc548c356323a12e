"""What systemd is told, and that nobody has to listen."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from walpy.agent import notify
from walpy.agent.notify import Notifier


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """Where states are sent to; nobody reads them."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(tmp_path / "notify"))
        yield made


def test_states_that_nobody_reads_hold_nothing_up(manager: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "SEND_SECONDS", 0.01)
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname()})
    notifier.ready()
    most = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text()) + 10
    for _ in range(most):
        notifier.alive()
    notifier.stopping()
    manager.setblocking(False)
    states = []
    with contextlib.suppress(BlockingIOError):
        while True:
            states.append(manager.recv(100))
    assert states[:2] == [b"READY=1", b"WATCHDOG=1"]
    assert len(states) < most, "the rest was given up"


def test_no_manager_is_told_nothing(tmp_path: Path) -> None:
    Notifier({}).ready()
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "nowhere")}).ready()
