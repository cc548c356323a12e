"""How a long command tells what it has done: the protocol, and the silent one."""

from typing import Protocol


class Progress(Protocol):
    """Counts bytes of one long command; safe to call from any thread of the process that owns it."""

    def start(self, total: int | None, label: str) -> None:
        """Begin to count towards total bytes (None: unknown)."""
        ...

    def advance(self, count: int) -> None:
        """Count bytes of the source (push) or of the target (fetch)."""
        ...

    def finish(self) -> None:
        """End the line; call it also after a failure."""
        ...


class SilentProgress:
    """Shows nothing."""

    def start(self, total: int | None, label: str) -> None:
        """Ignore it."""

    def advance(self, count: int) -> None:
        """Ignore it."""

    def finish(self) -> None:
        """Ignore it."""
