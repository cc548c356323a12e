"""The commands that move WAL and backups: their flags, as WAL-G has them; each body is one call.

Bodies are imported when their command runs: help, completion and backup-list need not load a database driver.
"""

from typing import Annotated

import typer

from walpy import cli_plain
from walpy.archive import open_archive, open_wal_archive
from walpy.cli_invocation import Invocation
from walpy.cli_usage import Command
from walpy.config import FAILOVER_KEY, Config

TargetStorage = Annotated[
    str, typer.Option("--target-storage", metavar="NAME", help="Storage to use: default, or a failover storage's name.")
]
GROUPING = "Accepted; walpy groups files in its own way."


def _load(ctx: typer.Context, target_storage: str) -> Config:
    return ctx.ensure_object(Invocation).load(target_storage)


def wal_push(
    ctx: typer.Context,
    path: Annotated[str, typer.Argument(metavar="WAL_FILEPATH", help="%p of archive_command.", show_default=False)],
    missing: Annotated[
        bool, typer.Option("--missing", help="The path is a data directory's: archive what the archive lacks of it.")
    ] = False,
    target_storage: TargetStorage = "",
) -> None:
    """Archive a WAL file, and others that are ready beside it."""
    archive = open_wal_archive(_load(ctx, target_storage), is_writing=True)
    if missing:
        from walpy.wal.missing import push_missing

        push_missing(archive, path)
    else:
        from walpy.wal.push import wal_push as push

        push(archive, path)


def wal_fetch(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="WAL_NAME", help="%f of restore_command.")],
    destination: Annotated[str, typer.Argument(metavar="DESTINATION_FILENAME", help="%p of restore_command.")],
    target_storage: TargetStorage = "",
) -> None:
    """Restore a WAL file, and fetch the next ones ahead.

    Exit code 74: the archive does not have it.
    """
    from walpy.wal.fetch import wal_fetch as fetch

    fetch(open_wal_archive(_load(ctx, target_storage), is_writing=False), name, destination)


def wal_prefetch(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="WAL_NAME")],
    location: Annotated[str, typer.Argument(metavar="PREFETCH_LOCATION")],
    target_storage: TargetStorage = "",
) -> None:
    """Fetch the WAL files that follow one; wal-fetch starts it."""
    from walpy.wal.prefetch import wal_prefetch as prefetch

    prefetch(open_wal_archive(_load(ctx, target_storage), is_writing=False), name, location)


def backup_push(
    ctx: typer.Context,
    data_directory: Annotated[
        str, typer.Argument(metavar="DB_DIRECTORY", help="The server's data directory.", show_default=False)
    ] = "",
    full: Annotated[bool, typer.Option("--full", "-f", help="Take a full backup, never a delta.")] = False,
    permanent: Annotated[bool, typer.Option("--permanent", "-p", help="Protect the backup from deletion.")] = False,
    verify: Annotated[bool, typer.Option("--verify", "-v", help="Verify page checksums.")] = False,
    store_all_corrupt: Annotated[
        bool, typer.Option("--store-all-corrupt", "-s", help="Keep all numbers of corrupt blocks, not just ten a file.")
    ] = False,
    without_files_metadata: Annotated[
        bool, typer.Option("--without-files-metadata", help="Keep no list of files.")
    ] = False,
    add_user_data: Annotated[
        str, typer.Option("--add-user-data", metavar="JSON", help="Kept with the backup.", show_default=False)
    ] = "",
    delta_from_name: Annotated[
        str, typer.Option("--delta-from-name", metavar="NAME", help="Base of a delta.", show_default=False)
    ] = "",
    delta_from_user_data: Annotated[
        str, typer.Option("--delta-from-user-data", metavar="JSON", help="Base of a delta.", show_default=False)
    ] = "",
    rating_composer: Annotated[bool, typer.Option("--rating-composer", "-r", help=GROUPING)] = False,
    database_composer: Annotated[bool, typer.Option("--database-composer", "-b", help=GROUPING)] = False,
    copy_composer: Annotated[bool, typer.Option("--copy-composer", "-c", help=GROUPING)] = False,
    target_storage: TargetStorage = "",
) -> None:
    """Take a base backup of a running server."""
    from walpy import cli_backup

    cli_backup.backup_push(
        _load(ctx, target_storage),
        data_directory,
        full=full,
        permanent=permanent,
        verify=verify,
        store_all_corrupt=store_all_corrupt,
        without_files_metadata=without_files_metadata,
        add_user_data=add_user_data,
        delta_from_name=delta_from_name,
        delta_from_user_data=delta_from_user_data,
        rating_composer=rating_composer,
        database_composer=database_composer,
        copy_composer=copy_composer,
    )


