"""--restore-only: which items there are, and which files they mean."""

import pytest

from walpy.backup.next_steps import partial_steps
from walpy.backup.restore_only import Item, choose_relations, parse_items
from walpy.errors import BackupError, UsageError
from walpy.postgres.database import Database, Table

PARTS = {"public.p_1": Table(17010, 17010), "other.p_2": Table(17020, 17021)}
APP = Database(
    16500,
    {
        "pg_catalog.pg_class": Table(1259, 1259),
        "pg_catalog.pg_rewritten": Table(2600, 16999),
        "public.users": Table(17000, 17001),
        "pg_toast.pg_toast_17000": Table(17003, 17004),
        "pg_toast.pg_toast_17000_index": Table(17005, 17006),
        "pg_toast.pg_toast_17010": Table(17013, 17014),
        "public.users_pkey": Table(17007, 17008),
        "public.parted": Table(17009, 0, PARTS),
        "audit.log": Table(17030, 17031),
    },
)
OWNING = Table(17100, 17101, {"public.owner_pkey": Table(17102, 17103)})
OTHER = Database(16600, {"public.owner": OWNING, "public.owner_pkey": Table(17102, 17103), "pg_catalog.a": Table(1, 1)})
DATABASES = {"postgres": Database(5, {"public.mine": Table(17200, 17200)}), "app": APP, "other": OTHER}


def brought(text: str, *names: str) -> list[str]:
    """Those of the names that a restore of these items brings."""
    chosen = choose_relations(parse_items(text), DATABASES, "base_1")
    return [name for name in names if chosen.brings(name)]


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("app", [("app", "")]),
        ("app/users", [("app", "public.users")]),
        ("app/s2.users,other", [("app", "s2.users"), ("other", "")]),
        ("app/s2/users", [("app", "s2.users")]),
        ('"a,b/c"', [("a,b", "public.c")]),
    ],
)
def test_items(text: str, items: list[tuple[str, str]]) -> None:
    assert [item[1:] for item in parse_items(text)] == items


@pytest.mark.parametrize("text", ["", ",", "app,", "app/", "app/a/b/c", "app/a.b.c", "app/a.b/c", "/t", "app/.t", '"a'])
def test_malformed_items(text: str) -> None:
    with pytest.raises(UsageError, match=r"(?:Unexpected format of|malformed list)"):
        parse_items(text)


def test_a_database_comes_whole_even_what_has_no_name() -> None:
    wanted = ("base/16500/17001", "base/16500/99999.1", "pg_tblspc/1/PG_16_2/16500/17001_fsm")
    assert brought("app", *wanted, "base/16600/17101", "pg_tblspc/1/PG_16_2/16600/17101") == list(wanted)


def test_the_system_comes_always() -> None:
    system = (
        *("PG_VERSION", "global/1262", "base", "base/16600", "base/16600/PG_VERSION", "base/16600/pg_filenode.map"),
        *("base/5/17200", "base/1/1259", "base/16500/1259", "base/16500/16999_vm", "base/16600/1"),
        *("pg_tblspc/1", "pg_tblspc/1/PG_16_2/16600", "pg_xact/0000", "backup_label"),
    )
    assert brought("app/users", *system) == list(system)


def test_a_table_comes_with_its_toast() -> None:
    files = [f"base/16500/{number}" for number in (17001, 17004, 17006)]
    others = [f"base/16500/{number}" for number in (17008, 17010, 17031)]
    assert brought("app/users", *files, *others, "base/16600/17101") == files


def test_a_partitioned_table_comes_with_its_partitions_and_their_toast() -> None:
    files = [f"base/16500/{number}" for number in (17010, 17021, 17014)]
    assert brought("app/parted", *files, "base/16500/17001") == files


def test_a_partition_can_be_had_alone() -> None:
    assert brought("app/other/p_2", "base/16500/17021", "base/16500/17010") == ["base/16500/17021"]


def test_what_belongs_to_a_table_comes_with_it() -> None:
    files = ["base/16600/17101", "base/16600/17103"]
    assert brought("other/owner", *files) == files


def test_a_star_stands_for_any_characters() -> None:
    assert brought("*/*.*er*", "base/16500/17001", "base/16600/17101", "base/16500/17031") == [
        "base/16500/17001",
        "base/16600/17101",
    ]
    assert brought("a*", "base/16500/17031", "base/16600/17101") == ["base/16500/17031"]


def test_other_signs_stand_for_themselves() -> None:
    with pytest.raises(BackupError, match=r"no database 'ap\.'"):
        brought("ap.")


def test_a_database_that_has_no_name_is_left_out() -> None:
    assert brought("app", "base/16700/1259", "base/16700/PG_VERSION") == ["base/16700/PG_VERSION"]


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("ap", "backup base_1 has no database 'ap'", "Near names: app."),
        ("app/user", "backup base_1 has no table of 'app/user'", "public.users"),
        ("zzz", "backup base_1 has no database 'zzz'", "No name in the backup is like it."),
        ("app/audit.users", "no table of 'app/audit.users'", "public.users"),
    ],
)
def test_unknown_names(text: str, message: str, hint: str) -> None:
    with pytest.raises(BackupError, match=message) as caught:
        choose_relations(parse_items(text), DATABASES, "base_1")
    assert hint in caught.value.hint


def test_a_backup_without_names() -> None:
    with pytest.raises(BackupError, match="base_1 has no names of databases"):
        choose_relations([Item("app", "app", "")], {}, "base_1")


def test_what_is_left_to_do() -> None:
    databases = {**DATABASES, 'a"b': Database(16700, {})}
    assert partial_steps(choose_relations(parse_items("app/users,other/owner"), databases, "b")) == (
        """psql -d postgres -c 'DROP DATABASE "a""b"'""",
        """psql -d app -c 'REINDEX TABLE "public"."users"'""",
        "pg_dump --table=public.users app   # its other tables have no files",
        "pg_dump --table=public.owner other   # its other tables have no files",
    )
    assert partial_steps(choose_relations(parse_items("app,app/users,other"), DATABASES, "b")) == ()


def test_partitions_are_dumped_by_their_names() -> None:
    chosen = choose_relations(parse_items("app/parted,other"), DATABASES, "b")
    assert chosen.tables == {"app": ("other.p_2", "public.p_1", "public.parted")}
