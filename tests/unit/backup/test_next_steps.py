"""The lines after a restore."""

import shlex
import subprocess
from pathlib import Path

import pytest

from walpy.backup import next_steps as module
from walpy.backup.next_steps import given_arguments, next_steps, version_of_directory
from walpy.config import Config, Setting

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


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["--config=/etc/walpy.json"], "walpy --config=/etc/walpy.json wal-fetch %f %p"),
        (["--config=/my own/it's 5%.json"], """walpy '--config=/my own/it'"'"'s 5%%.json' wal-fetch %f %p"""),
        (["--walg-file-prefix=/a\\b$c"], r"walpy '--walg-file-prefix=/a\b$c' wal-fetch %f %p"),
    ],
)
def test_the_restore_command_names_the_same_archive(arguments: list[str], command: str, tmp_path: Path) -> None:
    step = next_steps(str(tmp_path), 0, arguments)[0]
    subprocess.run(["sh", "-c", step], check=True)
    line = (tmp_path / "postgresql.auto.conf").read_text()
    assert line.startswith("restore_command = '")
    assert line.endswith("'\n")
    value = line.removeprefix("restore_command = '").removesuffix("'\n")
    assert value.replace("''", "'").replace("\\\\", "\\") == command
    assert shlex.split(command.replace("%%", "%"))[1:-3] == arguments


def test_flags_of_the_restore_are_given_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_config_file", lambda: "/home/me/.walg.json")
    flag = {"WALG_FILE_PREFIX": Setting("/a", "--walg-file-prefix"), "PGPASSWORD": Setting("x", "--pgpassword")}
    assert given_arguments(Config({}, "/home/me/.walg.json")) == []
    assert given_arguments(Config(flag, "/etc/w.json")) == ["--config=/etc/w.json", "--walg-file-prefix=/a"]
    assert given_arguments(Config(flag)) == ["--walg-file-prefix=/a"]
    assert given_arguments(Config.from_mapping({"WALG_FILE_PREFIX": "/a"})) == []


def test_root_must_hand_the_files_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.os, "geteuid", lambda: 0)
    assert next_steps("/data", 0)[0].startswith("chown -R postgres: /data ")


@pytest.mark.parametrize(("text", "version"), [("15\n", 150000), ("9.6\n", 90600), ("", 0), ("x", 0), (None, 0)])
def test_the_version_comes_from_pg_version(text: str | None, version: int, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "PG_VERSION").write_text(text)
    assert version_of_directory(str(tmp_path)) == version
