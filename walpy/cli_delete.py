"""`walpy delete`: removes old backups and WAL; a dry run unless --confirm is given."""

import json as json_module
import logging
import time
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from walpy.archive import Archive
from walpy.backup import delete, retention
from walpy.backup.catalog import BackupSelector
from walpy.backup.retention import Archived, Candidate, Deletion, Modifier
from walpy.backup.timestamp import Timestamp
from walpy.cli_invocation import Invocation, print_result
from walpy.cli_storages import archives_to_delete, find_in
from walpy.cli_usage import Command
from walpy.errors import BackupError

app = typer.Typer(
    help="Remove old backups and WAL. Without --confirm it only tells what would go.",
    invoke_without_command=True,
    rich_markup_mode=None,
)

Confirm = Annotated[bool, typer.Option("--confirm", help="Do it; without it nothing is removed.")]
ByTime = Annotated[bool, typer.Option("--use-sentinel-time", help="Order backups by their start times.")]
Json = Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")]
Explain = Annotated[
    str, typer.Option("--explain", metavar="NAME", help="Only tell why a backup stays or goes.", show_default=False)
]

Archives = Sequence[Archive]  # one for each storage

logger = logging.getLogger(__name__)


@app.callback()
def _without_command(ctx: typer.Context) -> None:
    if ctx.invoked_subcommand is None:
        print_result(ctx.get_help() + "\n")


def _open(ctx: typer.Context, by_time: bool) -> tuple[Archives, Archived]:
    archives = archives_to_delete(ctx.ensure_object(Invocation).load())
    return archives, delete.read_archived(*archives, by_time=by_time)


def _finish(
    archives: Archives, plan: Deletion, *, confirm: bool, json: bool, explain: str, scope: delete.Scope | None = None
) -> None:
    if explain:
        print_result(delete.explain(plan, explain))
        return
    delete.tell(plan)
    total = delete.carry_out(plan, *archives, confirm=confirm, scope=scope or delete.Scope())
    if json:
        print_result(json_module.dumps(delete.as_document(plan, total)) + "\n")


def _finish_older(
    archives: Archives, archived: Archived, target: Candidate | None, *, confirm: bool, json: bool, explain: str
) -> None:
    if target is None:
        logger.info("No backup found for deletion")
        return
    logger.info("Start delete")
    _finish(archives, retention.older_than(archived, target), confirm=confirm, json=json, explain=explain)


@app.command("retain", cls=Command)
def retain(
    ctx: typer.Context,
    words: Annotated[list[str], typer.Argument(metavar="[FULL|FIND_FULL] COUNT", show_default=False)],
    after: Annotated[
        str, typer.Option("--after", "-a", metavar="NAME|TIME", help="Keep all since then, too.", show_default=False)
    ] = "",
    confirm: Confirm = False,
    use_sentinel_time: ByTime = False,
    json: Json = False,
    explain: Explain = "",
) -> None:
    """Keep the newest backups, and remove older ones with their WAL.

    FULL counts full backups alone; FIND_FULL goes back to the full backup of a delta.
    """
    modifier = _modifier(ctx, words, [Modifier.FULL, Modifier.FIND_FULL])
    count = _count(ctx, words[-1])
    archives, archived = _open(ctx, use_sentinel_time)
    if after:
        target = retention.retain_after(archived, count, modifier, _since(archived, after))
    else:
        target = retention.retain(archived, count, modifier)
    _finish_older(archives, archived, target, confirm=confirm, json=json, explain=explain)


@app.command("before", cls=Command)
def before(
    ctx: typer.Context,
    words: Annotated[list[str], typer.Argument(metavar="[FIND_FULL] NAME|TIME", show_default=False)],
    confirm: Confirm = False,
    use_sentinel_time: ByTime = False,
    json: Json = False,
    explain: Explain = "",
) -> None:
    """Remove what is older than a backup, or than the first backup since a time (RFC 3339, with its zone)."""
    if len(words) > 1 and words[0] == Modifier.FULL.value:
        ctx.fail("unsupported moodifier for delete before command")
    modifier = _modifier(ctx, words, [Modifier.FIND_FULL])
    moment = _moment(words[-1])
    if moment is not None and moment > time.time_ns():
        ctx.fail("cannot delete before future date")
    archives, archived = _open(ctx, use_sentinel_time)
    if moment is None:
        backup = retention.newest_with_prefix(archived, words[-1])
        if backup is None:
            raise BackupError("not found", f"No backup's name begins with {words[-1]}; a time needs its zone.")
    else:
        backup = retention.first_since(archived, moment)
    target = retention.before(archived, backup, modifier) if backup else None
    _finish_older(archives, archived, target, confirm=confirm, json=json, explain=explain)