def backup_fetch(
    ctx: typer.Context,
    destination: Annotated[
        str, typer.Argument(metavar="DESTINATION_DIRECTORY", help="Empty or absent; becomes the data directory.")
    ],
    name: Annotated[
        str, typer.Argument(metavar="BACKUP_NAME", help="A name of backup-list, or LATEST.", show_default=False)
    ] = "",
    target_user_data: Annotated[
        str, typer.Option("--target-user-data", metavar="JSON", help="Find the backup by it.", show_default=False)
    ] = "",
    mask: Annotated[
        str, typer.Option("--mask", metavar="PATTERN", help="Restore only files whose path fits.", show_default=False)
    ] = "",
    restore_spec: Annotated[
        str, typer.Option("--restore-spec", metavar="FILE", help="Where tablespaces go (JSON).", show_default=False)
    ] = "",
    restore_only: Annotated[
        list[str],
        typer.Option("--restore-only", metavar="DB[/TABLE],...", help="Restore only these.", show_default=False),
    ] = [],  # noqa: B006 - typer's way; it is never changed
    reverse_unpack: Annotated[bool, typer.Option("--reverse-unpack", help="Accepted; the result is the same.")] = False,
    skip_redundant_tars: Annotated[
        bool, typer.Option("--skip-redundant-tars", help="Skip tars that newer files replace.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Finish a restore that was interrupted.")] = False,
    target_storage: TargetStorage = "",
) -> None:
    """Restore a base backup into a directory."""
    from walpy import cli_backup

    cli_backup.backup_fetch(
        _load(ctx, target_storage),
        destination,
        name,
        target_user_data=target_user_data,
        mask=mask,
        restore_spec=restore_spec,
        restore_only=",".join(restore_only) or ("," if restore_only else ""),  # given, but empty, is no full restore
        reverse_unpack=reverse_unpack,
        skip_redundant_tars=skip_redundant_tars,
        resume=resume,
    )


def backup_list(
    ctx: typer.Context,
    detail: Annotated[bool, typer.Option("--detail", help="Show what metadata.json tells as well.")] = False,
    pretty: Annotated[bool, typer.Option("--pretty", help="Draw a table, or indent JSON.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    target_storage: TargetStorage = "",
) -> None:
    """List the backups, oldest first."""
    cli_plain.backup_list(_load(ctx, target_storage), detail=detail, pretty=pretty, json=json)


def wal_admit(
    ctx: typer.Context,
    system_identifier: Annotated[int, typer.Argument(metavar="SYSTEM_IDENTIFIER", help="As pg_controldata shows it.")],
) -> None:
    """Let a further cluster push WAL here, to every storage.

    For a cluster after pg_upgrade: it has a new system identifier, and the archive is bound to the old one.
    """
    from walpy.wal.identity import admit_everywhere

    config = _load(ctx, "")
    if config.is_set(FAILOVER_KEY):
        from walpy.backup.storages import archives_of_all

        archives = archives_of_all(config)
    else:
        archives = [open_archive(config)]
    admit_everywhere(archives, system_identifier)


def register(app: typer.Typer) -> None:
    """Add the five main commands, the first of the help."""
    app.command("wal-push", cls=Command)(wal_push)
    app.command("wal-fetch", cls=Command)(wal_fetch)
    app.command("backup-push", cls=Command)(backup_push)
    app.command("backup-fetch", cls=Command)(backup_fetch)
    app.command("backup-list", cls=Command)(backup_list)


def register_rest(app: typer.Typer) -> None:
    """Add the other commands."""
    app.command("wal-admit", cls=Command)(wal_admit)
    app.command("wal-prefetch", cls=Command, hidden=True)(wal_prefetch)
