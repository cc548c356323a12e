"""Config: precedence, aliases, strict values, secrets, and what children get."""

import os
import pickle
import pwd
from pathlib import Path

import pytest

from walpy.config import Config, Setting, load_config, load_separate, split_setting_flags
from walpy.errors import ConfigError, UsageError


@pytest.fixture(autouse=True)
def _no_home_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("walpy.config.find_config_file", lambda: "")


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_the_settings_of_another_archive(tmp_path: Path) -> None:
    """The file's own, and of the command's those that say nothing of where, and that the file does not set."""
    path = write(
        tmp_path / "c.json", '{"WALG_S3_PREFIX": "s3://b/p", "WALG_AWS_REGION": "file", "WALG_PG_WAL_SIZE": 1}'
    )
    common = Config.from_mapping(
        {
            "WALG_FILE_PREFIX": "/elsewhere",
            "WALE_S3_PREFIX": "s3://elsewhere",
            "WALG_STORAGE_PREFIX": "elsewhere",
            "AWS_REGION": "common",
            "AWS_ACCESS_KEY_ID": "common",
            "WALG_AWS_SECRET_ACCESS_KEY": "aliased",
            "WALG_PG_WAL_SIZE": "64",
            "WALPY_STORAGE_DEADLINE": "1s",
            "GCS_NORMALIZE_PREFIX": "false",
        }
    )
    config = load_separate(common, path, {})
    assert (config.storage_kind(), config.prefix(), config.storage_prefix()) == ("S3", "s3://b/p", "")
    found = {name: config.storage_text(name) for name in ("AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    assert found == {"AWS_REGION": "file", "AWS_ACCESS_KEY_ID": "common", "AWS_SECRET_ACCESS_KEY": ""}
    assert config.integer("WALG_PG_WAL_SIZE") == 1
    assert config.seconds("WALPY_STORAGE_DEADLINE") == 1.0
    assert not config.storage_boolean("GCS_NORMALIZE_PREFIX")
    with pytest.raises(ConfigError, match="gone"):
        load_separate(common, str(tmp_path / "gone.json"), {})


def test_flag_wins_over_environment_over_file_over_default(tmp_path: Path) -> None:
    path = write(tmp_path / "c.json", '{"PGUSER": "file", "PGHOST": "file", "PGPORT": 1, "WALG_UPLOAD_QUEUE": 7}')
    config = load_config({"PGUSER": "flag"}, {"PGUSER": "env", "PGHOST": "env"}, path)
    assert [config.text(key) for key in ("PGUSER", "PGHOST", "PGPORT")] == ["flag", "env", "1"]
    assert [config.origin(key) for key in ("PGUSER", "PGHOST", "PGPORT")] == ["--pguser", "environment", path]
    assert config.integer("WALG_UPLOAD_QUEUE") == 7
    assert config.integer("WALG_DOWNLOAD_CONCURRENCY") == 10
    assert config.origin("WALG_DOWNLOAD_CONCURRENCY") == "default"
    assert not config.is_set("WALG_DOWNLOAD_CONCURRENCY")


def test_an_empty_variable_is_unset_but_an_empty_flag_unsets(tmp_path: Path) -> None:
    path = write(tmp_path / "c.json", '{"WALG_STORAGE_PREFIX": "sub", "WALG_UPLOAD_QUEUE": "7"}')
    assert load_config({}, {"WALG_STORAGE_PREFIX": ""}, path).storage_prefix() == "sub"
    config = load_config({"WALG_STORAGE_PREFIX": "", "WALG_UPLOAD_QUEUE": ""}, {}, path)
    assert config.storage_prefix() == ""
    assert not config.is_set("WALG_STORAGE_PREFIX")
    assert config.integer("WALG_UPLOAD_QUEUE") == 2


def test_config_path_of_the_environment_counts_after_the_flag(tmp_path: Path) -> None:
    one = write(tmp_path / "one.json", '{"PGUSER": "one"}')
    two = write(tmp_path / "two.json", '{"PGUSER": "two"}')
    assert load_config({}, {"WALG_CONFIG_PATH": one}).text("PGUSER") == "one"
    assert load_config({}, {"WALG_CONFIG_PATH": one}, two).text("PGUSER") == "two"


def test_a_given_file_that_is_missing_or_broken_is_an_error(tmp_path: Path) -> None:
    broken = write(tmp_path / "broken.json", '{"PGUSER": ')
    for path in (str(tmp_path / "absent.json"), broken, write(tmp_path / "c.ini", "")):
        with pytest.raises(ConfigError, match="configuration file") as caught:
            load_config({}, {}, path)
        assert path in str(caught.value)


def test_unknown_keys_of_a_file_are_told_and_still_work(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "c.json", '{"WALG_NONSENSE": 1, "WALG_GCS_MAX_CHUNK_SIZE": 5, "walg_file_prefix": "/x"}')
    config = load_config({}, {}, path)
    assert caplog.messages == [
        "WALG_NONSENSE is unknown",
        f"check the spelling of these keys in {path}: walpy does not know them",
    ]
    assert config.text("WALG_NONSENSE") == "1"
    assert config.prefix() == "/x"


def test_only_variables_that_may_concern_us_are_kept() -> None:
    config = load_config({}, {"PATH": "/bin", "SECRET": "x", "WALG_NEW": "1", "AWS_REGION": "eu", "walg_x": "1"})
    assert set(config.settings) == {"WALG_NEW", "AWS_REGION"}


def test_trailing_line_ends_are_cut() -> None:
    assert load_config({}, {"PGPASSWORD": "pa ss\r\n"}).text("PGPASSWORD") == "pa ss"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"S3_SSE": "bare", "WALG_S3_SSE": "walg", "WALE_S3_SSE": "wale"}, "bare"),
        ({"WALG_S3_SSE": "walg", "WALE_S3_SSE": "wale"}, "walg"),
        ({"WALE_S3_SSE": "wale"}, "wale"),
        ({}, ""),
    ],
)
def test_storage_settings_have_aliases_and_the_bare_name_wins(values: dict[str, str], expected: str) -> None:
    assert Config.from_mapping(values).storage_text("S3_SSE") == expected


