"""`walpy st`: looks at, moves and removes single objects of the archive, by their stored names."""

import sys
from functools import partial
from typing import Annotated

import typer

from walpy import cli_transfer, objects
from walpy.archive import Archive, open_archive
from walpy.cli_invocation import Invocation, print_result, progress_for
from walpy.cli_usage import Command, Group, separate_archives
from walpy.config import ALL_STORAGES, FAILOVER_KEY, PRIMARY_STORAGE
from walpy.errors import UsageError, WalpyError

app = typer.Typer(help="Look at, move and remove single objects.", invoke_without_command=True, rich_markup_mode=None)
check = typer.Typer(help="Check access to the storage.", invoke_without_command=True, rich_markup_mode=None)
app.add_typer(check, name="check", cls=Group)
app.add_typer(cli_transfer.app, name="transfer", cls=Group)

Target = Annotated[
    str, typer.Option("--target", "-t", metavar="NAME", help="Storage to use: default, or a failover storage's name.")
]
Glob = Annotated[bool, typer.Option("--glob", "-g", help="The name is a pattern: * ? [..], part by part.")]
Name = Annotated[str, typer.Argument(metavar="OBJECT", help="As stored: wal_005/00000002.history.lz4.")]


@app.callback()
@check.callback()
def _without_command(ctx: typer.Context) -> None:
    if ctx.invoked_subcommand is None:
        print_result(ctx.get_help() + "\n")


def _archive(ctx: typer.Context, target: str) -> Archive:
    config = ctx.ensure_object(Invocation).load("" if target == ALL_STORAGES else target)
    if not config.is_set(FAILOVER_KEY):
        return open_archive(config)
    if target == ALL_STORAGES:
        raise UsageError("--target=all is not supported with failover storages", "Name one storage at a time.")
    from walpy.config_failover import storage_configs

    return open_archive(storage_configs(config)[target or PRIMARY_STORAGE])


@app.command("ls", cls=Command)
def ls(
    ctx: typer.Context,
    path: Annotated[str, typer.Argument(metavar="[FOLDER]", help="Default: the root.", show_default=False)] = "",
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="All objects below.")] = False,
    glob: Glob = False,
    target: Target = "",
) -> None:
    """List a folder."""
    print_result(objects.list_objects(_archive(ctx, target), path, recursive=recursive, glob=glob))


@app.command("stat", cls=Command)
def stat(ctx: typer.Context, name: Name, target: Target = "") -> None:
    """Show one object's size and time."""
    print_result(objects.stat_object(_archive(ctx, target), name))


@app.command("inspect", cls=Command)
def inspect(ctx: typer.Context, name: Name, target: Target = "") -> None:
    """Show what one object is: codec, cipher, for whom, and whether the keys in hand open it."""
    from walpy.inspecting import inspect_object

    print_result(inspect_object(_archive(ctx, target), name))


@app.command("cat", cls=Command)
def cat(
    ctx: typer.Context,
    name: Name,
    decrypt: Annotated[bool, typer.Option("--decrypt", help="With the keys of the settings.")] = False,
    decompress: Annotated[bool, typer.Option("--decompress", help="By the extension of the name.")] = False,
    glob: Glob = False,
    target: Target = "",
) -> None:
    """Write an object to stdout, as it is stored."""
    archive = _archive(ctx, target)
    for found in objects.matching_objects(archive, name) if glob else [name]:
        try:
            objects.write_object(archive, found, sys.stdout.buffer, decrypt=decrypt, decompress=decompress)
        except OSError as error:
            raise WalpyError(f"cannot write the output: {error.strerror}") from None


