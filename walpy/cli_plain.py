"""Commands in their plain form, as cron jobs and scripts have them; each body is one call.

They run without the command-line library, which would take longer than a small archive's whole answer, and a tenth of
the backup of a gigabyte. Help, rare flags and wrong usage are for the command line (cli) to answer; it calls the same
bodies.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from walpy.archive import open_wal_archive
from walpy.cli_invocation import Invocation, print_result, told
from walpy.config import Config, Setting, split_setting_flags
from walpy.errors import InvalidWal, UsageError
from walpy.postgres.lsn import parse_lsn
from walpy.values import parse_integer

SEGMENT_SIZE_KEY = "WALG_PG_WAL_SIZE"
CHECKS = ("integrity", "timeline")
LARGEST_TIMELINE = 0xFFFFFFFF

Body = Callable[..., None]


def backup_list(config: Config, *, detail: bool = False, pretty: bool = False, json: bool = False) -> None:
    """Print the backups."""
    from walpy.backup.listing import backup_list as listing
    from walpy.cli_storages import archives_to_read

    print_result(listing(*archives_to_read(config), detail=detail, pretty=pretty, json=json))


def wal_show(config: Config, *, detailed_json: bool = False, without_backups: bool = False) -> None:
    """Print the timelines."""
    from walpy.wal.show import wal_show as show

    print_result(show(open_wal_archive(config, is_writing=False), json=detailed_json, with_backups=not without_backups))


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
    archive = open_wal_archive(config, is_writing=False)
    print_result(verify(archive, checks, place, backup_name=backup_name, json=json))


def _backup_push(config: Config, data_directory: str, **flags: bool) -> None:
    from walpy.cli_backup import backup_push

    backup_push(config, data_directory, **flags)


def _backup_fetch(config: Config, destination: str, name: str, **flags: bool) -> None:
    from walpy.cli_backup import backup_fetch

    backup_fetch(config, destination, name, **flags)


def _ask_server(config: Config) -> tuple[int, int, int]:
    """The server's timeline, position and segment size."""
    from walpy.postgres.server import connect
    from walpy.wal.position import read_position

    with connect(config) as server:
        return read_position(server)


def parse_timeline(text: str) -> int:
    """A timeline as people write it. Raises ValueError."""
    number = parse_integer(text)
    if not 0 < number <= LARGEST_TIMELINE:
        raise ValueError("expected a timeline")
    return number


def _verify_values(values: Mapping[str, str]) -> dict[str, object] | None:
    """Parameters of wal_verify; None for values that make no sense."""
    timeline, lsn = values.get("--timeline", ""), values.get("--lsn", "")
    if bool(timeline) != bool(lsn):
        return None
    try:
        position = (parse_timeline(timeline), parse_lsn(lsn)) if lsn else None
    except (ValueError, InvalidWal):
        return None
    return {"position": position, "backup_name": values.get("--backup-name", "")}


class _Plain(NamedTuple):
    """A command's body, the switches that it takes (flag → parameter), and its arguments.

    choices: what one or more arguments may be; they are handed over as one list. words: how many other arguments there
    have to be. values: flags with a value, and parse, which makes parameters of them, or None where cli has to explain.
    """

    body: Body
    switches: Mapping[str, str]
    choices: Sequence[str] = ()
    words: int = 0
    values: Sequence[str] = ()
    parse: Callable[[Mapping[str, str]], dict[str, object] | None] = dict


_COMMANDS: Mapping[str, _Plain] = {
    "backup-push": _Plain(_backup_push, {"--full": "full", "--permanent": "permanent", "--verify": "verify"}, words=1),
    "backup-fetch": _Plain(
        _backup_fetch,
        {"--reverse-unpack": "reverse_unpack", "--skip-redundant-tars": "skip_redundant_tars", "--resume": "resume"},
        words=2,
    ),
    "backup-list": _Plain(backup_list, {"--detail": "detail", "--pretty": "pretty", "--json": "json"}),
    "wal-show": _Plain(wal_show, {"--detailed-json": "detailed_json", "--without-backups": "without_backups"}),
    "wal-verify": _Plain(
        wal_verify,
        {"--json": "json"},
        CHECKS,
        values=("--timeline", "--lsn", "--backup-name"),
        parse=_verify_values,
    ),
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
    found = _sorted_out(command, rest)
    if found is None:
        return None
    parameters, arguments = found
    invocation = Invocation(flags, os.environ, config_path)
    return partial(_load_and_run, invocation, partial(command.body, **parameters), arguments)


def _sorted_out(command: _Plain, words: Iterable[str]) -> tuple[dict[str, object], list[object]] | None:
    """A body's parameters, and its arguments; None when there is anything else, or something is missing."""
    parameters: dict[str, object] = {}
    chosen: list[str] = []
    others: list[object] = []
    values: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if word in command.switches:
            parameters[command.switches[word]] = True
        elif word in command.choices:
            chosen.append(word)
        elif name in command.values:
            values[name] = value if equals else next(rest, "")
        elif word and not word.startswith("-"):
            others.append(word)
        else:
            return None
    more = command.parse(values)
    is_complete = bool(chosen) == bool(command.choices) and len(others) == command.words and all(values.values())
    if more is None or not is_complete:
        return None
    return parameters | more, [*([chosen] if chosen else []), *others]


def _load_and_run(invocation: Invocation, body: Body, arguments: Sequence[object]) -> None:
    body(invocation.load(), *arguments)
