"""--restore-only on real servers: what was asked for is whole, and the printed commands clear away the rest."""

from pathlib import Path

from tests.fixtures.cluster import Cluster, archiving, client_program, give
from tests.fixtures.golden import golden_archive
from tests.fixtures.postgres import ClusterFactory
from tests.fixtures.recovery import archive_all, recover_fully
from tests.integration.walpy_process import messages

FILL = """
create table users (id serial primary key, name text);
insert into users (name) select repeat(md5(n::text), 200) || n from generate_series(1, 300) n;
alter table users alter name set storage external;
insert into users (name) select repeat(md5(n::text), 200) || n from generate_series(1, 30) n;
create index on users (md5(name));
create table parted (id int primary key, name text) partition by range (id);
create table parted_1 partition of parted for values from (0) to (500);
create table parted_2 partition of parted for values from (500) to (1000);
insert into parted select n, repeat(md5(n::text), 9) from generate_series(0, 999) n;
create table unwanted as select * from users;
"""
USERS = "select count(*) || md5(string_agg(name, ',' order by id)) from users"
PARTED = "select count(*) || md5(string_agg(name, ',' order by id)) from parted"
DATABASES = ("first", "second", "third")
RECOVERY = {"archive_mode": "off", "autovacuum": "off"}


def filled(make_cluster: ClusterFactory, archive_folder: Path) -> Cluster:
    """A server with three equal databases, one backup, and changes of one of them after it."""
    settings, environment = archiving(archive_folder)
    cluster = make_cluster(settings=settings, environment=environment, wal_segment_size_mib=1)
    for name in DATABASES:
        cluster.execute(f"create database {name}")
        cluster.execute(FILL, name)
    cluster.walpy("backup-push", str(cluster.data_directory))
    cluster.execute("update users set name = name || 'after' where id % 10 = 0", "third")
    return cluster


def steps_of(restored: Cluster, *arguments: str) -> list[str]:
    """Restore; the commands for the running server that walpy then prints."""
    result = restored.walpy("backup-fetch", str(restored.data_directory), *arguments)
    lines = [line.removeprefix("INFO:").strip() for line in messages(result.stderr)]
    return lines[lines.index("Then, because only a part was restored:") + 1 :]


def follow(restored: Cluster, steps: list[str]) -> str:
    """Run the printed commands; what they print."""
    folder = str(Path(client_program("psql")).parent)
    outputs = [
        restored.run(["sh", "-c", step], environment={"PATH": f"{restored.programs}:{folder}:/usr/bin:/bin"}).stdout
        for step in steps
    ]
    return "\n".join(outputs)


def test_one_database_and_some_tables_of_another(make_cluster: ClusterFactory, archive_folder: Path) -> None:
    cluster = filled(make_cluster, archive_folder)
    wanted = {(name, sql): cluster.execute(sql, name) for name in ("second", "third") for sql in (USERS, PARTED)}
    archive_all(cluster)
    cluster.stop()
    restored = make_cluster(initdb=False, environment=cluster.environment)
    steps = steps_of(restored, "LATEST", "--restore-only", "second,third/users", "--restore-only", "third/par*")
    recover_fully(restored, {**archiving(archive_folder)[0], **RECOVERY})
    for (name, sql), expected in wanted.items():
        assert restored.execute(sql, name) == expected
        assert restored.execute(f"set enable_seqscan = off; {sql} where id > 0", name)
    inserted = "insert into users (name) values ('new') returning id"
    assert [restored.execute(inserted, name) for name in ("second", "third")] == ["331", "331"]
    assert sum(step.startswith("psql") for step in steps) == 1
    dumped = follow(restored, steps)
    assert "COPY public.users" in dumped
    assert "COPY public.parted_2" in dumped
    assert restored.execute("select string_agg(datname, ',' order by 1) from pg_database where oid > 16000") == (
        "second,third"
    )


def test_a_table_of_a_delta_of_wal_g_s_with_its_toast(make_cluster: ClusterFactory) -> None:
    """WAL-G's lists have TOAST tables by their names, and indexes by nothing: those are made anew."""
    archive = golden_archive("walg-pg16-databases")
    restored = make_cluster(archive.expected["pg_major"], initdb=False)
    copy = archive.copy(restored.base / "golden")
    give(copy)
    restored.environment.update(archive.environment(copy))
    spec = restored.base / "spec.json"
    place = restored.base / "ts1"
    spec.write_text(
        f'{{"base_prefix":"/","tablespaces":["17176"],"17176":{{"loc":"{place}","link":"pg_tblspc/17176"}}}}'
    )
    steps = steps_of(
        restored, archive.expected["backups"][-1], "--restore-only", "app1/docs", "--restore-spec", str(spec)
    )
    recover_fully(restored, {"restore_command": archiving(copy)[0]["restore_command"], **RECOVERY})
    follow(restored, [step for step in steps if step.startswith("psql")])
    digest = "select count(*)||' '||coalesce(md5(string_agg(t::text, ',' order by id)),'-') from docs t"
    assert restored.execute(f"set enable_seqscan = off; {digest}", "app1") == "20 7f25df15b50d8d8ebc39ecd641b31c22"
    assert restored.execute("select count(*) from pg_database where datname = 'app2'") == "0"
