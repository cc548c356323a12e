"""The commands that look after an archive: wal-show, wal-verify, backup-mark, copy, wal-restore, wal-receive."""

from typing import Annotated

import typer

from walpy import cli_plain
from walpy.archive import open_archive, open_wal_archive
from walpy.cli_invocation import Invocation, progress_for
from walpy.cli_usage import Command, separate_archives
from walpy.errors import InvalidWal
from walpy.postgres.lsn import parse_lsn


def wal_show(
    ctx: typer.Context,
    detailed_json: Annotated[
        bool, typer.Option("--detailed-json", help="Print JSON, missing segments by name.")
    ] = False,
    without_backups: Annotated[bool, typer.Option("--without-backups", help="Leave backups out.")] = False,
) -> None:
    """Show the timelines of the archive's WAL, and their gaps."""
    config = ctx.ensure_object(Invocation).load()
    cli_plain.wal_show(config, detailed_json=detailed_json, without_backups=without_backups)


def wal_verify(
    ctx: typer.Context,
    checks: Annotated[list[str], typer.Argument(metavar="integrity|timeline...", show_default=False)],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    timeline: Annotated[
        str,
        typer.Option("--timeline", metavar="NUMBER", help="The cluster's, instead of asking it.", show_default=False),
    ] = "",
    lsn: Annotated[
        str, typer.Option("--lsn", metavar="X/Y", help="The cluster's, instead of asking it.", show_default=False)
    ] = "",
    backup_name: Annotated[
        str, typer.Option("--backup-name", metavar="NAME", help="Begin at this backup.", show_default=False)
    ] = "",
) -> None:
    """Verify that the archive holds every segment since its earliest backup, and the cluster's timeline.

    Only names are looked at, not contents. The exit code does not depend on what is found.
    """
    unknown = next((check for check in checks if check not in cli_plain.CHECKS), None)
    if unknown is not None:
        ctx.fail(f"invalid check specified: {unknown}")
    if bool(lsn) != bool(timeline):
        given, needed = ("lsn", "timeline") if lsn else ("timeline", "lsn")
        ctx.fail(f'"--{given}" flag works only in conjunction with the "--{needed}" flag')
    position = (_timeline(ctx, timeline), _lsn(ctx, lsn)) if lsn else None
    config = ctx.ensure_object(Invocation).load()
    cli_plain.wal_verify(config, checks, position=position, backup_name=backup_name, json=json)


def _timeline(ctx: typer.Context, text: str) -> int:
    try:
        return cli_plain.parse_timeline(text)
    except ValueError:
        return ctx.fail(f'invalid argument "{text}" for "--timeline" flag: expected a timeline')


def _lsn(ctx: typer.Context, text: str) -> int:
    try:
        return parse_lsn(text)
    except InvalidWal as error:
        return ctx.fail(f'invalid argument "{text}" for "--lsn" flag: {error}')


def backup_mark(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="BACKUP_NAME", help="A name of backup-list, or LATEST.")],
    impermanent: Annotated[bool, typer.Option("--impermanent", "-i", help="Take the mark away.")] = False,
) -> None:
    """Mark a backup, and those it is made on, as permanent: no delete removes it."""
    from walpy.backup.catalog import BackupSelector
    from walpy.backup.mark import backup_mark as mark
    from walpy.cli_storages import locate

    config, selector = locate(ctx.ensure_object(Invocation).load(), BackupSelector(name))
    mark(open_archive(config), selector.name, permanent=not impermanent)


def copy(
    ctx: typer.Context,
    source: Annotated[str, typer.Option("--from", "-f", metavar="FILE", help="Configuration of the source.")] = "",
    target: Annotated[str, typer.Option("--to", "-t", metavar="FILE", help="Configuration of the target.")] = "",
    backup_name: Annotated[
        str, typer.Option("--backup-name", "-b", metavar="NAME", help="Or LATEST; default: all.", show_default=False)
    ] = "",
    with_history: Annotated[
        bool, typer.Option("--with-history", "-w", help="Also the WAL that follows the backup.")
    ] = False,
) -> None:
    """Copy backups, and the WAL that they need, to another archive.

    Objects are copied as they are stored. Run it again after a failure: it goes on where it was.
    """
    from walpy.backup.copy import copy_backups

    archives = separate_archives(ctx, source, target)
    progress = progress_for(archives[0].config)
    copy_backups(archives[0], archives[1], backup_name, progress, with_history=with_history)


def wal_restore(
    ctx: typer.Context,
    target: Annotated[str, typer.Argument(metavar="TARGET_DB_DIRECTORY", help="The cluster that will be rewound.")],
    source: Annotated[str, typer.Argument(metavar="SOURCE_DB_DIRECTORY", help="The one that went on; it is filled.")],
) -> None:
    """Fetch the WAL that a cluster has removed since it parted from another one: for pg_rewind.

    Both are on this host, and stopped.
    """
    from walpy.wal.restore import wal_restore as restore

    restore(open_wal_archive(ctx.ensure_object(Invocation).load(), is_writing=False), target, source)


def wal_receive(ctx: typer.Context) -> None:
    """Archive the WAL that a server streams, without an archive_command.

    Uses a replication slot, and makes it if need be (WALG_SLOTNAME). Runs until it is stopped.
    """
    from walpy.wal.receive import wal_receive as receive

    receive(open_wal_archive(ctx.ensure_object(Invocation).load(), is_writing=True))


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("wal-show", cls=Command)(wal_show)
    app.command("wal-verify", cls=Command)(wal_verify)
    app.command("backup-mark", cls=Command)(backup_mark)
    app.command("copy", cls=Command)(copy)
    app.command("wal-restore", cls=Command)(wal_restore)
    app.command("wal-receive", cls=Command)(wal_receive)
