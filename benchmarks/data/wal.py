"""Fills the big cluster and writes WAL of each kind upon it, in turns, so that any run of segments is a mixture."""

import re
from collections.abc import Callable
from pathlib import Path

from benchmarks.data.cluster import Cluster, program
from benchmarks.data.plan import ACCOUNTS_PER_SCALE, DataPlan

COPY_ROWS = 420_000  # of 118 bytes: about three segments
INSERT_ROWS = 500_000  # of 65 bytes and their headers: about three segments
OLTP_CLIENTS = 4
OLTP_TRANSACTIONS = 20_000  # of each client, about 600 bytes of WAL each without full-page images

Phase = tuple[str, str, str]  # kind, segment at its start, segment at its end


def load(cluster: Cluster, plan: DataPlan) -> None:
    """pgbench's tables, a table of text, an index of its strings."""
    cluster.call(str(program("pgbench")), "-i", "-q", "-s", str(plan.scale))
    words = "md5((i * 3)::text) || ' ' || md5((i % 5000)::text) as line"
    cluster.execute(
        f"create table notes as select i, {words} from generate_series(1, {plan.text_rows}) i",
        "create index on notes (md5(line))",
        "create table copied (a int, b int, c int, filler char(84))",
        f"create table rows_to_copy as select i, i % 97 as b, 0 as c, '' as d from generate_series(1, {COPY_ROWS}) i",
        f"copy rows_to_copy to '{copy_file(cluster)}'",
        "drop table rows_to_copy",
        "vacuum",
        "checkpoint",
    )


def copy_file(cluster: Cluster) -> Path:
    """Where the rows lie that are copied in."""
    return cluster.sockets / "rows.txt"


def write_wal(cluster: Cluster, plan: DataPlan) -> list[Phase]:
    """Write WAL of each kind, plan.wal_rounds times; the phases in order."""
    phases: list[Phase] = []
    for number in range(plan.wal_rounds):
        for kind, work in WORK.items():
            before = current_segment(cluster)
            work(cluster, plan, number)
            phases.append((kind, before, current_segment(cluster)))
    cluster.execute("drop table if exists inserted", "truncate copied", "select pg_switch_wal()")
    cluster.execute("checkpoint")
    return phases


def current_segment(cluster: Cluster) -> str:
    """Name of the segment that is written."""
    return cluster.execute("select pg_walfile_name(pg_current_wal_insert_lsn())")


def segments_of(cluster: Cluster) -> list[str]:
    """Names of all complete segments, oldest first."""
    current = current_segment(cluster)
    names = (path.name for path in (cluster.directory / "pg_wal").iterdir())
    return sorted(name for name in names if re.fullmatch("[0-9A-F]{24}", name) and name < current)


def write_copy(cluster: Cluster, _plan: DataPlan, _number: int) -> None:
    """COPY into a table."""
    cluster.execute(f"copy copied from '{copy_file(cluster)}'")


def write_insert(cluster: Cluster, _plan: DataPlan, number: int) -> None:
    """CREATE TABLE AS: hard to compress."""
    values = f"select i, md5((i + {number * INSERT_ROWS})::text) as a, random() as b"
    cluster.execute(
        "drop table if exists inserted", f"create table inserted as {values} from generate_series(1, {INSERT_ROWS}) i"
    )


def write_index(cluster: Cluster, _plan: DataPlan, _number: int) -> None:
    """Builds of indexes, of strings and of floats."""
    cluster.execute("create index on inserted (a)", "create index on inserted (b)")


def write_full_pages(cluster: Cluster, plan: DataPlan, number: int) -> None:
    """Scattered changes right after a checkpoint: images of full pages."""
    last = plan.scale * ACCOUNTS_PER_SCALE
    numbers = f"generate_series({number + 1}, {last}, {plan.pages_apart}) as number"
    change = f"update pgbench_accounts set abalance = abalance + 1 from {numbers} where aid = number"
    # By the index: a scan of all pages would prune what transactions have left, and log an image of each.
    cluster.execute("checkpoint", "set enable_seqscan = off", "set enable_hashjoin = off", change)


def write_oltp(cluster: Cluster, _plan: DataPlan, _number: int) -> None:
    """TPC-B long after a checkpoint, when most pages have had their image."""
    cluster.execute("alter system set full_page_writes = off", "select pg_reload_conf()")
    clients = ["-c", str(OLTP_CLIENTS), "-j", "2", "-t", str(OLTP_TRANSACTIONS)]
    cluster.call(str(program("pgbench")), "-n", *clients)
    cluster.execute("alter system reset full_page_writes", "select pg_reload_conf()")


WORK: dict[str, Callable[[Cluster, DataPlan, int], None]] = {
    "copy": write_copy,
    "insert": write_insert,
    "index": write_index,
    "full-page": write_full_pages,
    "oltp": write_oltp,
}
