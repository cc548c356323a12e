"""`walpy st`: looks at, moves and removes single objects of the archive, by their stored names."""

import logging
import sys
from collections.abc import Callable
from functools import partial
from typing import Annotated

import typer

from walpy import cli_transfer, objects
from walpy import object_listing as listing
from walpy.archive import Archive, open_archive
from walpy.cli_invocation import Invocation, print_result, progress_for
from walpy.cli_usage import Command, Group, separate_archives
from walpy.config import ALL_STORAGES, FAILOVER_KEY, PRIMARY_STORAGE, Config
from walpy.errors import Interrupted, StorageError, UsageError, WalpyError
from walpy.logs import log_failure

app = typer.Typer(help="Look at, move and remove single objects.", invoke_without_command=True, rich_markup_mode=None)
check = typer.Typer(help="Check access to the storage.", invoke_without_command=True, rich_markup_mode=None)
app.add_typer(check, name="check", cls=Group)
app.add_typer(cli_transfer.app, name="transfer", cls=Group)

Target = Annotated[
    str, typer.Option("--target", "-t", metavar="NAME", help="default, a failover storage's name, or all.")
]
Glob = Annotated[bool, typer.Option("--glob", "-g", help="The name is a pattern: * ? [..], part by part.")]
Name = Annotated[str, typer.Argument(metavar="OBJECT", help="As stored: wal_005/00000002.history.lz4.")]

logger = logging.getLogger(__name__)


@app.callback()
@check.callback()
def _without_command(ctx: typer.Context) -> None:
    if ctx.invoked_subcommand is None:
        print_result(ctx.get_help() + "\n")


def _on(ctx: typer.Context, target: str, body: Callable[[Archive], None]) -> None:
    """Do something with the storage that --target names; with `all`, on each in turn; one success is enough."""
    config = ctx.ensure_object(Invocation).load("" if target == ALL_STORAGES else target)
    if target != ALL_STORAGES and not config.is_set(FAILOVER_KEY):
        body(open_archive(config))
        return
    from walpy.config_failover import storage_configs

    configs = storage_configs(config)
    if target != ALL_STORAGES:
        body(open_archive(configs[target or PRIMARY_STORAGE]))
        return
    failed = [name for name, own in configs.items() if not _succeeds(name, own, body)]
    if len(failed) == len(configs):
        raise StorageError("all storages failed", "The lines above tell why.")


def _succeeds(name: str, config: Config, body: Callable[[Archive], None]) -> bool:
    logger.info("storage %s", name)
    try:
        body(open_archive(config))
    except Interrupted:
        raise
    except WalpyError as error:
        log_failure(error)
        return False
    return True


@app.command("ls", cls=Command)
def ls(
    ctx: typer.Context,
    path: Annotated[str, typer.Argument(metavar="[FOLDER]", help="Default: the root.", show_default=False)] = "",
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="All objects below.")] = False,
    all_versions: Annotated[
        bool, typer.Option("--all-versions", help="What was replaced and deleted, too (S3 buckets with versioning).")
    ] = False,
    glob: Glob = False,
    target: Target = "",
) -> None:
    """List a folder."""
    show = partial(listing.list_objects, path=path, recursive=recursive, glob=glob, all_versions=all_versions)
    _on(ctx, target, lambda archive: print_result(show(archive)))


@app.command("stat", cls=Command)
def stat(ctx: typer.Context, name: Name, glob: Glob = False, target: Target = "") -> None:
    """Show one object's size and time."""
    if glob:
        ctx.fail("the --glob flag isn't supported by 'stat', because expanding a pattern requires listing")
    _on(ctx, target, lambda archive: print_result(listing.stat_object(archive, name)))


