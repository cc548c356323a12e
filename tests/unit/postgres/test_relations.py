"""Relations as a tree."""

from walpy.postgres.database import Table
from walpy.postgres.relations import Row, relation_tree


def row(
    oid: int,
    name: str,
    *,
    file: int | None = None,
    kind: str = "r",
    path: str | None = None,
    parent: int = 0,
    owner: int = 0,
) -> Row:
    return Row(oid, oid if file is None else file, name, kind, path, parent or None, owner or None)


def test_plain_relations() -> None:
    assert relation_tree([row(10, "public.t"), row(11, "public.i", kind="i", file=99)]) == {
        "public.t": Table(10, 10),
        "public.i": Table(11, 99),
    }


def test_mapped_catalogs_have_the_number_of_their_file() -> None:
    assert relation_tree([row(1259, "pg_catalog.pg_class", file=0, path="base/5/1259")])["pg_catalog.pg_class"] == (
        Table(1259, 1259)
    )


def test_what_has_no_file_is_left_out() -> None:
    assert relation_tree([row(12, "public.view", file=0, kind="v"), row(13, "public.index", file=0, kind="I")]) == {}


def test_all_descendants_belong_to_the_topmost_ancestor() -> None:
    rows = [
        row(3, "other.lowest", parent=2),
        row(2, "public.low", kind="p", file=0, parent=1),
        row(1, "public.top", kind="p", file=0),
    ]
    assert relation_tree(rows) == {"public.top": Table(1, 0, {"other.lowest": Table(3, 3), "public.low": Table(2, 0)})}


def test_children_of_partitioned_indexes_stand_alone() -> None:
    rows = [row(5, "public.top_idx", kind="I", file=0), row(6, "public.low_idx", kind="i", parent=5)]
    assert relation_tree(rows) == {"public.low_idx": Table(6, 6)}


def test_what_belongs_to_a_table_is_listed_below_it_too() -> None:
    toast, toast_index, index = Table(20002, 20002), Table(20003, 20003), Table(20004, 20004)
    rows = [
        row(20000, "public.top", kind="p", file=0),
        row(20001, "public.part", parent=20000),
        row(20002, "pg_toast.pg_toast_20001", kind="t", owner=20001),
        row(20003, "pg_toast.pg_toast_20001_index", kind="i", owner=20002),
        row(20004, "public.part_idx", kind="i", owner=20001, parent=20009),
    ]
    belonging = {
        "public.part": Table(20001, 20001),
        "pg_toast.pg_toast_20001": toast,
        "pg_toast.pg_toast_20001_index": toast_index,
        "public.part_idx": index,
    }
    assert relation_tree(rows) == {
        "public.top": Table(20000, 0, belonging),
        "pg_toast.pg_toast_20001": toast,
        "pg_toast.pg_toast_20001_index": toast_index,
        "public.part_idx": index,
    }


def test_system_catalogs_stand_alone() -> None:
    rows = [row(1259, "pg_catalog.pg_class"), row(2662, "pg_catalog.pg_class_oid_index", kind="i", owner=1259)]
    assert [table.subtables for table in relation_tree(rows).values()] == [{}, {}]
