"""Entry point: runs wal-push, wal-fetch and wal-prefetch itself, hands everything else to cli.

PostgreSQL starts these once for every segment, so nothing that they do not need is imported. Whatever is not the plain
form of one of them (help, an unknown flag, a wrong number of arguments) is cli's to answer.
"""

import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from walpy import interrupts
from walpy.config import Config, load_config, split_setting_flags
from walpy.errors import ConfigError, Interrupted, UsageError
from walpy.logs import configure_logging, exit_now, log_failure, start_logging

ARGUMENT_COUNTS = {"wal-push": 1, "wal-fetch": 2, "wal-prefetch": 2}
TARGET_STORAGE = "--target-storage"
PRIMARY_STORAGE = "default"  # WAL-G's name of it
RECOVERY_DESTINATION = "pg_wal/RECOVERYXLOG"  # PostgreSQL's; its working directory is the data directory

# Runs walpy without the working directory on the module path: what lies there is data.
CHILD_PROGRAM = "import sys; sys.path.append(sys.argv.pop(1)); from walpy.__main__ import main; main()"


class Request(NamedTuple):
    """One of the commands that run here, as asked for."""

    command: str
    arguments: Sequence[str]
    flags: Mapping[str, str]
    config_path: str


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command and end the process. argv: without the program's name; default: the process's own."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    start_logging()
    request = parse(arguments)
    exit_now(run(request) if request else run_cli(arguments))


def parse(argv: Sequence[str]) -> Request | None:
    """What to run here; None when the command line is cli's to answer."""
    try:
        rest, flags, config_path = split_setting_flags(argv)
    except UsageError:
        return None
    plain: list[str] = []
    words = iter(rest)
    for word in words:
        name, equals, value = word.partition("=")
        if name == TARGET_STORAGE:
            value = value if equals else next(words, "")
            if not value:
                return None
            flags["WALG_TARGET_STORAGE"] = value
        elif word.startswith("-"):
            return None
        else:
            plain.append(word)
    if not plain or ARGUMENT_COUNTS.get(plain[0]) != len(plain) - 1:
        return None
    return Request(plain[0], plain[1:], flags, config_path)


def run(request: Request) -> int:
    """Run a command of this module; its exit code, all messages told."""
    config = Config()
    interrupts.catch(lambda number: signal_code(request.command, number))
    try:
        config = load_config(request.flags, os.environ, request.config_path)
        configure_logging(config)
        target = config.text("WALG_TARGET_STORAGE", PRIMARY_STORAGE)
        if target != PRIMARY_STORAGE:
            raise ConfigError(f'unknown storage "{target}"', f"There is one storage: {PRIMARY_STORAGE}.")
        COMMANDS[request.command](config, *request.arguments)
    except Exception as error:  # noqa: BLE001 - the last place to turn a defect into a line and an exit code
        return fail(request, error, config)
    return 0


def fail(request: Request, error: Exception, config: Config) -> int:
    """Tell why a command failed; its exit code."""
    log_failure(error)
    interrupts.remove_unfinished_files()
    if isinstance(error, Interrupted):
        if request.command == "wal-fetch":
            interrupts.die_by(error.signal_number)
        return signal_code(request.command, error.signal_number)
    if request.command == "wal-fetch":
        return _fetch_code(error, request.arguments[1], config)
    return 1


def signal_code(command: str, number: int) -> int:
    """Exit code of a command that a signal ends.

    PostgreSQL's startup process takes a restore_command that ends by SIGTERM, or with 128 + SIGTERM, for its own
    request to shut down. Its archiver restarts itself after codes above 125.
    """
    return 128 + number if command == "wal-fetch" else 1


def run_cli(argv: Sequence[str]) -> int:
    """Run any other command: imports the whole command line."""
    interrupts.catch(lambda number: 128 + number)
    try:
        from walpy.cli import main as cli_main

        code = cli_main(argv)
    except Interrupted as error:  # while the command line was loaded
        log_failure(error)
        return 128 + error.signal_number
    if code and "wal-fetch" in argv:  # wrong usage: a recovery must not take it for the end of the archive
        return _fetch_code(UsageError("wrong usage"), RECOVERY_DESTINATION, Config())
    return code


def _fetch_code(error: Exception, destination: str, config: Config) -> int:
    from walpy.wal.fetch import failure_code

    return failure_code(error, destination, config.text("PGDATA"))


def _push(config: Config, path: str) -> None:
    from walpy.wal.push import finish_marked, wal_push

    if not finish_marked(config, path):
        from walpy.archive import open_archive

        wal_push(open_archive(config), path)


def _fetch(config: Config, name: str, destination: str) -> None:
    from walpy.wal.fetch import download_wal, take_prefetched
    from walpy.wal.prefetch import is_prefetch_due

    if not take_prefetched(config, name, destination):
        from walpy.archive import open_archive

        download_wal(open_archive(config), name, destination)
    if is_prefetch_due(config, name, destination):
        _start_prefetch(config, name, destination)


def _start_prefetch(config: Config, name: str, destination: str) -> None:
    """Start wal-prefetch as a process of its own, which PostgreSQL does not wait for."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    program = [sys.executable, "-P", "-c", CHILD_PROGRAM, root]
    null = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
    null += [(os.POSIX_SPAWN_OPEN, stream, os.devnull, os.O_WRONLY, 0) for stream in (1, 2)]
    try:
        os.posix_spawn(
            sys.executable,
            [*program, *config.child_arguments(), "wal-prefetch", name, os.path.abspath(destination)],
            {**os.environ, **config.child_environment()},
            file_actions=null,
            setsid=True,
        )
    except OSError as error:  # recovery goes on without it
        logging.getLogger(__name__).warning("cannot start the prefetch: %s", error)


def _prefetch(config: Config, name: str, location: str) -> None:
    from walpy.archive import open_archive
    from walpy.wal.prefetch import wal_prefetch

    if config.text("WALG_LOG_LEVEL") != "DEVEL":  # as WAL-G: nobody asked for this command
        logging.disable(logging.CRITICAL)
    wal_prefetch(open_archive(config), name, location)


COMMANDS: Mapping[str, Callable[..., None]] = {"wal-push": _push, "wal-fetch": _fetch, "wal-prefetch": _prefetch}

if __name__ == "__main__":
    main()
