"""The command line: flags as WAL-G has them, wrong usage in its words, exit codes, results on stdout only."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from typer.main import get_command

import walpy
from walpy import cli_backup, cli_storages
from walpy.backup import fetch as fetch_module
from walpy.backup import push as push_module
from walpy.backup import remote_push as remote_module
from walpy.cli import app, main
from walpy.config import Config
from walpy.errors import AccessDenied, Interrupted, ObjectMissing
from walpy.wal import identity

GOLDEN = Path(__file__).parents[1] / "golden/walg-cli"
FLAGS = json.loads((GOLDEN / "flags.json").read_text("utf-8"))
USAGE = json.loads((GOLDEN / "usage.json").read_text("utf-8"))
GLOBAL_FLAGS = {"config", "turbo"}


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("walpy.config.find_config_file", lambda: "")
    for name in list(os.environ):
        if name.startswith(("WAL", "PG", "AWS", "S3", "GCS")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("WALG_FILE_PREFIX", str(tmp_path))


def options_of(command: str) -> dict[str, str | None]:
    """Long name → shorthand of every option of a command."""
    found: Any = get_command(app)
    if command != "wal-g":
        found = found.commands[command]
    options: dict[str, str | None] = {}
    for parameter in found.params:
        names = [name for name in parameter.opts if name.startswith("-")]
        for name in names:
            if name.startswith("--"):
                options[name[2:]] = next((short[1:] for short in names if not short.startswith("--")), None)
    return options


@pytest.mark.parametrize("command", FLAGS["commands"])
def test_every_flag_of_walg_exists_with_its_shorthand(command: str) -> None:
    ours = options_of(command)
    for name, (shorthand, _) in FLAGS["commands"][command].items():
        assert name in ours
        assert ours[name] == shorthand


@pytest.mark.parametrize("case", USAGE, ids=lambda case: " ".join(case["args"]) or "nothing")
def test_wrong_usage_is_told_in_walgs_words(case: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(case["args"]) == case["exit"]
    shown = capsys.readouterr()
    first = case["stderr"].partition("\n")[0].replace("wal-g", "walpy")
    assert shown.err.partition("\n")[0] == first
    if case["exit"]:
        assert shown.out == ""  # WAL-G repeats the message there
        assert "--help' for usage." in shown.err
    else:
        assert shown.out.startswith("Usage: walpy")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["backup-push", "a", "b"], "accepts at most 1 arg(s), received 2"),
        (["backup-fetch"], "accepts between 1 and 2 arg(s), received 0"),
        (["wal-fetch", "a", "b", "c"], "accepts 2 arg(s), received 3"),
        (["wal-push", "-x", "f"], "unknown shorthand flag: 'x' in -x"),
        (["wal-push", "f", "--target-storage"], "flag needs an argument: --target-storage"),
        (["wal-push", "--pghost"], "flag needs an argument: --pghost"),
        (["backup-list", "--detail=maybe"], "invalid argument 'maybe' for --detail: expected true or false"),
        (["wal-admit", "x"], "Invalid value for 'SYSTEM_IDENTIFIER'"),
        (["config", "shw"], 'unknown command "shw" for "walpy config"'),
        (["completion", "ksh"], 'invalid argument "ksh" for "walpy completion"'),
    ],
)
def test_more_wrong_usage(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 1
    shown = capsys.readouterr()
    assert shown.err.startswith(f"Error: {message}")
    assert shown.out == ""


def test_near_misses_are_suggested(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backup-lst"]) == 1
    assert "Did you mean this?\n\tbackup-list\n" in capsys.readouterr().err


def test_main_commands_come_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    commands = [line.split()[0] for line in capsys.readouterr().out.partition("Commands:\n")[2].splitlines()[:5]]
    assert commands == ["wal-push", "wal-fetch", "backup-push", "backup-fetch", "backup-list"]


@pytest.mark.parametrize("argv", [["help", "backup-push"], ["backup-push", "-h"], ["backup-push", "--help"]])
def test_help_of_a_command(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 0
    assert "--without-files-metadata" in capsys.readouterr().out


def test_hidden_command_is_not_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--help"])
    assert "wal-prefetch" not in capsys.readouterr().out
    assert main(["wal-prefetch", "--help"]) == 0


@pytest.mark.parametrize("flag", ["--version", "-v"])
def test_version(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([flag]) == 0
    assert capsys.readouterr().out.split("\t")[0] == f"walpy version v{walpy.__version__}"


def test_flags_lists_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["flags"]) == 0
    shown = {line.split()[0][2:] for line in capsys.readouterr().out.splitlines()}
    assert set(FLAGS["setting_flags"]) | GLOBAL_FLAGS <= shown


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert f"_WALPY_COMPLETE=complete_{shell}" in capsys.readouterr().out


def test_bash_completes_commands() -> None:
    environ = {**os.environ, "_WALPY_COMPLETE": "complete_bash", "COMP_WORDS": "walpy backup-", "COMP_CWORD": "1"}
    code = "import sys; from walpy.cli import main; sys.exit(main([]))"
    result = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=60)
    assert result.stdout.split() == ["backup-push", "backup-fetch", "backup-list", "backup-mark"]


def test_empty_listing_prints_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backup-list", "--walg-log-level=ERROR"]) == 0
    assert capsys.readouterr() == ("", "")
    assert main(["--walg-log-level", "ERROR", "backup-list", "--json=true", "--pretty=false"]) == 0
    assert capsys.readouterr().out == "[]\n"


def test_no_storage(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WALG_FILE_PREFIX")
    assert main(["backup-list"]) == 1
    shown = capsys.readouterr()
    assert "Failed to find any configured storage" in shown.err
    assert shown.out == ""


@pytest.mark.parametrize("argv", [["--target-storage", "second"], ["--target-storage=second"]])
def test_other_storages_are_refused(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backup-list", *argv]) == 1
    assert 'unknown storage "second"' in capsys.readouterr().err
    assert main(["backup-list", "--target-storage", "default"]) == 0


def test_target_storage_of_the_environment(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WALG_TARGET_STORAGE", "second")
    assert main(["backup-list"]) == 1
    assert 'unknown storage "second"' in capsys.readouterr().err
    assert main(["backup-list", "--target-storage", "default"]) == 0


def test_flags_of_backup_fetch_reach_the_body(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[tuple[Any, ...]] = []

    def fetch(*arguments: Any, **_: object) -> Any:
        calls.append(arguments)
        return fetch_module.FetchSummary("b", "d", 0, 0, 0, 0.0, "", 0, (), ())

    monkeypatch.setattr(fetch_module, "backup_fetch", fetch)
    monkeypatch.setenv("WALG_USE_REVERSE_UNPACK", "true")
    argv = ["backup-fetch", "/new", "LATEST", "--mask", "base/*", "--restore-only=a,b", "--pghost", "h"]
    argv += ["--restore-only", "c"]
    assert main(argv) == 0
    config, destination, selector, options, _ = calls[0]
    assert (destination, selector.name, options.mask, options.restore_only) == ("/new", "LATEST", "base/*", "a,b,c")
    assert options.reverse_unpack
    assert not options.skip_redundant_tars
    assert config.text("PGHOST") == "h"


def test_flags_of_backup_push_reach_the_body(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(push_module, "backup_push", lambda *arguments, **_: calls.append(arguments))
    monkeypatch.setattr(remote_module, "remote_backup_push", lambda *arguments, **_: calls.append(arguments))
    monkeypatch.setenv("WALG_STORE_ALL_CORRUPT_BLOCKS", "true")
    monkeypatch.setenv("WALG_SENTINEL_USER_DATA", '"of the environment"')
    assert (
        main(["backup-push", "/data", "-fp", "--verify=true", "--add-user-data", "{}", "--delta-from-name=b", "-r"])
        == 0
    )
    config, directory, options, _ = calls[0]
    assert (directory, options.user_data, config.text("WALG_DELTA_FROM_NAME")) == ("/data", "{}", "b")
    assert (options.full, options.permanent, options.verify, options.store_all_corrupt) == (True,) * 4
    assert not options.without_files_metadata
    assert config.boolean("WALG_USE_RATING_COMPOSER")
    assert main(["backup-push"]) == 0
    assert calls[1][1].user_data == '"of the environment"'


def test_flags_become_settings() -> None:
    config = cli_backup._with_flags(
        Config.from_mapping({"A": "old", "B": "old", "C": "old"}),
        {"a": "A", "b_long": "B", "c": "C", "d": "D", "e": "E"},
        {"a": "", "b_long": "new", "c": True, "d": False},
    )
    assert {key: (item.value, item.origin) for key, item in config.settings.items()} == {
        "A": ("old", "program"),
        "B": ("new", "--b-long"),
        "C": ("true", "--c"),
    }


def test_admit_reaches_the_body(monkeypatch: pytest.MonkeyPatch) -> None:
    admitted: list[int] = []
    monkeypatch.setattr(identity, "admit_everywhere", lambda archives, number: admitted.append(number))
    assert main(["wal-admit", "7710704239505806382"]) == 0
    assert admitted == [7710704239505806382]


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (AccessDenied("no way in", "Ask for a key."), 1, "no way in. Ask for a key."),
        (ObjectMissing("gone"), 74, "gone"),
        (Interrupted("interrupted by SIGTERM", "", 15), 143, "interrupted by SIGTERM"),
        (ZeroDivisionError("oops"), 1, "unexpected error: ZeroDivisionError: oops"),
    ],
)
def test_how_a_command_ends(
    error: Exception, code: int, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(config: Config) -> None:
        raise error

    monkeypatch.setattr(cli_storages, "open_archive", fail)
    assert main(["backup-list"]) == code
    shown = capsys.readouterr()
    assert shown.err.startswith("ERROR: ")
    assert words in shown.err
    assert len(shown.err.splitlines()) == 1


def test_config_warnings_are_told_before_logging_is_configured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "c.json"
    path.write_text('{"WALG_NONSENSE": 1, "WALG_LOG_LEVEL": "ERROR"}', encoding="utf-8")
    assert main(["--config", str(path), "config", "show"]) == 0
    assert "WALG_NONSENSE is unknown" in capsys.readouterr().err


def test_config_show_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show", "--json", "--walg-pgp-key", "s3cret", "--walg-upload-queue", "many"]) == 0
    text = capsys.readouterr().out
    rows = {row["key"]: row for row in json.loads(text)}
    assert "s3cret" not in text
    assert rows["WALG_PGP_KEY"] == {
        "key": "WALG_PGP_KEY",
        "value": "--HIDDEN--",
        "origin": "--walg-pgp-key",
        "problem": "",
    }
    assert rows["WALG_FILE_PREFIX"]["origin"] == "environment"
    assert rows["WALG_DOWNLOAD_CONCURRENCY"]["value"] == "10"
    assert rows["WALG_DOWNLOAD_CONCURRENCY"]["origin"] == "default"
    assert rows["WALG_UPLOAD_QUEUE"]["problem"] == "expected an integer"
    assert list(rows) == sorted(rows)


def test_config_show_as_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WALG_NEW", "two\nlines")
    assert main(["config", "show"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["setting", "value", "origin"]
    assert "two\\nlines" in next(line for line in lines if line.startswith("WALG_NEW "))
    assert any(line.endswith(" environment (unknown key)") for line in lines)
    assert not any(line.startswith("OSS_REGION") for line in lines)


def test_config_show_names_settings_without_effect(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show", "--json", "--oss-region=x", "--walg-s3-max-retries=3"]) == 0
    problems = {row["key"]: row["problem"] for row in json.loads(capsys.readouterr().out)}
    assert problems["OSS_REGION"] == problems["WALG_S3_MAX_RETRIES"] == "not used by walpy"


def run_flags(stdout: BinaryIO) -> "subprocess.CompletedProcess[str]":
    code = "import sys; from walpy.cli import main; from walpy.logs import exit_now; exit_now(main(sys.argv[1:]))"
    argv = [sys.executable, "-c", code, "flags"]
    return subprocess.run(argv, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60)


def test_a_reader_that_has_gone_ends_the_command_quietly() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as broken:
        result = run_flags(broken)
    assert (result.returncode, result.stderr) == (141, "")


def test_a_result_that_cannot_be_written_is_a_failure() -> None:
    with open("/dev/full", "wb") as full:
        result = run_flags(full)
    assert result.returncode == 1
    assert "cannot write the output: No space left on device" in result.stderr


def test_flags_of_a_sub_command_may_stand_before_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WALG_FILE_PREFIX", str(tmp_path))
    (tmp_path / "object").write_text("x")
    assert main(["delete", "--confirm", "everything", "FORCE"]) == 0
    assert list(tmp_path.iterdir()) == []
    assert main(["delete", "--after", "base_0", "retain", "0"]) == 1
    assert "cannot retain less than one backup" in capsys.readouterr().err
    assert main(["delete", "--after"]) == 1
    assert main(["delete", "--pretty", "retain", "1"]) == 1
    assert "unknown flag: --pretty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["catchup-push"], "accepts 1 arg(s), received 0"),
        (["catchup-push", "/data", "--from-lsn", "5000028h"], 'invalid argument "5000028h" for "--from-lsn" flag'),
        (["catchup-push", "/data", "--from-lsn", "-1"], 'invalid argument "-1" for "--from-lsn" flag'),
        (["catchup-push", "/data", "--from-lsn", "0/x"], 'invalid argument "0/x" for "--from-lsn" flag'),
        (["catchup-fetch", "/data"], "accepts 2 arg(s), received 1"),
        (["catchup-list", "extra"], 'unknown command "extra" for "walpy catchup-list"'),
    ],
)
def test_wrong_usage_of_catchup(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 1
    assert message in capsys.readouterr().err


def test_catchups_need_no_storage_over_the_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["catchup-receive", str(tmp_path), "99999"]) == 1
    assert "not an address: '99999'" in capsys.readouterr().err
    assert main(["catchup-receive", str(tmp_path / "none"), "1337"]) == 1
    assert "cannot open the data directory" in capsys.readouterr().err
