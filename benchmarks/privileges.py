"""A harness that root started goes on as an unprivileged user: PostgreSQL never runs as root."""

import compileall
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]


def user() -> pwd.struct_passwd:
    """The account to become."""
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def give(path: Path) -> None:
    """Hand a directory tree over."""
    account = user()
    subprocess.check_call(["chown", "-R", f"{account.pw_uid}:{account.pw_gid}", str(path)])


def compile_all() -> None:
    """Compile walpy as whoever may write there: users of an installed program find it compiled."""
    import walpy

    compileall.compile_dir(str(Path(walpy.__file__).parent), quiet=2)


def become_unprivileged(work: Path, output: Path, arguments: Sequence[str]) -> None:
    """Start the harness again as an unprivileged user, from a copy of its code that this user can reach."""
    code = work / "code"
    shutil.rmtree(code, ignore_errors=True)
    shutil.copytree(PROJECT / "benchmarks", code / "benchmarks", ignore=shutil.ignore_patterns("__pycache__"))
    account = user()
    for path in (work, output):
        give(path)
    os.chdir(code)
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    environment = {**os.environ, "HOME": str(work), "USER": account.pw_name}
    os.execve(sys.executable, [sys.executable, "-m", "benchmarks", *arguments], environment)
