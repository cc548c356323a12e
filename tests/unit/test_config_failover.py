"""Failover storages in the settings: names, inheritance, secrets, mistakes."""

import json
from pathlib import Path

import pytest

from walpy.config import Config, Setting, load_config
from walpy.config_failover import has_failover, status_key, storage_configs, target_name
from walpy.errors import ConfigError

NESTED = {"Second": {"walg_s3_prefix": "s3://two/x", "AWS_SECRET_ACCESS_KEY": "hush", "S3_MAX_PART_SIZE": 6000000}}


def from_file(tmp_path: Path, **more: object) -> Config:
    path = tmp_path / "walg.json"
    path.write_text(json.dumps({"WALG_S3_PREFIX": "s3://one", "WALG_FAILOVER_STORAGES": NESTED, **more}))
    return load_config({}, {}, str(path))


def test_a_file_gives_names_in_lower_case_and_settings_of_their_own(tmp_path: Path) -> None:
    found = storage_configs(from_file(tmp_path, WALG_STORAGE_PREFIX="c1"))
    assert list(found) == ["default", "second"]
    assert found["default"].prefix() == "s3://one"
    second = found["second"]
    assert (second.prefix(), second.storage_text("S3_MAX_PART_SIZE")) == ("s3://two/x", "6000000")
    assert second.storage_prefix() == "c1"
    assert (second.storage_name(), found["default"].storage_name()) == ("second", "default")
    assert not any(config.is_set("WALG_FAILOVER_STORAGES") for config in found.values())


def test_json_in_the_environment_keeps_names_as_they_are() -> None:
    config = load_config({}, {"WALG_FILE_PREFIX": "/a", "WALG_FAILOVER_STORAGES": json.dumps(NESTED)}, "")
    assert list(storage_configs(config)) == ["default", "Second"]


def test_common_settings_count_under_their_bare_names_alone() -> None:
    nested = {"b": {"WALG_S3_PREFIX": "s3://two"}, "c": {"WALG_S3_PREFIX": "s3://three", "WALG_AWS_ENDPOINT": "own"}}
    config = Config.from_mapping(
        {
            "WALG_S3_PREFIX": "s3://one",
            "AWS_ENDPOINT": "common",
            "WALG_S3_SSE": "AES256",
            "WALG_FAILOVER_STORAGES": json.dumps(nested),
        }
    )
    found = storage_configs(config)
    assert [found[name].storage_text("AWS_ENDPOINT") for name in ("default", "b", "c")] == ["common", "common", "own"]
    assert [found[name].storage_text("S3_SSE") for name in ("default", "b")] == ["AES256", ""]


def test_failovers_are_ordered_by_their_keys() -> None:
    nested = {name: {"WALG_FILE_PREFIX": f"/{name}"} for name in ("z", "a#", "m")}
    config = Config.from_mapping({"WALG_FILE_PREFIX": "/p", "WALG_FAILOVER_STORAGES": json.dumps(nested)})
    names = list(storage_configs(config))
    assert names == ["default", "a#", "m", "z"]
    assert all("#" in status_key(name, config) for name in names)


def test_a_key_does_not_depend_on_secrets() -> None:
    config = Config.from_mapping({"WALG_S3_PREFIX": "s3://b", "AWS_SECRET_ACCESS_KEY": "one"})
    other = config.with_settings({"AWS_SECRET_ACCESS_KEY": Setting("two", "x")})
    assert status_key("n", config) == status_key("n", other)
    assert status_key("n", config) != status_key("n", config.with_settings({"AWS_ENDPOINT": Setting("e", "x")}))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{", "is no map"),
        ('["b"]', "is no map"),
        ('{"b": "/x"}', "is no map"),
        ('{"default": {"WALG_FILE_PREFIX": "/x"}}', "'default' storage name is reserved"),
        ('{"all": {"WALG_FILE_PREFIX": "/x"}}', "reserved"),
        ('{"b": {"AWS_SECRET_ACCESS_KEY": "hush"}}', "'b' .* names no storage"),
    ],
)
def test_mistakes_are_told_without_values(value: str, message: str) -> None:
    config = Config.from_mapping({"WALG_FILE_PREFIX": "/p", "WALG_FAILOVER_STORAGES": value})
    with pytest.raises(ConfigError, match=message) as caught:
        storage_configs(config)
    assert "hush" not in f"{caught.value} {caught.value.hint}"
    assert "hush" not in repr(config)


def test_an_empty_map_is_no_failover() -> None:
    assert not has_failover(Config.from_mapping({"WALG_FAILOVER_STORAGES": "{}"}))


def test_targets(tmp_path: Path) -> None:
    config = from_file(tmp_path)
    assert target_name(config, "x") == "x"
    for name in ("default", "second"):
        assert target_name(config.with_settings({"WALG_TARGET_STORAGE": Setting(name, "--target-storage")})) == name
    assert target_name(config.with_settings({"WALG_TARGET_STORAGE": Setting("all", "")}), "x") == "x"
    with pytest.raises(ConfigError, match='unknown storage "Second"'):
        target_name(config.with_settings({"WALG_TARGET_STORAGE": Setting("Second", "")}))


def test_no_secret_reaches_the_command_line_of_a_child() -> None:
    nested = json.dumps(NESTED)
    config = Config(
        {
            "WALG_FAILOVER_STORAGES": Setting(nested, "--walg-failover-storages"),
            "WALG_TARGET_STORAGE": Setting("second", "--target-storage"),
        }
    )
    assert config.child_arguments() == []
    assert config.child_environment() == {"WALG_FAILOVER_STORAGES": nested, "WALG_TARGET_STORAGE": "second"}
