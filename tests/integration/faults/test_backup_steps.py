"""backup-push, when its storage dies at each of its requests: a backup is listed only when it is complete."""

import shutil

import pytest

from tests.fixtures.fault_proxy import Trouble
from tests.integration.faults.scene import SMALL_BACKUP
from tests.integration.faults.stage import Stage

SENTINEL = "_backup_stop_sentinel.json"
DEADLINES = {"WALPY_STORAGE_DEADLINE": "0.3s", "WALPY_READ_TIMEOUT": "5s"}
PATIENT = {"WALPY_STORAGE_DEADLINE": "60s", "WALPY_READ_TIMEOUT": "60s", "WALPY_CONNECT_TIMEOUT": "60s"}
CLOSED = {Trouble.REFUSES: "cannot be reached", Trouble.LOSES_ANSWERS: "cannot be reached"}


def sentinels(stage: Stage) -> set[str]:
    """Names of the backups that are listed, but the one that was there before."""
    names = {name for name in stage.scene.objects() if name.endswith(SENTINEL)}
    return names - {f"basebackups_005/{SMALL_BACKUP}{SENTINEL}"}


def request_count(stage: Stage) -> int:
    """How many requests a push makes; the archive knows the cluster already, then."""
    proxy = stage.proxies["backup-push"]
    for _ in range(2):
        proxy.requests.clear()
        stage.start(["backup-push"], **PATIENT)
        assert stage.runs["backup-push"].end().code == 0
    return len(proxy.requests)


def push_with(trouble: Trouble, number: int, stage: Stage, *, part: str = "") -> set[str]:
    """Push while the storage dies at a request; what is left must be nothing, or a whole backup: that is returned.

    part: of the paths of the requests that are counted, and meet the trouble.

    How often a push looks for its WAL is a matter of time, so that the request may never come: then it succeeds.
    """
    before = sentinels(stage)
    proxy = stage.proxies["backup-push"]
    proxy.misbehave(trouble, after_requests=number, part=part)
    stage.start(["backup-push"], **DEADLINES)
    run = stage.runs["backup-push"]
    ended = run.end()
    is_troubled = proxy.troubled.is_set()
    proxy.heal()
    if not is_troubled:
        assert ended.code == 0, f"request {number}: {ended.log}"
        return set()
    assert ended.code == 1, f"request {number}: {ended.log}"
    assert CLOSED[trouble] in ended.error
    run.wait_for_children_to_go()
    assert run.left_in_temporary() == []
    stage.scene.check_no_backup_runs()
    for name in sentinels(stage) - before:
        backup = name.removeprefix("basebackups_005/").removesuffix(SENTINEL)
        fetched = stage.scene.run(["backup-fetch", str(stage.scene.destination), backup], AWS_ENDPOINT=stage.url)
        assert fetched.code == 0, fetched.log
        shutil.rmtree(stage.scene.destination)
    return sentinels(stage) - before


@pytest.mark.slow
def test_a_storage_that_dies_at_each_request(stage: Stage) -> None:
    count = request_count(stage)
    for number in range(count):
        assert push_with(Trouble.REFUSES, number, stage) == set()


def test_a_storage_whose_last_answers_are_lost(stage: Stage) -> None:
    count = request_count(stage)
    for number in range(count - 4, count):
        push_with(Trouble.LOSES_ANSWERS, number, stage)
    # Two look-ups of the sentinel come first; the request that stores it is carried out.
    assert len(push_with(Trouble.LOSES_ANSWERS, 2, stage, part=SENTINEL)) == 1
