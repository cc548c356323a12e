"""The same troubles on Google Cloud Storage: other SDK, other words, same promises."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.fixtures import gcs_server
from tests.fixtures.cluster import Cluster
from tests.fixtures.fault_proxy import FaultProxy, Trouble
from tests.fixtures.gcs_server import GcsServer
from tests.integration.faults.commands import DEADLINES, Ended, environment_of
from tests.integration.faults.scene import COMMANDS, NEW, Scene
from tests.integration.faults.stage import MIDDLES, Stage
from tests.unit.wal.synthetic import FIRST

CODES = {"wal-fetch": 200}
DEADLINE = 1.0  # seconds
LONGEST = 40.0  # seconds of a whole run on a busy machine: the deadline's default would be 300
TROUBLES = (Trouble.REFUSES, Trouble.SILENT, Trouble.UNAVAILABLE, Trouble.DENIES, Trouble.CUTS)

by_trouble = pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.name.lower())


@pytest.fixture
def stage(server: Cluster, tmp_path: Path) -> Iterator[Stage]:
    """An archive in Google Cloud Storage, and commands that talk to it through proxies."""
    with ExitStack() as stack:
        gcs = stack.enter_context(GcsServer())
        proxies = {command: stack.enter_context(FaultProxy(gcs.url)) for command in COMMANDS}
        settings = environment_of(gcs_server.settings("", **dict.fromkeys(DEADLINES, f"{DEADLINE}s")))
        scene = Scene(tmp_path, settings, gcs_server.settings(gcs.url), server).prepare()
        stage = Stage(scene, gcs_server.BUCKET, proxies, gcs.url)
        stack.callback(stage.abandon)
        yield stage


def check_failures(stage: Stage, ends: dict[str, Ended]) -> None:
    for command, ended in ends.items():
        assert ended.code == CODES.get(command, 1), ended.log
        assert ended.output == ""
        assert "gs://bucket/" in ended.error
        assert ended.error.endswith("."), f"no hint: {ended.error}"
        assert ended.tried_seconds < 2 * DEADLINE, ended.log
        assert ended.seconds < LONGEST, ended.log


@by_trouble
def test_a_storage_that_fails_from_the_start(trouble: Trouble, stage: Stage) -> None:
    before = stage.scene.objects()
    stage.misbehave(trouble)
    stage.start(COMMANDS)
    check_failures(stage, stage.end(COMMANDS))
    stage.heal()
    assert stage.scene.objects() == before
    stage.check_nothing_is_left(before, COMMANDS)


@pytest.mark.parametrize(
    "trouble", [Trouble.SILENT, Trouble.CUTS, Trouble.UNAVAILABLE], ids=lambda item: item.name.lower()
)
def test_a_storage_that_fails_in_the_middle(trouble: Trouble, stage: Stage) -> None:
    commands = ("wal-push", "wal-fetch", "backup-push")
    before = stage.scene.objects()
    for command, part in {"wal-push": NEW, "wal-fetch": FIRST, "backup-push": "part_001"}.items():
        stage.proxies[command].misbehave(trouble, after_bytes=MIDDLES[command][1], part=part)
    stage.start(commands)
    check_failures(stage, stage.end(commands))
    stage.heal()
    stage.check_nothing_is_left(before, commands)
    stage.start(commands)
    for command, ended in stage.end(commands).items():
        assert ended.code == 0, f"{command}: {ended.log}"
