"""A harness that root started goes on as an unprivileged user: PostgreSQL never runs as root."""

import compileall
import fcntl
import os
import pwd
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from benchmarks.fresh import VARIABLE, Maker

PROJECT = Path(__file__).resolve().parents[1]
MARK = "walpy-benchmarks"  # file in a work directory: its content is the harness's own


def user() -> pwd.struct_passwd:
    """The account to become."""
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def claim(work: Path) -> None:
    """Make a work directory the harness's own. Raises FileExistsError when it holds anything else."""
    work.mkdir(parents=True, exist_ok=True)
    if not (work / MARK).exists():
        if any(work.iterdir()):
            raise FileExistsError(f"{work} holds other files: name a directory of the benchmarks' own")
        (work / MARK).touch()


def lock(work: Path) -> int:
    """Keep other runs off a work directory while the descriptor that this returns is open.

    Raises BlockingIOError when a run is under way.
    """
    descriptor = os.open(work / MARK, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise BlockingIOError(f"another run uses {work}") from error
    return descriptor


def compile_all() -> None:
    """Compile walpy as whoever may write there: users of an installed program find it compiled."""
    import walpy

    compileall.compile_dir(str(Path(walpy.__file__).parent), quiet=2)


def run_unprivileged(work: Path, arguments: Sequence[str]) -> int:
    """Run the harness as an unprivileged user, from a copy of its code that this user can reach; its exit status.

    work: claimed; becomes the user's, as everything that the user makes in it.
    """
    code = work / "code"
    shutil.rmtree(code, ignore_errors=True)
    shutil.copytree(PROJECT / "benchmarks", code / "benchmarks", ignore=shutil.ignore_patterns("__pycache__"))
    account = user()
    for path in (work, work / MARK):
        os.chown(path, account.pw_uid, account.pw_gid)
    with closing(Maker(work, account.pw_uid, account.pw_gid)) as maker:
        with maker.other as end:
            process = subprocess.Popen(
                [sys.executable, "-B", "-m", "benchmarks", *arguments],
                cwd=code,
                env={**os.environ, "HOME": str(work), "USER": account.pw_name, VARIABLE: str(end.fileno())},
                user=account.pw_uid,
                group=account.pw_gid,
                extra_groups=[],
                pass_fds=[end.fileno()],
            )
        server = threading.Thread(target=maker.serve)
        server.start()
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        try:
            return wait(process)
        finally:
            server.join()  # the harness has ended, and with it the requests


def wait(process: "subprocess.Popen[bytes]") -> int:
    """The exit status of the harness, however often somebody interrupts."""
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:  # the child has got it too, and stops its servers
            continue
