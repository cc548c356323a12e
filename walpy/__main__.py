"""Entry point: runs wal-push, wal-fetch and wal-prefetch itself, hands everything else to cli.

PostgreSQL starts these once for every segment, so nothing that they do not need is imported. Whatever is not the plain
form of one of them (help, an unknown flag, a wrong number of arguments) is cli's to answer.
"""

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence

from walpy import client, interrupts
from walpy.agent.start import is_agent_wanted, start_agent
from walpy.collector import look_seldom
from walpy.config import PRIMARY_STORAGE, Config, load_config
from walpy.detached import start_detached
from walpy.errors import Interrupted, ObjectMissing, UsageError
from walpy.logs import configure_logging, exit_now, log_failure, start_logging
from walpy.request import Request, parse

TELLING_SECONDS = 0.2  # for the last line, when stderr may not take it
RECOVERY_DESTINATION = "pg_wal/RECOVERYXLOG"  # PostgreSQL's; its working directory is the data directory


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command and end the process. argv: without the program's name; default: the process's own."""
    look_seldom()
    arguments = list(sys.argv[1:] if argv is None else argv)
    start_logging()
    request = parse(arguments)
    exit_now(run(request) if request else run_cli(arguments))


def run(request: Request) -> int:
    """Run a command of this module; its exit code, all messages told."""
    config, socket_path = Config(), ""
    interrupts.catch(lambda number: signal_code(request.command, number))
    try:
        config = load_config(request.flags, os.environ, request.config_path)
        configure_logging(config)
        _check_target(config)
        socket_path = client.unanswered if is_agent_wanted(config) else ""
        COMMANDS[request.command](config, *request.arguments)
        start_agent(socket_path, config, os.environ)
    except Exception as error:  # noqa: BLE001 - the last place to turn a defect into a line and an exit code
        code = fail(request, error, config)
        if isinstance(error, ObjectMissing):
            with contextlib.suppress(Interrupted):  # what there is to tell has been told
                start_agent(socket_path, config, os.environ)
        return code
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
    """Run any other command: imports the whole command line, but for the plain form of short commands."""
    interrupts.catch(_late_code)
    try:
        from walpy.cli_plain import run_plain

        code = run_plain(argv)
        if code is None:
            from walpy.cli import main as cli_main

            code = cli_main(argv)
    except Interrupted as error:  # while the command line was loaded
        log_failure(error)
        return 128 + error.signal_number
    # Wrong usage, or a pgbackrest wal-fetch that failed: a recovery must not take it for the end of the archive.
    if code == 1 and "wal-fetch" in argv:
        return _fetch_code(UsageError("wrong usage"), RECOVERY_DESTINATION, Config())
    return code


def _late_code(number: int) -> int:
    """Exit code of a command that a signal did not end in time, told if stderr takes it."""
    error = Interrupted(f"{interrupts.reason(number)}; it did not end by itself in time", "", number)
    telling = threading.Thread(target=log_failure, args=(error,), daemon=True)
    telling.start()
    telling.join(TELLING_SECONDS)
    return 128 + number


def _fetch_code(error: Exception, destination: str, config: Config) -> int:
    from walpy.wal.fetch import failure_code

    return failure_code(error, destination, config.text("PGDATA"))


def _check_target(config: Config) -> None:
    """Raise ConfigError for a `--target-storage` that no storage is."""
    if config.storage_name() != PRIMARY_STORAGE:
        from walpy.config_failover import target_name

        target_name(config)


def _push(config: Config, path: str) -> None:
    from walpy.wal.push import finish_marked, wal_push

    if not finish_marked(config, path):
        from walpy.archive import open_wal_archive

        wal_push(open_wal_archive(config, is_writing=True), path)


def _fetch(config: Config, name: str, destination: str) -> None:
    from walpy.wal.fetch import download_wal, take_prefetched
    from walpy.wal.prefetch import is_prefetch_due

    if not take_prefetched(config, name, destination):
        from walpy.archive import open_wal_archive

        download_wal(open_wal_archive(config, is_writing=False), name, destination)
    if is_prefetch_due(config, name, destination):
        _start_prefetch(config, name, destination)


def _start_prefetch(config: Config, name: str, destination: str) -> None:
    """Start wal-prefetch as a process of its own, which PostgreSQL does not wait for."""
    words = [*config.child_arguments(), "wal-prefetch", name, os.path.abspath(destination)]
    try:
        start_detached("walpy.__main__", words, config, os.environ)
    except OSError as error:  # recovery goes on without it
        logging.getLogger(__name__).warning("cannot start the prefetch: %s", error)


def _prefetch(config: Config, name: str, location: str) -> None:
    from walpy.archive import open_wal_archive
    from walpy.wal.prefetch import wal_prefetch

    if config.text("WALG_LOG_LEVEL") != "DEVEL":  # as WAL-G: nobody asked for this command
        logging.disable(logging.CRITICAL)
    wal_prefetch(open_wal_archive(config, is_writing=False), name, location)


COMMANDS: Mapping[str, Callable[..., None]] = {"wal-push": _push, "wal-fetch": _fetch, "wal-prefetch": _prefetch}

if __name__ == "__main__":
    main()
