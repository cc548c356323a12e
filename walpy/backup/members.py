"""Objects of a data directory as members of a tar."""

import functools
import grp
import os
import pwd
import stat
from dataclasses import replace
from typing import TYPE_CHECKING

from walpy.backup import tar

if TYPE_CHECKING:
    from walpy.postgres.entry import Entry


def tar_member(entry: "Entry") -> tar.Member:
    """Describe a file or directory to a tar, its owners by name where the system knows them."""
    member = _member(entry.mode, entry.is_file, entry.uid, entry.gid)
    return replace(member, name=os.fsencode(entry.name), size=entry.size, mtime_ns=entry.mtime_ns)


def tar_header(entry: "Entry") -> bytes:
    """Header blocks of a file or directory."""
    template = _template(entry.mode, entry.is_file, entry.uid, entry.gid)
    return template.header(os.fsencode(entry.name), entry.size, entry.mtime_ns)


@functools.lru_cache(maxsize=256)
def _template(mode: int, is_file: bool, uid: int, gid: int) -> tar.HeaderTemplate:
    return tar.HeaderTemplate(_member(mode, is_file, uid, gid))


def _member(mode: int, is_file: bool, uid: int, gid: int) -> tar.Member:
    """What a tar says of the owner, kind and permissions, for any name."""
    return tar.Member(
        name=b"",
        kind=tar.REGULAR if is_file else tar.DIRECTORY,
        mode=stat.S_IMODE(mode),
        uid=uid,
        gid=gid,
        user=_user(uid),
        group=_group(gid),
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
