"""Objects of a data directory as members of a tar."""

import functools
import grp
import os
import pwd
import stat
from typing import TYPE_CHECKING

from walpy.backup import tar

if TYPE_CHECKING:
    from walpy.postgres.datadir import Entry


def tar_member(entry: "Entry") -> tar.Member:
    """Describe a file or directory to a tar, its owners by name where the system knows them."""
    return tar.Member(
        name=os.fsencode(entry.name),
        kind=tar.REGULAR if entry.is_file else tar.DIRECTORY,
        mode=stat.S_IMODE(entry.mode),
        size=entry.size,
        mtime_ns=entry.mtime_ns,
        uid=entry.uid,
        gid=entry.gid,
        user=_user(entry.uid),
        group=_group(entry.gid),
    )


@functools.lru_cache(maxsize=256)
def _user(uid: int) -> bytes:
    try:
        return os.fsencode(pwd.getpwuid(uid).pw_name)
    except KeyError:
        return b""


@functools.lru_cache(maxsize=256)
def _group(gid: int) -> bytes:
    try:
        return os.fsencode(grp.getgrgid(gid).gr_name)
    except KeyError:
        return b""
