"""The lines after a restore."""

from pathlib import Path

import pytest

from walpy.backup import next_steps as module
from walpy.backup.next_steps import next_steps, version_of_directory

RESTORE = "restore_command = 'walpy wal-fetch %f %p'"


@pytest.fixture(autouse=True)
def unprivileged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.os, "geteuid", lambda: 1000)


def test_a_server_of_today() -> None:
    assert (
        next_steps("/data", 150018)
        == next_steps("/data", 0)
        == (
            f'echo "{RESTORE}" >> /data/postgresql.auto.conf',
            "touch /data/recovery.signal",
            "pg_ctl -D /data start",
        )
    )


def test_a_server_before_12_has_recovery_conf() -> None:
    assert next_steps("/my data", 110005) == (
        f"""echo "{RESTORE}" >> '/my data'/recovery.conf""",
        "pg_ctl -D '/my data' start",
    )


def test_root_must_hand_the_files_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.os, "geteuid", lambda: 0)
    assert next_steps("/data", 0)[0].startswith("chown -R postgres: /data ")


@pytest.mark.parametrize(("text", "version"), [("15\n", 150000), ("9.6\n", 90600), ("", 0), ("x", 0), (None, 0)])
def test_the_version_comes_from_pg_version(text: str | None, version: int, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "PG_VERSION").write_text(text)
    assert version_of_directory(str(tmp_path)) == version