def test_errors_name_the_alias_that_was_used() -> None:
    config = Config.from_mapping({"WALE_S3_MAX_PART_SIZE": "5mb"})
    with pytest.raises(ConfigError, match=r"^WALE_S3_MAX_PART_SIZE has the wrong value '5mb' \(program\): "):
        config.storage_integer("S3_MAX_PART_SIZE")
    assert Config().storage_integer("S3_MAX_PART_SIZE") == 20971520
    assert Config().storage_boolean("S3_SKIP_VALIDATION") is True


def test_spelling_of_integers_depends_on_the_key_as_in_walg() -> None:
    config = Config.from_mapping({"WALG_UPLOAD_QUEUE": "010", "S3_MAX_RETRIES": "010", "WALG_S3_MAX_RETRIES": "0x10"})
    assert config.integer("WALG_UPLOAD_QUEUE") == 8
    assert config.storage_integer("S3_MAX_RETRIES") == 10
    with pytest.raises(ConfigError):
        config.integer("WALG_S3_MAX_RETRIES")


def test_minimum() -> None:
    config = Config.from_mapping({"WALG_DOWNLOAD_CONCURRENCY": "0"})
    with pytest.raises(ConfigError, match=r"^WALG_DOWNLOAD_CONCURRENCY value is expected to be positive but is: 0"):
        config.integer("WALG_DOWNLOAD_CONCURRENCY", minimum=1)
    assert config.integer("WALG_DOWNLOAD_CONCURRENCY", minimum=0) == 0


def test_wrong_values_are_errors_that_name_key_value_and_origin() -> None:
    config = load_config({"WALG_ALIVE_CHECK_INTERVAL": "60"}, {"PG_READY_RENAME": "yes"})
    with pytest.raises(ConfigError, match=r"PG_READY_RENAME has the wrong value 'yes' \(environment\)"):
        config.boolean("PG_READY_RENAME")
    with pytest.raises(ConfigError, match=r"'60' \(--walg-alive-check-interval\): expected a duration"):
        config.seconds("WALG_ALIVE_CHECK_INTERVAL")
    with pytest.raises(ConfigError, match="expected a size"):
        Config.from_mapping({"WALG_FAILOVER_STORAGES_CHECK_SIZE": "big"}).size("WALG_FAILOVER_STORAGES_CHECK_SIZE")


def test_defaults_of_every_kind() -> None:
    config = Config()
    assert config.seconds("WALPY_STORAGE_DEADLINE") == 300
    assert config.size("WALG_FAILOVER_STORAGES_CHECK_SIZE") == 1 << 20
    assert config.boolean("WALG_VERIFY_PAGE_CHECKSUMS") is False
    assert config.integer("WALG_DISK_RATE_LIMIT") == 0
    assert config.text("NO_SUCH_KEY", "given") == "given"
    assert config.text("WALG_COMPRESSION_METHOD", "zstd") == "lz4"


def test_primary_storage_is_the_first_in_walgs_order() -> None:
    both = Config.from_mapping({"WALG_FILE_PREFIX": "/x", "WALE_S3_PREFIX": "s3://b/p"})
    assert (both.storage_kind(), both.prefix()) == ("S3", "s3://b/p")
    assert Config.from_mapping({"WALG_FILE_PREFIX": "/x"}).storage_kind() == "FILE"
    with pytest.raises(ConfigError, match=r"^Failed to find any configured storage$") as caught:
        Config().prefix()
    assert f"{pwd.getpwuid(os.geteuid()).pw_dir}/.walg.json" in caught.value.hint
    with pytest.raises(ConfigError) as caught:
        Config(config_path="/etc/walpy.json").prefix()
    assert "/etc/walpy.json" in caught.value.hint


