"""Short commands that read the catalogue: backup-list, wal-show, wal-verify; each body is one call.

Called with switches alone, as cron jobs and scripts do, they run without the command-line library, which would take
longer than a small archive's whole answer. Help, flags with values and wrong usage are for the command line (cli) to
answer; it calls the same bodies.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from walpy.archive import open_archive
from walpy.cli_invocation import Invocation, print_result, told
from walpy.config import Config, Setting, split_setting_flags
from walpy.errors import UsageError

SEGMENT_SIZE_KEY = "WALG_PG_WAL_SIZE"
CHECKS = ("integrity", "timeline")

Body = Callable[..., None]


def backup_list(config: Config, *, detail: bool = False, pretty: bool = False, json: bool = False) -> None:
    """Print the backups."""
    from walpy.backup.listing import backup_list as listing

    print_result(listing(open_archive(config), detail=detail, pretty=pretty, json=json))


def wal_show(config: Config, *, detailed_json: bool = False, without_backups: bool = False) -> None:
    """Print the timelines."""
    from walpy.wal.show import wal_show as show

    print_result(show(open_archive(config), json=detailed_json, with_backups=not without_backups))


def wal_verify(
    config: Config,
    checks: Sequence[str],
    *,
    position: tuple[int, int] | None = None,
    backup_name: str = "",
    json: bool = False,
) -> None:
    """Print what the checks found. position: timeline and LSN of the cluster; None: ask it."""
    from walpy.wal.segment import configured_segment_size
    from walpy.wal.verify import position_of_lsn
    from walpy.wal.verify import wal_verify as verify

    if position is None:
        timeline, lsn, segment_size = _ask_server(config)
        config = config.with_settings({SEGMENT_SIZE_KEY: Setting(str(segment_size >> 20), "server")})
    else:
        timeline, lsn = position
        segment_size = configured_segment_size(config)
    place = position_of_lsn(timeline, lsn, segment_size)
    print_result(verify(open_archive(config), checks, place, backup_name=backup_name, json=json))


def _ask_server(config: Config) -> tuple[int, int, int]:
    """The server's timeline, position and segment size."""
    from walpy.postgres.server import connect
    from walpy.wal.position import read_position

    with connect(config) as server:
        return read_position(server)


class _Plain(NamedTuple):
    """A command's body, the switches that it takes, and what its arguments may be (none: it takes no arguments)."""

    body: Body
    switches: Mapping[str, str]  # flag → parameter
    arguments: Sequence[str] = ()


_COMMANDS: Mapping[str, _Plain] = {
    "backup-list": _Plain(backup_list, {"--detail": "detail", "--pretty": "pretty", "--json": "json"}),
    "wal-show": _Plain(wal_show, {"--detailed-json": "detailed_json", "--without-backups": "without_backups"}),
    "wal-verify": _Plain(wal_verify, {"--json": "json"}, CHECKS),
}


def run_plain(argv: Sequence[str]) -> int | None:
    """Run a command that is asked for in its plain form; its exit code, all messages told. None: it is cli's."""
    body = _find(argv)
    return None if body is None else told(body)


def _find(argv: Sequence[str]) -> Callable[[], None] | None:
    try:
        words, flags, config_path = split_setting_flags(argv)
    except UsageError:
        return None
    name, *rest = words or [""]
    command = _COMMANDS.get(name)
    if command is None:
        return None
    switches = [word for word in rest if word in command.switches]
    arguments = [word for word in rest if word in command.arguments]
    if len(switches) + len(arguments) < len(rest) or bool(arguments) != bool(command.arguments):
        return None
    values = {command.switches[word]: True for word in switches}
    invocation = Invocation(flags, os.environ, config_path)
    return partial(_load_and_run, invocation, partial(command.body, **values), [arguments] if arguments else [])


def _load_and_run(invocation: Invocation, body: Body, arguments: Sequence[Sequence[str]]) -> None:
    body(invocation.load(), *arguments)