@app.command("everything", cls=Command)
def everything(
    ctx: typer.Context,
    force: Annotated[str, typer.Argument(metavar="[FORCE]", show_default=False)] = "",
    confirm: Confirm = False,
    _use_sentinel_time: ByTime = False,
) -> None:
    """Remove every object of the archive; permanent backups only with FORCE."""
    if force not in ("", "FORCE"):
        ctx.fail("expected to get one of modifiers: [FORCE] as first argument")
    archives, archived = _open(ctx, False)
    delete.remove_everything(archived, *archives, force=bool(force), confirm=confirm)


@app.command("target", cls=Command)
def target(
    ctx: typer.Context,
    words: Annotated[list[str] | None, typer.Argument(metavar="[FIND_FULL] NAME", show_default=False)] = None,
    target_user_data: Annotated[
        str, typer.Option("--target-user-data", metavar="JSON", help="Find the backup by it.", show_default=False)
    ] = "",
    confirm: Confirm = False,
    use_sentinel_time: ByTime = False,
    json: Json = False,
    explain: Explain = "",
    force_last: Annotated[bool, typer.Option("--force-last", help="Even if no usable backup is left.")] = False,
) -> None:
    """Remove one backup and all that are made on it; FIND_FULL: its whole chain. WAL stays."""
    words = list(words or [])
    whole_chain = words[:1] == [Modifier.FIND_FULL.value]
    names = words[1:] if whole_chain else words
    if len(names) != (0 if target_user_data else 1):
        ctx.fail("expected a backup name, or --target-user-data")
    archives, archived = _open(ctx, use_sentinel_time)
    selector = BackupSelector(names[0] if names else "", target_user_data)
    logger.info("%s", selector.describe())
    backup = archived.by_name[find_in(archives, selector)]
    plan = retention.without(archived, backup, whole_chain=whole_chain, force_last=force_last)
    _finish(archives, plan, confirm=confirm, json=json, explain=explain)


@app.command("garbage", cls=Command)
def garbage(
    ctx: typer.Context,
    what: Annotated[str, typer.Argument(metavar="[ARCHIVES|BACKUPS]", show_default=False)] = "",
    confirm: Confirm = False,
    _use_sentinel_time: ByTime = False,
    json: Json = False,
    explain: Explain = "",
) -> None:
    """Remove WAL that no backup needs (ARCHIVES), and what unfinished backups left (BACKUPS)."""
    scopes = {
        "": ("Running in default mode. Will remove outdated WAL files and leftover backup files.", delete.Scope()),
        "ARCHIVES": (
            "Archive-only mode selected. Will remove only outdated WAL files.",
            delete.Scope(backups=False),
        ),
        "BACKUPS": ("Backups-only mode selected. Will remove only leftover backup files.", delete.Scope(wal=False)),
    }
    if what not in scopes:
        ctx.fail("expected to get one of modifiers: [ARCHIVES BACKUPS] as first argument")
    archives, archived = _open(ctx, False)
    text, scope = scopes[what]
    logger.info("%s", text)
    for item in archived.backups:
        if item.is_permanent:
            logger.info("Backup %s is permanent, it is not eligible to be selected as the oldest backup", item.name)
    oldest = retention.oldest_eligible(archived)
    if oldest is None:
        logger.info("No backup found for deletion")
        return
    logger.info("Start delete")
    plan = retention.older_than(archived, retention.require_full(oldest))
    _finish(archives, plan, confirm=confirm, json=json, explain=explain, scope=scope)


def _modifier(ctx: typer.Context, words: list[str], known: list[Modifier]) -> Modifier:
    if len(words) == 1:
        return Modifier.NONE
    found = next((item for item in known if item.value == words[0]), None)
    if len(words) > 2 or found is None:
        ctx.fail(f"expected to get one of modifiers: [{' '.join(item.value for item in known)}] as first argument")
    return found


def _count(ctx: typer.Context, text: str) -> int:
    try:
        count = int(text)
    except ValueError:
        ctx.fail(
            f"expected to get a number as retantion count, but got: '{text}': strconv.Atoi: parsing \"{text}\": "
            "invalid syntax"
        )
    if count < 1:
        ctx.fail("cannot retain less than one backup. Check out delete everything")
    return count


def _moment(text: str) -> int | None:
    """Nanoseconds of a time; None for anything else: then it is a name."""
    try:
        return Timestamp.parse(text).ns
    except ValueError:
        return None


def _since(archived: Archived, text: str) -> Callable[[Candidate], bool]:
    """Which backups `--after` asks to keep."""
    moment = _moment(text)
    if moment is not None:
        return lambda item: archived.moment(item) >= moment
    first = next((item for item in archived.backups if item.name.startswith(text)), None)
    if first is None:
        raise BackupError("not found", f"No backup's name begins with {text}; a time needs its zone.")
    return lambda item: not archived.is_older(item, first)
