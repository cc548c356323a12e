"""`walpy pgbackrest`: reads the backups and the WAL of a pgBackRest repository at the archive's prefix."""

from typing import Annotated

import typer

from walpy.archive import Archive, open_stored
from walpy.cli_invocation import Invocation, print_result, progress_for
from walpy.cli_usage import Command

app = typer.Typer(
    help="Read a pgBackRest repository (PGBACKREST_STANZA).", invoke_without_command=True, rich_markup_mode=None
)


@app.callback()
def _without_command(ctx: typer.Context) -> None:
    if ctx.invoked_subcommand is None:
        print_result(ctx.get_help() + "\n")


def _archive(ctx: typer.Context) -> Archive:
    return open_stored(ctx.ensure_object(Invocation).load())


@app.command("backup-list", cls=Command)
def backup_list(
    ctx: typer.Context,
    detail: Annotated[bool, typer.Option("--detail", help="Show what the manifests tell as well.")] = False,
    pretty: Annotated[bool, typer.Option("--pretty", help="Draw a table, or indent JSON.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the backups, oldest first."""
    from walpy.pgbackrest.listing import backup_list as listing

    print_result(listing(_archive(ctx), detail=detail, pretty=pretty, json=json))


@app.command("backup-fetch", cls=Command)
def backup_fetch(
    ctx: typer.Context,
    destination: Annotated[
        str, typer.Argument(metavar="DESTINATION_DIRECTORY", help="Empty or absent; becomes the data directory.")
    ],
    name: Annotated[str, typer.Argument(metavar="BACKUP_NAME", help="A name of backup-list, or LATEST.")],
    restore_spec: Annotated[
        str, typer.Option("--restore-spec", metavar="FILE", help="Where tablespaces go (JSON).", show_default=False)
    ] = "",
) -> None:
    """Restore a backup into a directory."""
    from walpy.backup.next_steps import log_steps
    from walpy.pgbackrest.fetch import backup_fetch as fetch

    config = ctx.ensure_object(Invocation).load()
    steps = fetch(config, destination, name, progress_for(config), restore_spec=restore_spec)
    log_steps(steps)


@app.command("wal-fetch", cls=Command)
def wal_fetch(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="WAL_NAME", help="%f of restore_command.")],
    destination: Annotated[str, typer.Argument(metavar="DESTINATION_FILENAME", help="%p of restore_command.")],
) -> None:
    """Restore a WAL file. Exit code 74: the repository does not have it."""
    from walpy.pgbackrest.wal import wal_fetch as fetch

    fetch(_archive(ctx), name, destination)


@app.command("wal-show", cls=Command)
def wal_show(
    ctx: typer.Context,
    detailed_json: Annotated[
        bool, typer.Option("--detailed-json", help="Print JSON, missing segments by name.")
    ] = False,
) -> None:
    """Show the timelines of the repository's WAL, and their gaps."""
    from walpy.pgbackrest.wal import wal_show as show

    print_result(show(_archive(ctx), json=detailed_json))