@app.command("get", cls=Command)
def get(
    ctx: typer.Context,
    name: Name,
    destination: Annotated[str, typer.Argument(metavar="FILE|DIRECTORY", help="The file must not exist.")],
    no_decompress: Annotated[bool, typer.Option("--no-decompress", help="Keep the bytes as stored.")] = False,
    no_decrypt: Annotated[bool, typer.Option("--no-decrypt", help="Do not decrypt, as for documents.")] = False,
    glob: Glob = False,
    target: Target = "",
) -> None:
    """Write an object to a new file: decrypted if a key is set, decompressed by the extension of its name."""
    archive = _archive(ctx, target)
    for found in objects.matching_objects(archive, name) if glob else [name]:
        objects.fetch_object(archive, found, destination, decrypt=not no_decrypt, decompress=not no_decompress)


@app.command("put", cls=Command)
def put(
    ctx: typer.Context,
    paths: Annotated[list[str], typer.Argument(metavar="[FILE] OBJECT", help="With -s: OBJECT alone.")],
    read_stdin: Annotated[bool, typer.Option("--read-stdin", "-s", help="Store what comes on stdin.")] = False,
    no_compress: Annotated[bool, typer.Option("--no-compress", help="Store the bytes as they are.")] = False,
    no_encrypt: Annotated[bool, typer.Option("--no-encrypt", help="Store it plain, whatever key is set.")] = False,
    force: Annotated[bool, typer.Option("--force", "-f", help="Overwrite an object that exists.")] = False,
    target: Target = "",
) -> None:
    """Store a file, compressed, and encrypted if a key is set; the codec's extension is appended to the name."""
    expected = 1 if read_stdin else 2
    if len(paths) != expected:
        ctx.fail(f"accepts {expected} arg(s), received {len(paths)}")
    archive = _archive(ctx, target)
    store = partial(objects.store_file, archive, compress=not no_compress, encrypt=not no_encrypt, overwrite=force)
    if read_stdin:
        store(sys.stdin.buffer, paths[0])
        return
    try:
        file = open(paths[0], "rb")  # noqa: SIM115 - closed below; only its opening is ours to explain
    except OSError as error:
        raise WalpyError(f"cannot read {paths[0]!r}: {error.strerror}") from None
    with file:
        store(file, paths[1])


@app.command("rm", cls=Command)
def rm(
    ctx: typer.Context,
    prefix: Annotated[str, typer.Argument(metavar="OBJECT|FOLDER/", help="A folder with all below it.")],
    glob: Glob = False,
    target: Target = "",
) -> None:
    """Remove an object, or a folder."""
    archive = _archive(ctx, target)
    for found in objects.matching_objects(archive, prefix) if glob else [prefix]:
        objects.remove_objects(archive, found)


@app.command("copy", cls=Command)
def copy(
    ctx: typer.Context,
    source: Annotated[str, typer.Option("--from", metavar="FILE", help="Configuration of the source.")] = "",
    target: Annotated[str, typer.Option("--to", metavar="FILE", help="Configuration of the target.")] = "",
    prefix: Annotated[str, typer.Option("--prefix", "-p", help="Of the names; default: all.", show_default=False)] = "",
    decrypt_source: Annotated[bool, typer.Option("--decrypt-source", "-d", help="Not in this version.")] = False,
    encrypt_source: Annotated[bool, typer.Option("--encrypt-source", "-e", help="Not in this version.")] = False,
) -> None:
    """Copy objects to another archive, as they are stored. Run it again after a failure: it goes on where it was."""
    from walpy.copying import copy_objects

    if decrypt_source or encrypt_source:
        raise UsageError("st copy moves objects as they are stored; this version changes no encryption", "Use WAL-G.")
    archives = separate_archives(ctx, source, target)
    copy_objects(*archives, prefix, progress_for(archives[0].config))


@check.command("read", cls=Command)
def check_read(
    ctx: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(metavar="[OBJECT]...")] = None,
    target: Target = "",
) -> None:
    """Check that the storage can be listed, and holds the objects named."""
    objects.check_read(_archive(ctx, target), names or [])


@check.command("write", cls=Command)
def check_write(ctx: typer.Context, target: Target = "") -> None:
    """Check that an object can be stored and removed."""
    objects.check_write(_archive(ctx, target))