@app.command("inspect", cls=Command)
def inspect(ctx: typer.Context, name: Name, target: Target = "") -> None:
    """Show what one object is: codec, cipher, for whom, and whether the keys in hand open it."""
    from walpy.inspecting import inspect_object

    _on(ctx, target, lambda archive: print_result(inspect_object(archive, name)))


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

    def write(archive: Archive) -> None:
        for found in listing.matching_objects(archive, name) if glob else [name]:
            try:
                objects.write_object(archive, found, sys.stdout.buffer, decrypt=decrypt, decompress=decompress)
            except OSError as error:
                raise WalpyError(f"cannot write the output: {error.strerror}") from None

    _on(ctx, target, write)


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
    if target == ALL_STORAGES:
        raise UsageError("'all' target is not supported for st get command", "Name the storage that has the object.")

    def fetch(archive: Archive) -> None:
        for found in listing.matching_objects(archive, name) if glob else [name]:
            objects.fetch_object(archive, found, destination, decrypt=not no_decrypt, decompress=not no_decompress)

    _on(ctx, target, fetch)


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
    if read_stdin and target == ALL_STORAGES:
        raise UsageError("stdin can be read once, so it goes to one storage", "Store a file, or name a storage.")
    store = partial(objects.store_file, compress=not no_compress, encrypt=not no_encrypt, overwrite=force)

    def store_file(archive: Archive) -> None:
        if read_stdin:
            store(archive, sys.stdin.buffer, paths[0])
            return
        try:
            file = open(paths[0], "rb")  # noqa: SIM115 - closed below; only its opening is ours to explain
        except OSError as error:
            raise WalpyError(f"cannot read {paths[0]!r}: {error.strerror}") from None
        with file:
            store(archive, file, paths[1])

    _on(ctx, target, store_file)


@app.command("rm", cls=Command)
def rm(
    ctx: typer.Context,
    prefix: Annotated[str, typer.Argument(metavar="OBJECT|FOLDER/", help="A folder with all below it.")],
    all_versions: Annotated[
        bool, typer.Option("--all-versions", help="With what was replaced and deleted (S3 buckets with versioning).")
    ] = False,
    version_id: Annotated[
        str, typer.Option("--version-id", metavar="ID", help="Only this version of an object.", show_default=False)
    ] = "",
    glob: Glob = False,
    target: Target = "",
) -> None:
    """Remove an object, or a folder."""
    for flag, given in (("--all-versions", all_versions), ("--glob", glob)):
        if version_id and given:
            ctx.fail(f"--version-id cannot be used together with {flag}")

    def remove(archive: Archive) -> None:
        if version_id:
            objects.remove_version(archive, prefix, version_id)
            return
        for found in listing.matching_names(archive, prefix) if glob else [prefix]:
            objects.remove_objects(archive, found, all_versions=all_versions)

    _on(ctx, target, remove)


@app.command("copy", cls=Command)
def copy(
    ctx: typer.Context,
    source: Annotated[str, typer.Option("--from", metavar="FILE", help="Configuration of the source.")] = "",
    target: Annotated[str, typer.Option("--to", metavar="FILE", help="Configuration of the target.")] = "",
    prefix: Annotated[str, typer.Option("--prefix", "-p", help="Of the names; default: all.", show_default=False)] = "",
    decrypt_source: Annotated[
        bool, typer.Option("--decrypt-source", "-d", help="Decrypt, with the source's keys.")
    ] = False,
    encrypt_source: Annotated[
        bool, typer.Option("--encrypt-source", "-e", help="Encrypt, with the target's keys.")
    ] = False,
) -> None:
    """Copy objects to another archive, as they are stored. Run it again after a failure: it goes on where it was."""
    from walpy.copying import copy_objects
    from walpy.recrypting import Recryption

    archives = separate_archives(ctx, source, target)
    recryption = None
    if decrypt_source or encrypt_source:
        recryption = Recryption(*archives, decrypt=decrypt_source, encrypt=encrypt_source)
    copy_objects(*archives, prefix, progress_for(archives[0].config), recryption)


@check.command("read", cls=Command)
def check_read(
    ctx: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(metavar="[OBJECT]...")] = None,
    target: Target = "",
) -> None:
    """Check that the storage can be listed, and holds the objects named."""
    _on(ctx, target, lambda archive: objects.check_read(archive, names or []))


@check.command("write", cls=Command)
def check_write(ctx: typer.Context, target: Target = "") -> None:
    """Check that an object can be stored and removed."""
    _on(ctx, target, objects.check_write)
