"""The servers that commands talk to, PostgreSQL and the S3 sink: their processes, and the requests they got."""

import http.client
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.sink.server import COUNTS_TARGET, OBJECTS_TARGET, RECEIVED

__all__ = ["RECEIVED", "Services", "SinkProcess", "start_sink"]

PROJECT = Path(__file__).resolve().parents[1]


@dataclass
class SinkProcess:
    """The S3 sink in a process of its own, its objects below a directory."""

    process: "subprocess.Popen[str]"
    port: int

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def counts(self) -> dict[str, int]:
        """Requests so far, by operation, and bytes received."""
        counts: dict[str, int] = json.loads(self.ask("GET", COUNTS_TARGET))
        return counts

    def forget(self, prefix: str) -> None:
        """Remove all objects whose "bucket/key" begins so; not counted."""
        self.ask("DELETE", OBJECTS_TARGET + prefix)

    def put_all(self, objects: Mapping[str, bytes]) -> None:
        """Store objects by "/bucket/key", over one connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        for target, content in objects.items():
            connection.request("PUT", target, content)
            connection.getresponse().read()
        connection.close()

    def ask(self, method: str, target: str, body: bytes = b"") -> bytes:
        """Send one request; the body of the answer."""
        if self.process.poll() is not None:
            raise RuntimeError(f"the S3 sink ended by itself: {self.process.returncode}")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, target, body)
            return connection.getresponse().read()
        finally:
            connection.close()

    def stop(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()


def start_sink(directory: Path, *crowd: str) -> SinkProcess:
    """Start a sink; its port is open when this returns. Raises RuntimeError when it does not start.

    crowd: a folder, and how many segments are listed in it, see sink/crowd.py.
    """
    command = [sys.executable, "-m", "benchmarks.sink", str(directory), "0", *crowd]
    process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    line = process.stdout.readline() if process.stdout else ""
    if not line.strip().isdigit():
        raise RuntimeError("the S3 sink did not start")
    return SinkProcess(process, int(line))


@dataclass
class Services:
    """What runs beside the commands; `pids` are roots of process trees. others: further sinks, by name."""

    pids: set[int] = field(default_factory=set)
    sink: SinkProcess | None = None
    others: dict[str, SinkProcess] = field(default_factory=dict)

    def sinks(self) -> list[SinkProcess]:
        """All sinks."""
        return [*([self.sink] if self.sink else []), *self.others.values()]

    def roots(self) -> set[int]:
        """Roots of all servers' process trees."""
        return self.pids | {sink.process.pid for sink in self.sinks()}

    def requests(self) -> Mapping[str, int]:
        """The sink's counters; none without a sink."""
        return self.sink.counts() if self.sink else {}

    def requests_since(self, before: Mapping[str, int]) -> dict[str, int]:
        """Requests since an earlier reading, by operation, and bytes received."""
        changed = {name: count - before.get(name, 0) for name, count in self.requests().items()}
        return {name: count for name, count in changed.items() if count}
