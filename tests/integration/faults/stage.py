"""One archive on a server, and a proxy for each of the five commands, so that they can run at the same time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from tests.fixtures.fault_proxy import FaultProxy, Trouble
from tests.integration.faults.commands import Ended, Run
from tests.integration.faults.scene import NEW, Scene
from tests.unit.wal.synthetic import FIRST

MIB = 1 << 20

# The middle of a command's transfer: part of the path, and bytes that pass.
MIDDLES = {
    "wal-push": (NEW, 7 * MIB),
    "wal-fetch": (f"{FIRST}.lz4", 5 * MIB),
    "backup-push": ("tar_partitions/part_001", 2 * MIB),
    "backup-fetch": ("tar_partitions/part_001", 100),
    "backup-list": ("list-type", 200),
}


@dataclass
class Stage:
    """scene: its settings lack the endpoint, which is each command's proxy."""

    scene: Scene
    bucket: str
    proxies: Mapping[str, FaultProxy]
    url: str  # the server behind the proxies
    runs: dict[str, Run] = field(default_factory=dict)

    def misbehave(self, trouble: Trouble) -> None:
        """Begin trouble for all commands."""
        for proxy in self.proxies.values():
            proxy.misbehave(trouble)

    def misbehave_in_the_middle(self, trouble: Trouble) -> None:
        """Begin trouble for each command in the middle of its transfer."""
        for command, proxy in self.proxies.items():
            part, size = MIDDLES[command]
            proxy.misbehave(trouble, after_bytes=size, part=part)

    def heal(self) -> None:
        """End all trouble."""
        for proxy in self.proxies.values():
            proxy.heal()

    def start(self, commands: Sequence[str], **settings: str) -> None:
        """Start commands, each behind its proxy and with its own folder for temporary files."""
        for command in commands:
            scene = replace(self.scene, temporary=command)
            self.runs[command] = scene.start(command, **self._endpoint(self.proxies[command].url), **settings)

    def _endpoint(self, url: str) -> dict[str, str]:
        return {"AWS_ENDPOINT" if self.scene.direct.storage_kind() == "S3" else "STORAGE_EMULATOR_HOST": url}

    def end(self, commands: Sequence[str]) -> dict[str, Ended]:
        """Wait for their ends."""
        return {command: self.runs[command].end() for command in commands}

    def check_nothing_is_left(self, before: Mapping[str, int], commands: Sequence[str]) -> None:
        """No process, no temporary file, no visible object that was not there before, no backup in the server.

        Parts of a backup may be left: without a sentinel nobody sees them.
        """
        for command in commands:
            self.runs[command].wait_for_children_to_go()
            assert self.runs[command].left_in_temporary() == []
        parts = "/tar_partitions/"
        shown = {name: size for name, size in self.scene.objects().items() if parts not in name}
        assert shown == {name: size for name, size in before.items() if parts not in name}
        assert list((self.scene.data / "pg_wal").glob("*RECOVERYXLOG*")) == []
        assert not (self.scene.destination / "global/pg_control").exists()
        self.scene.check_no_backup_runs()

    def abandon(self) -> None:
        """Kill what still runs."""
        for run in self.runs.values():
            run.abandon()