def test_secrets_are_never_shown() -> None:
    config = Config.from_mapping({"PGPASSWORD": "hunter2", "WALG_PGP_KEY": "hunter2", "PGUSER": "me"})
    assert "hunter2" not in repr(config)
    assert "hunter2" not in repr(config.settings)
    assert config.shown("PGPASSWORD") == "--HIDDEN--"
    assert config.shown("WALG_LIBSODIUM_KEY") == ""
    assert "me" in repr(config)
    assert "hunter2" not in str(config.invalid("PGPASSWORD", "too easy"))


def test_postgres_parameters_cover_every_source() -> None:
    config = load_config({"PGPORT": "5433"}, {"PGHOST": "env"}, "")
    assert config.postgres_parameters() == {"host": "env", "port": "5433", "application_name": "wal-g"}


def test_a_service_of_the_environment_keeps_its_rank() -> None:
    config = load_config({"PGPORT": "5433"}, {"PGHOST": "env", "PGSERVICE": "main"})
    assert config.postgres_parameters() == {"port": "5433", "application_name": "wal-g"}


def test_encryption_settings() -> None:
    assert Config().encryption_settings() == ()
    config = Config.from_mapping({"WALE_GPG_KEY_ID": "x", "WALG_LIBSODIUM_KEY_PATH": "/k", "WALG_CSE_KMS_REGION": "eu"})
    assert config.encryption_settings() == ("WALE_GPG_KEY_ID", "WALG_LIBSODIUM_KEY_PATH")


def test_a_child_gets_the_same_settings_and_no_secret_on_its_command_line(tmp_path: Path) -> None:
    path = write(tmp_path / "c.json", '{"PGPASSWORD": "of-file", "AWS_REGION": "eu", "WALG_STORAGE_PREFIX": "sub"}')
    flags = {"WALG_STORAGE_PREFIX": "", "PGHOST": "h", "AWS_SECRET_ACCESS_KEY": "of-flag"}
    environ = {"PGUSER": "me", "PATH": "/bin"}
    config = load_config(flags, environ, path)
    arguments, environment = config.child_arguments(), config.child_environment()
    assert not any("of-f" in argument for argument in arguments)
    assert environment == {"AWS_SECRET_ACCESS_KEY": "of-flag"}

    rest, child_flags, child_path = split_setting_flags([*arguments, "wal-prefetch"])
    child = load_config(child_flags, {**environ, **environment}, child_path)
    assert rest == ["wal-prefetch"]
    assert {key: child.text(key) for key in config.settings} == {key: config.text(key) for key in config.settings}


def test_with_settings_leaves_the_original_alone() -> None:
    config = Config.from_mapping({"PGUSER": "me"})
    changed = config.with_settings({"PGUSER": Setting("you", "--user")})
    assert (config.text("PGUSER"), changed.text("PGUSER"), changed.origin("PGUSER")) == ("me", "you", "--user")


def test_pickles() -> None:
    config = load_config({"PGUSER": "me"}, {"PGPASSWORD": "x"})
    assert pickle.loads(pickle.dumps(config)) == config


def test_flags_are_taken_wherever_they_stand() -> None:
    argv = ["--pghost", "-h", "backup-push", "/data", "--config=/c.json", "-f", "--walg-s3-sse=", "--detail"]
    assert split_setting_flags(argv) == (
        ["backup-push", "/data", "-f", "--detail"],
        {"PGHOST": "-h", "WALG_S3_SSE": ""},
        "/c.json",
    )


def test_nothing_is_taken_after_two_dashes() -> None:
    assert split_setting_flags(["x", "--", "--pghost", "h"]) == (["x", "--", "--pghost", "h"], {}, "")


def test_a_flag_without_its_value() -> None:
    for argv in (["wal-push", "--pghost"], ["--config"]):
        with pytest.raises(UsageError, match=f"^flag needs an argument: {argv[-1]}$"):
            split_setting_flags(argv)


def test_turbo_lifts_limits_and_gives_way_to_explicit_flags() -> None:
    _, flags, _ = split_setting_flags(["backup-push", "--turbo", "--walg-disk-rate-limit=5"])
    environ = dict.fromkeys(("WALG_DISK_RATE_LIMIT", "WALG_NETWORK_RATE_LIMIT", "WALG_UPLOAD_DISK_CONCURRENCY"), "1")
    config = load_config(flags, environ)
    assert config.integer("WALG_DISK_RATE_LIMIT") == 5
    assert not config.is_set("WALG_NETWORK_RATE_LIMIT")
    assert not config.is_set("WALG_UPLOAD_DISK_CONCURRENCY")
    assert split_setting_flags(["--turbo=false"])[1] == {}
