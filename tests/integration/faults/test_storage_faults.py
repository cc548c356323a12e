"""A storage that fails, as the five commands show it: one clear error within the deadline, and nothing partial."""

from pathlib import Path

import pytest

from tests.fixtures.cluster import Cluster
from tests.fixtures.fault_proxy import FaultProxy, Trouble
from tests.fixtures.s3_server import S3Server
from tests.fixtures.s3_server import settings as s3_settings
from tests.integration.faults.commands import Ended, s3_environment
from tests.integration.faults.scene import COMMANDS, READING, Scene

DEADLINE = 1.0  # seconds, as s3_environment sets it
MARGIN = 2.5  # seconds for everything else: the machine may be busy
START_UP = 6.0  # seconds, with the SDK, on a busy machine
CODES = {"wal-fetch": 200}  # in a recovery; all other commands: 1

# What the error says about the cause.
CAUSES = {
    Trouble.REFUSES: "cannot be reached",
    Trouble.SILENT: "no answer in time",
    Trouble.UNAVAILABLE: "slow down",
    Trouble.DENIES: "access denied",
    Trouble.FULL: "no space left, or a quota is used up",
    Trouble.CUTS: "",  # in the middle of what: the words differ
}


@pytest.fixture
def scene(s3: S3Server, proxy: FaultProxy, bucket: str, server: Cluster, tmp_path: Path) -> Scene:
    """Commands that talk to the proxy."""
    return Scene(tmp_path, s3_environment(proxy.url, bucket), s3_settings(s3.url, bucket), server).prepare()


def check_failure(ended: Ended, command: str, trouble: Trouble, bucket: str) -> None:
    """Code, words and silence on stdout."""
    assert ended.code == CODES.get(command, 1), ended.log
    assert ended.output == ""
    assert f"s3://{bucket}/" in ended.error
    assert CAUSES[trouble] in ended.error
    assert ended.error.rstrip().endswith("."), "no hint"
    assert "AKIA" not in ended.log


def check_nothing_changed(scene: Scene, before: dict[str, int], command: str) -> None:
    """Nothing partial is to be seen, anywhere, and the same command succeeds now."""
    assert scene.objects() == before
    assert list((scene.data / "pg_wal").glob("*RECOVERYXLOG*")) == []
    assert not scene.destination.exists()
    if command == "backup-push":
        assert scene.backup_sessions() == 0
    again = scene.start(command).end()
    assert again.code == 0, again.log


@pytest.mark.parametrize(
    ("command", "trouble"),
    [
        pytest.param(command, trouble, id=f"{command}-{trouble.name.lower()}")
        for command in COMMANDS
        for trouble in CAUSES
        if trouble is not Trouble.FULL or command not in READING
    ],
)
def test_a_storage_that_fails_from_the_start(
    command: str, trouble: Trouble, scene: Scene, proxy: FaultProxy, bucket: str
) -> None:
    before = scene.objects()
    proxy.misbehave(trouble)
    run = scene.start(command)
    ended = run.end()
    check_failure(ended, command, trouble, bucket)
    allowed = DEADLINE + (START_UP if trouble is Trouble.REFUSES else MARGIN)
    assert run.began + ended.seconds - max(proxy.troubled_at, run.began) < allowed, ended.log
    assert run.left_in_temporary() == []
    run.wait_for_children_to_go()
    proxy.heal()
    check_nothing_changed(scene, before, command)
