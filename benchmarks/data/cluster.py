"""A PostgreSQL cluster of the benchmarks; the harness is never root, so neither is the server."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

MAJORS = (18, 17, 16, 15, 14, 13)
PREFERRED = int(os.environ.get("BENCH_MAJOR", "15"))
START_SECONDS = 120

SETTINGS = {
    "listen_addresses": "",
    "shared_buffers": "128MB",
    "max_wal_senders": "4",
    "wal_level": "replica",
    "archive_mode": "off",  # a stop of a backup that waits for the archive polls once a second
    "checkpoint_timeout": "1h",
    "max_wal_size": "8GB",
    "autovacuum": "off",
    "logging_collector": "off",
}


def program(name: str, major: int = PREFERRED) -> Path:
    """Path of a program of PostgreSQL, of this major if it is there. Raises LookupError.

    Looked for in WALPY_POSTGRES_<major>, Debian's directories and PATH.
    """
    for other in sorted(MAJORS, key=lambda other: other != major):
        if has_server(other) and (binaries(other) / name).exists():
            return binaries(other) / name
    found = shutil.which(name)
    if found is None:
        raise LookupError(f"no {name} of PostgreSQL here")
    return Path(found)


def server_since(oldest: int) -> int:
    """The major of a server that is here, not older than this one. Raises LookupError."""
    found = next((major for major in MAJORS if major >= oldest and has_server(major)), None)
    if found is None:
        raise LookupError(
            f"no server of PostgreSQL {oldest} or later here (WALPY_POSTGRES_{oldest} names its programs)"
        )
    return found


def has_server(major: int) -> bool:
    """Whether the programs of a server are here."""
    return (binaries(major) / "initdb").exists()


def binaries(major: int) -> Path:
    """Where a major's programs would be."""
    return Path(os.environ.get(f"WALPY_POSTGRES_{major}") or f"/usr/lib/postgresql/{major}/bin")


class Cluster:
    """One data directory and its server, of this major, at a socket beside it."""

    def __init__(self, directory: Path, environment: Mapping[str, str], major: int = PREFERRED) -> None:
        self.directory = directory
        self._base = environment
        self._major = major

    @property
    def sockets(self) -> Path:
        """Directory of the socket; short enough for one."""
        return self.directory.parent

    @property
    def environment(self) -> dict[str, str]:
        """The base environment with the variables of libpq for this server."""
        own = {"PGHOST": str(self.sockets), "PGPORT": "5432", "PGUSER": "postgres", "PGDATABASE": "postgres"}
        return {**self._base, **own, "PGDATA": str(self.directory)}

    @property
    def size(self) -> int:
        """Bytes of what a backup reads: all files but WAL."""
        files = (path for path in self.directory.rglob("*") if "pg_wal" not in path.parts and path.is_file())
        return sum(path.stat().st_size for path in files)

    def initialise(self, settings: Mapping[str, str]) -> None:
        """Make the data directory: checksums, superuser postgres, locale C."""
        options = ["-k", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"]
        self.call(str(program("initdb", self._major)), "-D", str(self.directory), *options)
        self.configure(settings)

    def configure(self, settings: Mapping[str, str]) -> None:
        """Append settings to postgresql.auto.conf."""
        with (self.directory / "postgresql.auto.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def start(self) -> int:
        """Start the server; its process."""
        options = f"-k {self.sockets} -p 5432"
        log = str(self.sockets / "server.log")
        control = [str(program("pg_ctl", self._major)), "-D", str(self.directory), "-l", log]
        self.call(*control, "-w", "-t", str(START_SECONDS), "-o", options, "start")
        return int((self.directory / "postmaster.pid").read_text().split("\n", 1)[0])

    def stop(self) -> None:
        """Stop the server, if it runs, after a checkpoint."""
        if (self.directory / "postmaster.pid").exists():
            control = [str(program("pg_ctl", self._major)), "-D", str(self.directory), "-t", str(START_SECONDS)]
            subprocess.call([*control, "-m", "fast", "-w", "stop"], env=self.environment, stdout=subprocess.DEVNULL)

    def execute(self, *statements: str) -> str:
        """Run statements one by one; the output of all, stripped."""
        options = [option for statement in statements for option in ("-c", statement)]
        return self.call(str(program("psql")), "-XAtq", "-v", "ON_ERROR_STOP=1", *options).strip()

    def call(self, *command: str) -> str:
        """Run a program; its standard output. Raises RuntimeError with what it said."""
        log = self.sockets / "call.log"  # a file: a server keeps the streams of pg_ctl open
        with log.open("w") as output:
            status = subprocess.call(command, env=self.environment, cwd=self.sockets, stdout=output, stderr=output)
        if status:
            raise RuntimeError(f"{' '.join(command)}: exit {status}\n{log.read_text()[-2000:]}")
        return log.read_text()
