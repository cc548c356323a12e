"""The structure that docs/architecture.md promises: import direction, lazy doors, settings, pickling, help."""

import ast
import collections.abc
import dataclasses
import importlib
import pickle
import pkgutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from typer.main import get_command

import walpy
from walpy.cli import app, main
from walpy.config import Config
from walpy.errors import Interrupted, WalpyError
from walpy.settings import ENCRYPTION_KEYS, IGNORED, KNOWN, POSTGRES_KEYWORDS, known

SOURCE = Path(walpy.__file__).parent

# A module imports from its own layer and those before it. The longest name that fits counts.
LAYERS = [
    [
        "walpy.errors",
        "walpy.values",
        "walpy.interrupts",
        "walpy.progress",
        "walpy.client",
        "walpy.table",
        "walpy.kernel",
        "walpy.collector",
        "walpy.fork_server",
        "walpy",
    ],
    [
        "walpy.settings",
        "walpy.config_dotenv",
        "walpy.config_yaml",
        "walpy.config_file",
        "walpy.config",
        "walpy.config_failover",
        "walpy.request",
        "walpy.detached",
    ],
    ["walpy.logs", "walpy.progress_bar", "walpy.layout", "walpy.stream", "walpy.storage", "walpy.openpgp"],
    ["walpy.archive", "walpy.pipeline", "walpy.postgres"],
    [
        "walpy.wal",
        "walpy.backup",
        "walpy.objects",
        "walpy.object_listing",
        "walpy.inspecting",
        "walpy.comparing",
        "walpy.copying",
        "walpy.recrypting",
        "walpy.moving",
        "walpy.pgbackrest",
        "walpy.catchup",
    ],
    ["walpy.agent"],
    [
        "walpy.cli_invocation",
        "walpy.cli_backup",
        "walpy.cli_plain",
        "walpy.cli_usage",
        "walpy.cli_commands",
        "walpy.cli_config",
        "walpy.cli_daemon",
        "walpy.cli_archive",
        "walpy.cli_catchup",
        "walpy.cli_st",
        "walpy.cli_storages",
        "walpy.cli_transfer",
        "walpy.cli_pgbackrest",
        "walpy.cli_delete",
        "walpy.cli",
    ],
    ["walpy.__main__"],
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}

# Modules that may import inside functions: what a command does not need must not cost its start-up.
DOORS = {
    "walpy.__main__": "the command that was asked for",
    "walpy.cli": "what only shell completion needs",
    "walpy.backup.push": "WAL delta maps, with numpy",
    "walpy.cli_backup": "the job, once its workers start",
    "walpy.cli_commands": "the body of the command that runs",
    "walpy.cli_plain": "the body of the command that runs",
    "walpy.cli_daemon": "the daemon",
    "walpy.cli_pgbackrest": "the body of the command that runs",
    "walpy.cli_storages": "what several storages need",
    "walpy.cli_st": "the body of the command that runs",
    "walpy.cli_archive": "the body of the command that runs",
    "walpy.cli_catchup": "the body of the command that runs",
    "walpy.client": "hashlib, where the interpreter has no module for one digest",
    "walpy.config_file": "the decoder of the file's type",
    "walpy.openpgp.cipher": "the keyring of gpg, for a key id",
    "walpy.backup.source_files": "numpy, for page checksums",
    "walpy.backup.summaries": "the change map, where the server keeps summaries",
    "walpy.backup.change_map": "numpy, where many blocks changed",
    "walpy.storage.s3_settings": "YAML, for one rare setting",
}

READS_ENVIRONMENT = {"walpy.__main__", "walpy.client", "walpy.agent.resident", "walpy.cli", "walpy.cli_plain"}
READS_ENVIRONMENT |= {"walpy.storage.ssh_process"}  # to hand it on to ssh
SETS_ENVIRONMENT = {"walpy.postgres.arrays"}  # for a library that takes its settings from nowhere else

TRAVELLING = ("Job", "Result", "Options", "Summary", "Settings", "Config", "Setting", "Plan")


