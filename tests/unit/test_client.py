"""The thin client: what it takes for its own, and whom it asks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from walpy.client import is_private, runtime_directory, split


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["wal-push", "pg_wal/1"], ("wal-push", [])),
        (["wal-fetch", "1", "pg_wal/2"], ("wal-fetch", [])),
        (["--config=/x", "wal-push", "1"], ("wal-push", ["--config=/x"])),
        (["--config", "/x", "wal-push", "1"], ("wal-push", ["--config", "/x"])),
        (
            ["--turbo", "wal-push", "1", "--walg-s3-prefix", "s3://x"],
            ("wal-push", ["--turbo", "--walg-s3-prefix", "s3://x"]),
        ),
        (["wal-push"], None),
        (["wal-push", "1", "2"], None),
        (["wal-fetch", "1"], None),
        (["wal-push", "-h"], None),
        (["wal-push", "--", "1"], None),
        (["backup-list"], None),
        (["--version"], None),
        ([], None),
    ],
)
def test_plain_command_lines_are_its_own(arguments: list[str], expected: tuple[str, list[str]] | None) -> None:
    assert split(arguments) == expected


def test_sockets_lie_in_a_directory_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/elsewhere")
    assert runtime_directory() == f"/elsewhere/walpy-{os.geteuid()}"
    monkeypatch.delenv("TMPDIR")
    assert runtime_directory() == f"/tmp/walpy-{os.geteuid()}"


@pytest.mark.parametrize(("mode", "expected"), [(0o700, True), (0o750, False), (0o701, False), (0o777, False)])
def test_only_a_directory_of_ones_own_is_private(mode: int, expected: bool, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d").chmod(mode)
    assert is_private(str(tmp_path / "d")) is expected
    (tmp_path / "link").symlink_to(tmp_path / "d")
    assert not is_private(str(tmp_path / "link"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_somebody_else_is_not_private(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    os.chown(tmp_path, 65534, 65534)
    assert not is_private(str(tmp_path))
    os.chown(tmp_path, 0, 0)


def test_it_imports_nothing_that_has_to_be_read_from_disk() -> None:
    program = "import sys; before = set(sys.modules); import walpy.client; print(*sorted(set(sys.modules) - before))"
    result = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert set(result.stdout.split()) <= {"walpy", "walpy.client", "_signal", "_socket", "time"}
