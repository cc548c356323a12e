"""What is asked of a server, where a real one of that version may not be at hand."""

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from walpy.postgres.server import Server, StoppedBackup

if TYPE_CHECKING:
    import psycopg


class FakeConnection:
    """Notes statements with their parameters, and answers them like a stopped backup."""

    def __init__(self, version_num: int) -> None:
        self.info = SimpleNamespace(server_version=version_num)
        self.statements: list[str] = []

    def add_notice_handler(self, handler: object) -> None:
        """There are no notices."""

    def execute(self, sql: str, parameters: tuple[object, ...]) -> "FakeConnection":
        self.statements.append(sql % tuple(parameters))
        return self

    def fetchall(self) -> list[tuple[object, ...]]:
        return [("0/1600100", "label", "map")]


def stopped(version_num: int, **arguments: object) -> tuple[StoppedBackup, list[str]]:
    connection = FakeConnection(version_num)
    server = Server(cast("psycopg.Connection[tuple[object, ...]]", connection), "here")
    return server.stop_backup(**arguments), connection.statements  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("version", "function"), [(150000, "pg_backup_stop({})"), (140000, "pg_stop_backup(false, {})")]
)
def test_stop_with_and_without_the_servers_wait(version: int, function: str) -> None:
    backup, (timeout, statement) = stopped(version, timeout_seconds=5)
    assert backup == StoppedBackup("label", "map", 0x1600100)
    assert "'statement_timeout', 5000" in timeout
    assert function.format(True) in statement
    backup, (statement,) = stopped(version, timeout_seconds=5, wait_for_archive=False)
    assert backup == StoppedBackup("label", "map", 0x1600100)
    assert function.format(False) in statement
