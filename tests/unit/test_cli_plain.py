"""Commands in their plain form: which are, that they do what the command line does, and how they end."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from walpy import cli_backup, cli_plain, cli_storages
from walpy.cli import main
from walpy.cli_plain import run_plain
from walpy.config import Config
from walpy.errors import AccessDenied, Interrupted, WalpyError

Run = Callable[[Sequence[str]], int | None]

PLAIN = (
    ["backup-list"],
    ["backup-list", "--detail"],
    ["backup-list", "--json", "--pretty"],
    ["backup-list", "--json", "--json"],
    ["wal-show"],
    ["wal-show", "--detailed-json", "--without-backups"],
    ["wal-verify", "integrity", "timeline", "--lsn", "0/3000000", "--timeline=1", "--json"],
    ["wal-verify", "--timeline", "0x1", "integrity", "--lsn=0/3000000"],
)
FOR_CLI = (
    [],
    ["backup-list", "--help"],
    ["backup-list", "--unknown"],
    ["backup-list", "--json=true"],
    ["backup-list", "extra"],
    ["backup-list", "--detailed-json"],
    ["backup-list", "--config"],
    ["wal-show", "--target-storage", "default"],
    ["wal-verify"],
    ["wal-verify", "--json"],
    ["wal-verify", "nonsense"],
    ["wal-verify", "integrity", "--lsn", "0/1"],
    ["wal-verify", "integrity", "--lsn", "0/1", "--timeline", "0"],
    ["wal-verify", "integrity", "--lsn", "nonsense", "--timeline", "1"],
    ["wal-verify", "integrity", "--lsn", "0/1", "--timeline"],
    ["wal-verify", "integrity", "--lsn", "0/1", "--timeline", "1", "--backup-name="],
    ["wal-verify", "--lsn", "0/1", "--timeline", "1"],
    ["delete", "everything"],
    ["backup-push"],
    ["backup-push", "/data", "more"],
    ["backup-push", ""],
    ["backup-push", "/data", "-f"],
    ["backup-push", "/data", "--add-user-data", "{}"],
    ["backup-fetch", "/data"],
    ["backup-fetch", "/data", "LATEST", "--mask=x"],
    ["backup-fetch", "--", "/data", "LATEST"],
)
BACKUPS = (
    ["backup-push", "/data"],
    ["backup-push", "--full", "/data", "--permanent", "--verify"],
    ["backup-fetch", "/data", "LATEST"],
    ["backup-fetch", "/data", "base_1", "--reverse-unpack", "--skip-redundant-tars"],
)


@pytest.fixture(autouse=True)
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for part in ("basebackups_005", "wal_005"):
        (tmp_path / part).mkdir()
    (tmp_path / "wal_005/000000010000000000000001.lz4").write_bytes(b"-")
    backup = tmp_path / "basebackups_005/base_000000010000000000000001"
    backup.with_name(f"{backup.name}_backup_stop_sentinel.json").write_bytes(b"{}")
    backup.mkdir()
    (backup / "metadata.json").write_bytes(b"{}")
    monkeypatch.setenv("WALG_FILE_PREFIX", str(tmp_path))
    return tmp_path


def result(run: Run, arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> tuple[int | None, str]:
    code = run(arguments)
    return code, capsys.readouterr().out


@pytest.mark.parametrize("arguments", PLAIN, ids=" ".join)
def test_plain_or_not_a_command_says_the_same(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, shown = result(run_plain, arguments, capsys)
    assert (code, shown) == result(main, arguments, capsys)
    assert code == 0
    assert "000000010000000000000001" in shown


@pytest.mark.parametrize("arguments", BACKUPS, ids=" ".join)
def test_backups_are_the_same_in_both_forms(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []

    def note(config: Config, *words: str, **flags: object) -> None:
        asked.append((config.prefix(), words, {name: value for name, value in flags.items() if value}))

    for command in ("backup_push", "backup_fetch"):
        monkeypatch.setattr(cli_backup, command, note)
    assert (run_plain(arguments), main(arguments)) == (0, 0)
    assert asked[0] == asked[1]
    words, flags = asked[0][1:]
    assert words == tuple(word for word in arguments[1:] if not word.startswith("-"))
    assert flags == {word[2:].replace("-", "_"): True for word in arguments if word.startswith("-")}


@pytest.mark.parametrize("arguments", FOR_CLI, ids=" ".join)
def test_what_is_not_plain_is_left_to_the_command_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert result(run_plain, arguments, capsys) == (None, "")


def test_flags_of_settings_are_heard(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other"
    (other / "basebackups_005").mkdir(parents=True)
    assert result(run_plain, ["backup-list", "--json", "--walg-file-prefix", str(other)], capsys) == (0, "[]\n")
    config = tmp_path / "config.json"
    config.write_text("no JSON")
    assert result(run_plain, ["backup-list", "--config", str(config)], capsys) == (1, "")


def test_checks_are_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def server(config: object) -> tuple[int, int, int]:
        asked.append(config)
        raise WalpyError("no server here")

    monkeypatch.setattr(cli_plain, "_ask_server", server)
    assert run_plain(["wal-verify", "timeline", "integrity"]) == 1
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [(AccessDenied("no way in"), 1), (Interrupted("interrupted by SIGTERM", "", 15), 143), (ZeroDivisionError("x"), 1)],
)
def test_how_a_plain_command_ends(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(config: object) -> None:
        raise error

    monkeypatch.setattr(cli_storages, "open_archive", fail)
    with caplog.at_level(logging.ERROR):
        assert run_plain(["backup-list"]) == code
