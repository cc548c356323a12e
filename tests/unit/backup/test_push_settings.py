"""Settings of backup-push: read strictly, before anything happens."""

import os

import pytest

from walpy.backup.delta_base import DeltaChoice
from walpy.backup.push_settings import PushOptions, PushSettings, check_settings, parse_user_data
from walpy.config import Config
from walpy.errors import BackupError, ConfigError, UsageError


def check(options: PushOptions | None = None, **values: str) -> PushSettings:
    return check_settings(Config.from_mapping(values), options or PushOptions())


def test_defaults() -> None:
    settings = check()
    cores = len(os.sched_getaffinity(0))
    assert settings == PushSettings(
        user_data=None,
        tar_threshold=1073741823,
        workers=cores,
        threads=2 * cores,
        alive_interval=60,
        stop_timeout=0,
        wal_timeout=3600,
        with_table_names=True,
        composer="regular",
        delta=DeltaChoice(),
    )


def test_settings_are_taken() -> None:
    settings = check(
        PushOptions(user_data='{"job": [1, "x"]}'),
        WALG_TAR_SIZE_THRESHOLD="100",
        WALG_UPLOAD_DISK_CONCURRENCY="7",
        WALG_ALIVE_CHECK_INTERVAL="5s",
        WALG_STOP_BACKUP_TIMEOUT="1m",
        WALPY_WAL_WAIT_TIMEOUT="0",
        WALG_DISABLE_PARTIAL_RESTORE="true",
    )
    assert settings.user_data == {"job": [1, "x"]}
    assert (settings.tar_threshold, settings.workers, settings.threads) == (100, 7, 7)
    assert (settings.alive_interval, settings.stop_timeout, settings.wal_timeout) == (5, 60, 0)
    assert settings.with_table_names is False


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("WALG_UPLOAD_DISK_CONCURRENCY", "0"),
        ("WALG_UPLOAD_QUEUE", "0"),
        ("WALG_TAR_SIZE_THRESHOLD", "huge"),
        ("WALG_STOP_BACKUP_TIMEOUT", "5"),
        ("WALPY_WAL_WAIT_TIMEOUT", "-1m"),
        ("WALG_DELTA_ORIGIN", "x"),
        ("WALG_DELTA_MAX_STEPS", "many"),
    ],
)
def test_wrong_values_are_refused(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=key):
        check(**{key: value})


@pytest.mark.parametrize("text", ["{not json", "'single'", "[1,]", '{"a": NaN}', "1e999", "Infinity"])
def test_user_data_that_is_no_json(text: str) -> None:
    with pytest.raises(BackupError):
        parse_user_data(text)


@pytest.mark.parametrize(
    ("text", "value"), [("", None), ("1", 1), ('"x"', "x"), ('{"a":{"b":null}}', {"a": {"b": None}})]
)
def test_user_data(text: str, value: object) -> None:
    assert parse_user_data(text) == value


@pytest.mark.parametrize(
    "values",
    [{"WALG_DELTA_FROM_NAME": "LATEST"}, {"WALG_DELTA_FROM_USER_DATA": "{}"}, {"WALG_USE_COPY_COMPOSER": "true"}],
)
def test_without_files_metadata_excludes(values: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="without-files-metadata option cannot be used with"):
        check(PushOptions(without_files_metadata=True), **values)


def test_two_bases_of_a_delta() -> None:
    with pytest.raises(UsageError, match="cannot be used together"):
        check(WALG_DELTA_FROM_NAME="LATEST", WALG_DELTA_FROM_USER_DATA="{}")


def test_what_the_user_wants_of_deltas() -> None:
    values = {"WALG_DELTA_MAX_STEPS": "5", "WALG_DELTA_ORIGIN": "LATEST_FULL", "WALG_DELTA_FROM_NAME": "x"}
    chosen = check(PushOptions(permanent=True), **values, WALPY_DELTA_IGNORE_MTIME="true").delta
    assert chosen == DeltaChoice(5, "LATEST_FULL", "x", permanent=True, ignores_mtime=True)


@pytest.mark.parametrize("options", [PushOptions(full=True), PushOptions(without_files_metadata=True)])
def test_what_makes_a_backup_full(options: PushOptions) -> None:
    assert check(options, WALG_DELTA_MAX_STEPS="5").delta.max_steps == 0


def test_a_base_that_is_not_used_is_told_about(caplog: pytest.LogCaptureFixture) -> None:
    check(WALG_DELTA_FROM_NAME="LATEST")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    caplog.clear()
    check(PushOptions(full=True), WALG_DELTA_FROM_NAME="LATEST")
    assert not caplog.records


def test_composers() -> None:
    assert check().composer == "regular"
    chosen = {"WALG_USE_RATING_COMPOSER": "true"}
    assert check(**chosen).composer == "rating"
    chosen["WALG_USE_DATABASE_COMPOSER"] = "true"
    assert check(**chosen, WALG_DELTA_MAX_STEPS="3").composer == "database"
    chosen["WALG_USE_COPY_COMPOSER"] = "true"
    assert check(**chosen).composer == "copy"
    assert check(**chosen).delta.copies
