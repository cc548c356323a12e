"""What a backup begins while it still starts: the connection, and the process that workers come from."""

import threading

import pytest

from walpy import cli_backup
from walpy.cli_backup import _connecting
from walpy.config import Config
from walpy.errors import ConfigError, PostgresError, WalpyError

CONFIG = Config({})


class Server:
    """Takes as long to connect as a test wants."""

    def __init__(self, *, fails: bool = False) -> None:
        self.may_connect = threading.Event()
        self.is_closed = threading.Event()
        self._fails = fails

    def connect(self, config: Config) -> "Server":
        assert config is CONFIG
        assert self.may_connect.wait(10)
        if self._fails:
            raise PostgresError("no server")
        return self

    def close(self) -> None:
        self.is_closed.set()


def replaced(monkeypatch: pytest.MonkeyPatch, server: Server) -> Server:
    monkeypatch.setattr("walpy.postgres.server.connect", server.connect)
    return server


def test_a_connection_is_closed_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    server = replaced(monkeypatch, Server())
    server.may_connect.set()
    with _connecting(CONFIG) as connecting:
        assert connecting.result(10) is server
        assert not server.is_closed.is_set()
    assert server.is_closed.is_set()


def test_a_check_that_fails_waits_for_no_connection_and_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    server = replaced(monkeypatch, Server())
    with pytest.raises(ConfigError), _connecting(CONFIG):
        raise ConfigError("an expired key")
    assert not server.is_closed.is_set()
    server.may_connect.set()
    assert server.is_closed.wait(10)


def test_a_server_that_cannot_be_reached_is_told_to_who_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    server = replaced(monkeypatch, Server(fails=True))
    server.may_connect.set()
    with pytest.raises(PostgresError, match="no server"), _connecting(CONFIG) as connecting:
        connecting.result(10)
    with pytest.raises(ConfigError), _connecting(CONFIG):
        raise ConfigError("an expired key")
    assert not server.is_closed.is_set()


@pytest.mark.parametrize(
    ("settings", "modules"),
    [
        ({"WALG_FILE_PREFIX": "/archive"}, ["walpy.backup.partition", "walpy.storage.fs"]),
        ({"WALG_GS_PREFIX": "gs://bucket"}, ["walpy.backup.partition", "walpy.storage.gcs"]),
        (
            {"WALG_FILE_PREFIX": "/archive", "WALG_CSE_KMS_ID": "alias/archive"},
            ["walpy.backup.partition", "walpy.storage.fs", "walpy.stream.aws_kms"],
        ),
        (
            {"WALG_S3_PREFIX": "s3://bucket", "WALG_VERIFY_PAGE_CHECKSUMS": "true"},
            ["walpy.backup.partition", "walpy.postgres.verifier", "walpy.storage.s3_direct"],
        ),
        ({}, ["walpy.backup.partition"]),
    ],
)
def test_workers_find_their_storage_and_cipher_imported(
    settings: dict[str, str], modules: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[str, ...]] = []

    def connect(config: Config) -> None:
        raise PostgresError("no server")

    monkeypatch.setattr(cli_backup, "start_ahead", lambda *modules: started.append(modules))
    monkeypatch.setattr("walpy.postgres.server.connect", connect)
    with pytest.raises(WalpyError):
        cli_backup.backup_push(Config.from_mapping(settings), "/data")
    assert started == [tuple(modules)]
