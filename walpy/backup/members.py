"""Objects of a cluster as members of a tar."""

import functools
import grp
import os
import pwd
import stat
from dataclasses import dataclass

from walpy.backup import tar

_KINDS = {
    stat.S_IFREG: tar.REGULAR,
    stat.S_IFDIR: tar.DIRECTORY,
    stat.S_IFLNK: tar.SYMLINK,
    stat.S_IFIFO: tar.FIFO,
    stat.S_IFCHR: tar.CHARACTER,
    stat.S_IFBLK: tar.DEVICE,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of the walk.

    name: of the member, `/base/5/1259`; `/` is the data directory. path: where to read it. mode: as lstat gives it.
    size: bytes of a regular file when it was seen, else 0. link: target of a symbolic link.
    """

    name: str
    path: str
    mode: int
    size: int = 0
    mtime_ns: int = 0
    uid: int = 0
    gid: int = 0
    link: str = ""

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file, with data in the tar."""
        return stat.S_ISREG(self.mode)


def tar_member(entry: Entry) -> tar.Member:
    """Describe an object to a tar, owners by name where the system knows them."""
    return tar.Member(
        name=os.fsencode(entry.name),
        kind=_KINDS[stat.S_IFMT(entry.mode)],
        mode=stat.S_IMODE(entry.mode),
        size=entry.size,
        mtime_ns=entry.mtime_ns,
        uid=entry.uid,
        gid=entry.gid,
        user=_user(entry.uid),
        group=_group(entry.gid),
        link=os.fsencode(entry.link),
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