@cache
def modules() -> dict[str, ast.Module]:
    return {
        ".".join(("walpy", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__"): ast.parse(
            path.read_text("utf-8")
        )
        for path in sorted(SOURCE.rglob("*.py"))
    }


def imported(tree: ast.AST) -> Iterator[str]:
    """Our own modules that a tree imports, names from a package as its modules."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] == "walpy")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "walpy":
            assert node.module is not None
            assert node.level == 0
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in modules() else node.module


def level(module: str) -> int:
    name = module
    while name not in LEVEL:
        name = name.rpartition(".")[0]
        assert name not in ("", "walpy"), f"{module} has no layer: add it to LAYERS"
    return LEVEL[name]


@pytest.mark.parametrize("module", modules())
def test_imports_point_one_way(module: str) -> None:
    wrong = [name for name in imported(modules()[module]) if level(name) > level(module)]
    assert wrong == [], f"{module} imports from a later layer"


@pytest.mark.parametrize("module", modules())
def test_imports_stand_at_the_top_except_behind_doors(module: str) -> None:
    functions = [node for node in ast.walk(modules()[module]) if isinstance(node, ast.FunctionDef)]
    inside = [
        ast.unparse(node)
        for function in functions
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert bool(inside) == (module in DOORS), f"{module}: {inside}"


def test_only_the_entry_reads_the_environment() -> None:
    readers = {
        module
        for module, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
        and node.attr in ("environ", "environb", "getenv")
    }
    assert readers <= READS_ENVIRONMENT | SETS_ENVIRONMENT


def test_every_known_setting_is_read_or_listed_as_ignored() -> None:
    words = {
        word
        for module, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and module != "walpy.settings"
        for word in node.value.split()
    }
    read = {key for key in KNOWN if key in words or key in POSTGRES_KEYWORDS or key in ENCRYPTION_KEYS}
    prefixes = {key for key in KNOWN if key.endswith("_PREFIX")}  # read by their kind
    assert KNOWN.keys() - read - prefixes - IGNORED == set(), "read nowhere: remove from KNOWN, or add to IGNORED"
    assert IGNORED & read == set(), "read somewhere: remove from IGNORED"
    assert KNOWN.keys() >= IGNORED


def test_every_setting_that_is_read_is_known() -> None:
    accessors = {"text", "integer", "boolean", "seconds", "size", "is_set", "origin", "invalid"}
    accessors |= {"storage_text", "storage_integer", "storage_boolean", "storage_key"}
    keys = {
        node.args[0].value
        for tree in modules().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in accessors
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
        and node.args[0].value.isupper()
    }
    assert {key for key in keys if known(key) is None} == set()


def command_lines(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from command_lines(inner, (*path, name))


@pytest.mark.parametrize("path", list(command_lines(get_command(app))), ids=lambda path: " ".join(path) or "walpy")
def test_help_of_every_command(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*path, "--help"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith(" ".join(("Usage: walpy", *path)))
    assert shown.err == ""


def all_subclasses(kind: type) -> Iterator[type]:
    for subclass in kind.__subclasses__():
        yield subclass
        yield from all_subclasses(subclass)


def import_all() -> None:
    for module in modules():
        if module != "walpy.__main__":
            importlib.import_module(module)


def test_every_module_is_found_by_the_package_walk() -> None:
    found = {item.name for item in pkgutil.walk_packages([str(SOURCE)], "walpy.")}
    assert found == modules().keys() - {"walpy"}


def test_every_error_survives_pickling() -> None:
    import_all()
    for kind in {WalpyError, *all_subclasses(WalpyError)}:
        arguments = ("what failed", "what to do", 1) if kind is Interrupted else ("what failed", "what to do")
        error = kind(*arguments)
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is kind
        assert copy.args == error.args
        assert (str(copy), copy.hint) == ("what failed", "what to do")


@cache
def classes() -> dict[str, type]:
    """Our own classes by name."""
    import_all()
    found = [value for name in modules() for value in vars(importlib.import_module(name)).values()]
    return {
        value.__name__: value
        for value in found
        if isinstance(value, type) and value.__module__.partition(".")[0] == "walpy"
    }


def travelling() -> list[type]:
    """The records that cross between processes, by the last word of their name."""
    return [
        kind
        for name, kind in sorted(classes().items())
        if (dataclasses.is_dataclass(kind) or is_named_tuple(kind))
        and name.endswith(TRAVELLING)
        and not name.startswith("_")
    ]


def is_named_tuple(kind: type) -> bool:
    return issubclass(kind, tuple) and hasattr(kind, "_fields")


def sample(hint: Any) -> Any:
    """Some value of a type."""
    if supertype := getattr(hint, "__supertype__", None):
        return sample(supertype)
    origin, arguments = get_origin(hint), get_args(hint)
    if hint in (str, int, bool, float, bytes):
        return hint("1") if hint is not bytes else b"1"
    if hint in (Any, object):  # decoded JSON
        return "text"
    if hint is type(None):
        return None
    if hint is Config:
        return Config.from_mapping({"PGUSER": "me"})
    if origin in (UnionType, Union):
        return sample(arguments[0])
    if origin is tuple:
        return tuple(sample(argument) for argument in arguments if argument is not ...)
    if is_named_tuple(hint):
        hints = get_type_hints(hint, localns={**vars(collections.abc), **classes()})
        return hint(*(sample(hints[name]) for name in hint._fields))
    if dataclasses.is_dataclass(hint):
        hints = get_type_hints(hint, localns={**vars(collections.abc), **classes()})  # some are imported for types only
        return hint(**{field.name: sample(hints[field.name]) for field in dataclasses.fields(hint) if field.init})  # type: ignore[operator]
    if origin is not None:
        return origin() if not getattr(origin, "__abstractmethods__", None) else {}
    return hint()


def test_what_travels_between_processes_is_frozen_and_pickles() -> None:
    kinds = travelling()
    assert {"PartJob", "PartitionJob"} <= {kind.__name__ for kind in kinds}
    for kind in kinds:
        assert is_named_tuple(kind) or kind.__dataclass_params__.frozen, kind  # type: ignore[attr-defined]
        value = sample(kind)
        assert pickle.loads(pickle.dumps(value)) == value, kind
