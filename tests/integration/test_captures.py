"""Every command that was captured of WAL-G 3.0.9: the same output, exit code and objects, or a difference we chose.

A capture is run here, or compared by the test that ELSEWHERE names. Captures that go on where others ended are run in
one scene, in their order (SEQUENCES).
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.fixtures.captures import Scene, captured, cases
from tests.integration.walpy_process import PROJECT, walpy
from walpy.cli import main

CASES = cases()
DIFFERENCES = PROJECT / "docs/differences.md"
F1 = "000000010000000000000016"
LOST = "basebackups_005/base_000000020000000000000021_backup_stop_sentinel.json"


class Different(NamedTuple):
    """What walpy does instead: its exit code, its output; row: words of docs/differences.md that tell why."""

    exit: int
    row: str
    output: str | None = ""


FILES = Different(1, "configuration file that is missing though given, or broken")
OWN_WORDS = Different(0, "`--version`, help, the list of flags", None)
PERMANENT = Different(1, "delete target of a permanent backup")
DIFFERENT = {
    "backup-mark-latest": Different(0, "backup-mark, `LATEST`"),
    "config-bad-codec-list": Different(1, "unknown `WALG_COMPRESSION_METHOD`"),
    "config-broken-file": FILES,
    "config-missing-file": FILES,
    "delete-no-args-dry-run": Different(1, "the exit code of a crash"),
    "delete-target-permanent-confirm": PERMANENT,
    "delete-target-permanent-dry-run": PERMANENT,
    "delete-target-permanent-confirm-then-list": Different(0, "delete target of a permanent backup", None),
    "no-command": OWN_WORDS,
    "delete-bare-dry-run": OWN_WORDS,
    "version": OWN_WORDS,
    "wal-fetch-existing-dest": Different(0, "wal-fetch, destination"),
    "wal-push-different-not-prevented": Different(1, "a WAL object that exists"),
}

ELSEWHERE = {
    "copy-": "tests/unit/backup/test_copy.py::test_wal_gs_cases",
    "daemon-client-bad-command": "tests/integration/agent/test_daemon.py::test_messages_without_sense_are_refused",
    "daemon-client-fetch": "tests/integration/agent/test_daemon.py::test_segments_are_pushed_and_fetched",
    "daemon-client-no": "tests/integration/agent/test_daemon.py::test_messages_without_sense_are_refused",
    "daemon-client-push": "tests/integration/agent/test_daemon.py::test_segments_are_pushed_and_fetched",
    "daemon-client-version": "tests/unit/test_cli.py::test_version",
    "st-cat-bulk-metadata": "tests/unit/wal/test_metadata.py::test_bulk_gathers_until_f",
    "st-": "tests/unit/test_st_cases.py::test_every_case",
}

FIVE = [f"00000005000000000000000{number}" for number in range(1, 6)]
BULK = [f"00000006000000000000000{letter}" for letter in "DEF"]


def _waiting(scene: Scene) -> None:
    for name in [*FIVE, "00000005.history"]:
        scene.add(name, is_ready=True)


def _bulk(scene: Scene) -> None:
    for name in BULK:
        scene.add(name)


def _truncated(scene: Scene) -> None:
    os.truncate(scene.root / f"archive/wal_005/{F1}.lz4", 3000)


def _marked(scene: Scene) -> None:
    name = "base_00000001000000000000001D_D_000000010000000000000019"
    assert main(["backup-mark", name, f"--walg-file-prefix={scene.root / 'archive'}"]) == 0


BEFORE: dict[str, Callable[[Scene], object]] = {
    "backup-list-after-lost-sentinel": lambda scene: (scene.root / "archive" / LOST).unlink(),
    "backup-list-after-mark": _marked,
    "delete-garbage-lost-base-dry-run": lambda scene: (scene.root / "archive" / LOST).unlink(),
    "wal-fetch-truncated": _truncated,
    "wal-push-again": lambda scene: scene.restore(F1),
    "wal-push-again-prevent-different": lambda scene: scene.add(F1, seed=1),
    "wal-push-background": _waiting,
    "wal-push-history-different": lambda scene: scene.add("00000002.history"),
    "wal-push-metadata-bulk-D": _bulk,
    "wal-push-metadata-individual": lambda scene: scene.add("0000000300000000000000A0"),
}

SEQUENCES = (
    ["delete-retain-full-1-confirm", "delete-retain-full-1-confirm-then-list"],
    ["delete-target-delta-confirm", "delete-target-delta-confirm-then-list"],
    ["delete-target-permanent-confirm", "delete-target-permanent-confirm-then-list"],
    [
        "backup-mark-permanent-delta",
        "backup-mark-permanent-again",
        "backup-mark-p-flag",
        "backup-mark-impermanent-refused",
        "backup-mark-impermanent",
        "backup-mark-impermanent-again",
    ],
    ["wal-fetch-ok", "wal-fetch-existing-dest"],
    [
        "wal-push-again",
        "wal-push-again-prevent-same",
        "wal-push-again-prevent-different",
        "wal-push-different-not-prevented",
    ],
    ["wal-push-background", "wal-push-background-next", "wal-push-ready-rename"],
    ["wal-push-metadata-individual", "wal-push-metadata-bad"],
    ["wal-push-metadata-bulk-D", "wal-push-metadata-bulk-E", "wal-push-metadata-bulk-F"],
)


def elsewhere(name: str) -> str:
    """The test that compares a capture; empty: it is run here."""
    return next((test for start, test in ELSEWHERE.items() if name.startswith(start)), "")


def runs() -> list[list[str]]:
    """All captures that are run here, each in its sequence."""
    later = {name for sequence in SEQUENCES for name in sequence}
    return [*SEQUENCES, *([name] for name in CASES if name not in later and not elsewhere(name))]


def test_every_capture_is_matched_or_differs_for_a_reason() -> None:
    here = {name for sequence in runs() for name in sequence}
    assert {name for name in captured() if name not in here} == {name for name in captured() if elsewhere(name)}
    assert here <= set(captured())
    assert set(DIFFERENT) <= here
    for test in ELSEWHERE.values():
        path, _, function = test.partition("::")
        assert f"def {function}" in (PROJECT / path).read_text(), test
    page = DIFFERENCES.read_text()
    assert {item.row for item in DIFFERENT.values() if item.row not in page} == set()


@pytest.mark.parametrize("names", runs(), ids=lambda names: names[0])
def test_captures(
    names: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = Scene.make(tmp_path)
    for name in names:
        prepare(scene, name)
        before = scene.objects()
        code, output, errors = run(scene, CASES[name], monkeypatch, capsys)
        after = scene.objects()
        case = CASES[name]
        expected = DIFFERENT.get(name, Different(case["exit"], "", expected_output(case)))
        assert code == expected.exit, errors
        assert expected.output is None or output == expected.output, errors
        if name not in DIFFERENT:
            assert (before - after, after - before) == (set(case["removed"]), set(case["added"]))


def prepare(scene: Scene, name: str) -> None:
    """Do what the capture's note says."""
    note = CASES[name]["note"]
    if note.endswith(" removed first"):
        (scene.root / "archive/wal_005" / note.split()[0]).unlink()
    BEFORE.get(name, lambda _: None)(scene)


