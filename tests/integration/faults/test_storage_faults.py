"""A storage that fails, as the five commands show it: one clear error within the deadline, and nothing partial.

The commands of a test run at the same time, each behind a proxy of its own.
"""

import pytest

from tests.fixtures.fault_proxy import Trouble
from tests.integration.faults.commands import Ended
from tests.integration.faults.scene import COMMANDS, NEW, WRITING
from tests.integration.faults.stage import Stage
from tests.unit.wal.synthetic import FIRST

DEADLINE = 1.0  # seconds, as s3_environment sets it
LONGEST = 40.0  # seconds of a whole run on a busy machine: the deadline's default would be 300
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

by_trouble = pytest.mark.parametrize("trouble", CAUSES, ids=lambda trouble: trouble.name.lower())


def check_failure(command: str, ended: Ended, trouble: Trouble, bucket: str) -> None:
    """Code, words and silence on stdout."""
    assert ended.code == CODES.get(command, 1), ended.log
    assert ended.output == ""
    assert f"s3://{bucket}/" in ended.error
    assert CAUSES[trouble] in ended.error
    assert ended.error.endswith("."), f"no hint: {ended.error}"
    assert "AKIA" not in ended.log
    assert ended.tried_seconds < 2 * DEADLINE, ended.log  # the last attempt may begin just before it
    assert ended.seconds < LONGEST, ended.log


def check_next_runs(stage: Stage) -> None:
    """What had to store something succeeds now."""
    stage.start(WRITING)
    for command, ended in stage.end(WRITING).items():
        assert ended.code == 0, f"{command}: {ended.log}"
        assert stage.runs[command].left_in_temporary() == []


@by_trouble
def test_a_storage_that_fails_from_the_start(trouble: Trouble, stage: Stage) -> None:
    commands = WRITING if trouble is Trouble.FULL else COMMANDS
    before = stage.scene.objects()
    stage.misbehave(trouble)
    stage.start(commands)
    for command, ended in stage.end(commands).items():
        check_failure(command, ended, trouble, stage.bucket)
    stage.heal()
    assert stage.scene.objects() == before
    stage.check_nothing_is_left(before, commands)
    check_next_runs(stage)


@by_trouble
def test_a_storage_that_fails_in_the_middle(trouble: Trouble, stage: Stage) -> None:
    commands = WRITING if trouble is Trouble.FULL else COMMANDS
    before = stage.scene.objects()
    stage.misbehave_in_the_middle(trouble)
    stage.start(commands)
    for command, ended in stage.end(commands).items():
        assert stage.proxies[command].troubled.is_set(), f"{command}: {ended.log}"
        check_failure(command, ended, trouble, stage.bucket)
    stage.heal()
    stage.check_nothing_is_left(before, commands)
    check_next_runs(stage)


@pytest.mark.parametrize("trouble", [Trouble.REFUSES, Trouble.SILENT, Trouble.CUTS], ids=lambda item: item.name.lower())
def test_trouble_that_passes_is_sat_out(trouble: Trouble, stage: Stage) -> None:
    stage.misbehave_in_the_middle(trouble)
    stage.start(COMMANDS, WALPY_STORAGE_DEADLINE="30s")
    for command in COMMANDS:
        assert stage.proxies[command].troubled.wait(30), command
    stage.heal()
    for command, ended in stage.end(COMMANDS).items():
        assert ended.code == 0, f"{command}: {ended.log}"
    assert (stage.scene.data / "pg_wal/RECOVERYXLOG").read_bytes() == stage.scene.segment(FIRST)
    assert (stage.scene.destination / "global/pg_control").exists()
    assert f"wal_005/{NEW}.lz4" in stage.scene.objects()
    assert len([name for name in stage.scene.objects() if name.endswith("_backup_stop_sentinel.json")]) == 2


@pytest.mark.parametrize("trouble", [Trouble.UNAVAILABLE, Trouble.DENIES], ids=lambda trouble: trouble.name.lower())
@pytest.mark.parametrize(("place", "code"), [("recovery", 200), ("standby", 1), ("elsewhere", 1)])
def test_a_fetch_s_code_tells_recovery_what_to_do(place: str, code: int, trouble: Trouble, stage: Stage) -> None:
    """Only a recovery must take no failure for the end of the archive: a standby would stop at what is passing."""
    if place == "standby":
        (stage.scene.data / "standby.signal").touch()
    destination = str(stage.scene.folder / "segment") if place == "elsewhere" else "pg_wal/RECOVERYXLOG"
    stage.misbehave(trouble)
    ended = stage.scene.run(["wal-fetch", FIRST, destination], AWS_ENDPOINT=stage.proxies["wal-fetch"].url)
    assert ended.code == code, ended.log
    assert f"{FIRST}.lz4" in ended.error


# A missing segment is asked for directly, and then looked for under the names of other codecs, by a listing.
@pytest.mark.parametrize("trouble", [None, Trouble.DENIES, Trouble.CUTS, Trouble.UNAVAILABLE], ids=str)
def test_absence_is_proven_or_not_claimed(trouble: Trouble | None, stage: Stage) -> None:
    proxy = stage.proxies["wal-fetch"]
    if trouble is not None:
        proxy.misbehave(trouble, part="list-type")
    ended = stage.scene.run(["wal-fetch", NEW, "pg_wal/RECOVERYXLOG"], AWS_ENDPOINT=proxy.url)
    assert ended.code == (74 if trouble is None else 200), ended.log
    assert (ended.error == f"Archive '{NEW}' does not exist.") == (trouble is None)


def test_a_missing_bucket_proves_nothing(stage: Stage) -> None:
    for command in COMMANDS:
        ended = stage.scene.start(command, AWS_ENDPOINT=stage.url, WALG_S3_PREFIX="s3://no-such-bucket/x").end()
        assert ended.code == CODES.get(command, 1), ended.log
        assert "no-such-bucket" in ended.error
        assert "the bucket does not exist" in ended.error
