"""The commands that bring a standby forward that is too far behind: through the archive, or from host to host."""

from typing import Annotated

import typer

from walpy.cli_invocation import Invocation, print_result, progress_for
from walpy.cli_usage import Command
from walpy.config import Config
from walpy.errors import InvalidWal
from walpy.postgres.lsn import parse_lsn
from walpy.values import parse_integer

StandbyDirectory = Annotated[str, typer.Argument(metavar="PGDATA", help="The standby's data directory; it is stopped.")]
ServerDirectory = Annotated[str, typer.Argument(metavar="PGDATA", help="The running server's data directory.")]


def _load(ctx: typer.Context) -> Config:
    return ctx.ensure_object(Invocation).load()


def catchup_push(
    ctx: typer.Context,
    data_directory: ServerDirectory,
    from_lsn: Annotated[
        str, typer.Option("--from-lsn", metavar="LSN", help="The standby's position: a number, or X/Y.")
    ] = "0",
) -> None:
    """Store what changed since a standby's position.

    pg_controldata shows it as "Latest checkpoint's REDO location".
    """
    position = _position(ctx, from_lsn)
    config = _load(ctx)
    from walpy import cli_backup

    cli_backup.catchup_push(config, data_directory, position)


def _position(ctx: typer.Context, text: str) -> int:
    try:
        number = parse_lsn(text) if "/" in text else parse_integer(text)
        if number < 0:
            raise ValueError("must not be negative")
    except (ValueError, InvalidWal) as error:
        return ctx.fail(f'invalid argument "{text}" for "--from-lsn" flag: {error}')
    return number


def catchup_fetch(
    ctx: typer.Context,
    data_directory: StandbyDirectory,
    name: Annotated[str, typer.Argument(metavar="BACKUP_NAME", help="A name of catchup-list, or LATEST.")],
    use_new_unwrap: Annotated[bool, typer.Option("--use-new-unwrap", help="Accepted; the result is the same.")] = False,
) -> None:
    """Bring a stopped standby forward with what catchup-push stored."""
    del use_new_unwrap
    config = _load(ctx)
    from walpy import cli_backup

    cli_backup.catchup_fetch(config, data_directory, name)


def catchup_list(
    ctx: typer.Context,
    detail: Annotated[bool, typer.Option("--detail", help="Show what metadata.json tells as well.")] = False,
    pretty: Annotated[bool, typer.Option("--pretty", help="Draw a table, or indent JSON.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List what catchup-push stored, oldest first."""
    from walpy.archive import open_archive
    from walpy.backup.listing import catchup_list as listing

    print_result(listing(open_archive(_load(ctx)), detail=detail, pretty=pretty, json=json))


def catchup_send(
    ctx: typer.Context,
    data_directory: ServerDirectory,
    destination: Annotated[str, typer.Argument(metavar="HOST:PORT", help="Where catchup-receive listens.")],
) -> None:
    """Bring a stopped standby forward over the network; catchup-receive runs there."""
    from walpy.catchup.send import catchup_send as send

    config = _load(ctx)
    send(config, data_directory, destination, progress_for(config))


def catchup_receive(
    ctx: typer.Context,
    data_directory: StandbyDirectory,
    port: Annotated[str, typer.Argument(metavar="[HOST:]PORT", help="Where to listen; without HOST everywhere.")],
) -> None:
    """Let one catchup-send bring this stopped standby forward."""
    from walpy.catchup.receive import catchup_receive as receive

    receive(_load(ctx), data_directory, port)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("catchup-push", cls=Command)(catchup_push)
    app.command("catchup-fetch", cls=Command)(catchup_fetch)
    app.command("catchup-list", cls=Command)(catchup_list)
    app.command("catchup-send", cls=Command)(catchup_send)
    app.command("catchup-receive", cls=Command)(catchup_receive)
