"""`walpy st transfer`: moves objects from one storage of a configuration with failover storages to another."""

from typing import Annotated, NamedTuple

import typer

from walpy import layout
from walpy.archive import Archive, open_stored
from walpy.backup.transfer import transfer_backups
from walpy.cli_invocation import Invocation, print_result, progress_for
from walpy.cli_usage import Command
from walpy.config import ALL_STORAGES, PRIMARY_STORAGE
from walpy.config_failover import check_name, storage_configs
from walpy.errors import UsageError
from walpy.moving import MoveOptions, move_objects
from walpy.progress import Progress
from walpy.values import parse_duration
from walpy.wal.identity import take_identity

app = typer.Typer(
    help="Move objects from one storage to another: to bring home what went to a failover storage, say.",
    invoke_without_command=True,
    rich_markup_mode=None,
)

Source = Annotated[
    str, typer.Option("--source", "-s", metavar="NAME", help="Storage to move from.", show_default=False)
]
Target = Annotated[str, typer.Option("--target", "-t", metavar="NAME", help="Storage to move to.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", "-o", help="Replace objects of the target that differ from the source's.")
]
Preserve = Annotated[bool, typer.Option("--preserve", "-p", help="Copy only: nothing leaves the source.")]
FailFast = Annotated[bool, typer.Option("--fail-fast", help="End at the first object that fails.")]
Concurrency = Annotated[int, typer.Option("--concurrency", "-c", metavar="NUMBER", help="Objects at the same time.")]
MaxFiles = Annotated[
    int | None, typer.Option("--max-files", "-m", metavar="NUMBER", min=0, help="Most objects.", show_default=False)
]
MaxBackups = Annotated[
    int | None,
    typer.Option(
        "--max-backups", metavar="NUMBER", min=0, help="Most backups, unless one is named.", show_default=False
    ),
]
Checks = Annotated[
    int, typer.Option("--appearance-checks", metavar="NUMBER", min=0, help="How often to look for a copy.")
]
Interval = Annotated[
    str, typer.Option("--appearance-checks-interval", metavar="DURATION", help="How long to wait between looks.")
]


@app.callback()
def _without_command(ctx: typer.Context) -> None:
    if ctx.invoked_subcommand is None:
        print_result(ctx.get_help() + "\n")


@app.command("files", cls=Command)
def files(
    ctx: typer.Context,
    prefix: Annotated[str, typer.Argument(metavar="OBJECT|FOLDER/", help="A folder with all below it.")],
    source: Source = "",
    target: Target = PRIMARY_STORAGE,
    overwrite: Overwrite = False,
    preserve: Preserve = False,
    fail_fast: FailFast = False,
    concurrency: Concurrency = 10,
    max_files: MaxFiles = None,
    appearance_checks: Checks = 3,
    appearance_checks_interval: Interval = "1s",
) -> None:
    """Move an object, or a folder. Backups have a command of their own, which keeps each of them whole."""
    options = MoveOptions(overwrite, preserve, fail_fast, concurrency, max_files, appearance_checks)
    move = _prepare(ctx, source, target, options, appearance_checks_interval)
    move_objects(move.source, move.target, prefix, move.options, move.progress)


@app.command("pg-wals", cls=Command)
def pg_wals(
    ctx: typer.Context,
    source: Source = "",
    target: Target = PRIMARY_STORAGE,
    overwrite: Overwrite = False,
    preserve: Preserve = False,
    fail_fast: FailFast = False,
    concurrency: Concurrency = 10,
    max_files: MaxFiles = None,
    appearance_checks: Checks = 3,
    appearance_checks_interval: Interval = "1s",
) -> None:
    """Move all WAL."""
    options = MoveOptions(overwrite, preserve, fail_fast, concurrency, max_files, appearance_checks)
    move = _prepare(ctx, source, target, options, appearance_checks_interval)
    take_identity(move.source, move.target)
    move_objects(move.source, move.target, f"{layout.WAL_FOLDER}/", move.options, move.progress)


@app.command("backups", cls=Command)
def backups(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="[BACKUP_NAME]", help="Default: all.", show_default=False)] = "",
    source: Source = "",
    target: Target = PRIMARY_STORAGE,
    overwrite: Overwrite = False,
    preserve: Preserve = False,
    fail_fast: FailFast = False,
    concurrency: Concurrency = 10,
    max_files: MaxFiles = None,
    appearance_checks: Checks = 3,
    appearance_checks_interval: Interval = "1s",
    max_backups: MaxBackups = None,
) -> None:
    """Move backups, each as a whole: the target lists it when it has all of it, the source until then."""
    options = MoveOptions(overwrite, preserve, fail_fast, concurrency, max_files, appearance_checks)
    move = _prepare(ctx, source, target, options, appearance_checks_interval)
    limit = None if name else max_backups
    transfer_backups(move.source, move.target, name, move.options, move.progress, max_backups=limit)


class _Prepared(NamedTuple):
    source: Archive
    target: Archive
    options: MoveOptions
    progress: Progress


def _prepare(ctx: typer.Context, source: str, target: str, options: MoveOptions, interval: str) -> _Prepared:
    """Open both storages. Raises UsageError in WAL-G's words, ConfigError."""
    target = target or PRIMARY_STORAGE
    problem = _problem(source, target, options)
    if problem:
        raise UsageError(f"invalid flags: {problem}")
    try:
        options = options._replace(interval=max(0.0, parse_duration(interval)))
    except ValueError as error:
        ctx.fail(f"invalid argument {interval!r} for --appearance-checks-interval: {error}")
    config = ctx.ensure_object(Invocation).load()
    for name in (source, target):
        check_name(config, name)
    configs = storage_configs(config)
    return _Prepared(open_stored(configs[source]), open_stored(configs[target]), options, progress_for(config))


def _problem(source: str, target: str, options: MoveOptions) -> str:
    if not source:
        return "source storage must be specified"
    for which, name in (("source", source), ("target", target)):
        if name == ALL_STORAGES:
            return f"an explicit {which} storage must be specified instead of 'all'"
    if source == target:
        return "source and target storages must be different"
    return "" if options.concurrency >= 1 else "concurrency level must be >= 1 (which turns it off)"