def expected_output(case: dict[str, Any]) -> str:
    """stdout of a case; nothing where it is wrong usage, which WAL-G tells there as well.

    Its order of several checks is random.
    """
    if case["stderr"].startswith("Error: ") or (case["exit"] and case["stdout"]):
        return ""
    output: str = case["stdout"]
    head, mark, rest = output.partition("[wal-verify] integrity check status")
    return mark + rest + head if head.startswith("[wal-verify] timeline") else output


def run(
    scene: Scene, case: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str, str]:
    """Exit code, output and log of a case; commands that are processes of their own are run so."""
    environment = scene.environment(case)
    arguments = [scene.translated(word) for word in case["args"]]
    if arguments[:1] in (["wal-push"], ["wal-fetch"], ["backup-push"], ["backup-fetch"]) or "TZ" in case["env"]:
        environment |= {"WALPY_AGENT": "off", "PGHOST": "/nonexistent"}
        done = walpy(*arguments, cwd=scene.root / "data", **environment)
        return done.returncode, done.stdout, done.stderr
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    for key in {"WALG_FILE_PREFIX", "WALG_PG_WAL_SIZE"} - set(case["env"]):
        monkeypatch.delenv(key, raising=False)
    capsys.readouterr()
    code = main(arguments)
    shown = capsys.readouterr()
    return code, shown.out, shown.err
