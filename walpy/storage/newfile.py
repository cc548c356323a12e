"""NewFile: a file that gets its name when it is complete and durable, and never before.

Where the file system can (ext4, XFS, Btrfs, tmpfs, overlayfs), the file is anonymous until then (O_TMPFILE): a kill at
any moment leaves nothing at all. Elsewhere (NFS, SMB, many FUSE file systems) it has a temporary name beside its
target, in the pattern that WAL-G uses and hides from its listings.
"""

import errno
import fcntl
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress

from walpy.storage.base import Chunk

TEMPORARY = r"\.tmp\.[0-9]{8}T[0-9]{6}Z-[0-9a-f]{16}\Z"  # the end of a temporary name, as WAL-G's

FILE_MODE = 0o666  # and the umask; as WAL-G
OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY
WRITE_BEHIND = 4 << 20  # bytes after which the kernel is told to begin writing, so that the fsync at the end is short

NO_ANONYMOUS_FILES = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOSYS)  # EISDIR: kernels before 3.11
NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EMLINK)
# Naming an anonymous file can fail where other ways work: no /proc (chroot), a security module, a layered file system.
NOT_NAMEABLE = (*NO_HARD_LINKS, errno.EACCES, errno.EXDEV, errno.ENOENT, errno.ELOOP)


def is_temporary(name: str) -> bool:
    """Whether a file is on its way: its name is no object's. Most commands never need the expression compiled."""
    return ".tmp." in name and re.search(TEMPORARY, name) is not None


def sync_folder(folder: int) -> None:
    """Make a directory's entries durable. A file system that cannot sync directories has nothing better to offer."""
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in (errno.EBADF, errno.EINVAL):  # the same two that PostgreSQL's fsync_fname ignores
            raise


class _NotNameable(Exception):
    """An anonymous file that cannot be given a name; its cause says why."""


class NewFile:
    """One file on its way: write(), then publish(); close() in any case, which removes what was not published.

    open_folder: opens the target's directory, and makes it when it is missing; called again when somebody removed it.
    Raises OSError, and FileExistsError from publish(create_only=True). Memory: none.
    """

    def __init__(self, open_folder: Callable[[], int], base: str, *, anonymous: bool = True) -> None:
        self.anonymous = anonymous  # false: found out, or told, that anonymous files do not work here
        self._open_folder = open_folder
        self._base = base
        self._temporary = ""  # the name that the file has until it is published
        self._file = -1
        self._folder = -1
        self._unflushed = 0
        self._size = 0
        try:
            self._create()
        except BaseException:
            self.close()
            raise

    def write(self, chunk: Chunk) -> None:
        """Append a chunk; does not keep it."""
        done = os.write(self._file, chunk)
        while done < len(chunk):  # a signal, or the last bytes of a full disk
            done += os.write(self._file, memoryview(chunk)[done:])
        self._size += done
        self._unflushed += done
        if self._unflushed >= WRITE_BEHIND:
            with suppress(OSError):  # advice: "not needed" makes Linux begin to write what is dirty
                os.posix_fadvise(self._file, self._size - self._unflushed, self._unflushed, os.POSIX_FADV_DONTNEED)
            self._unflushed = 0

    def publish(self, *, create_only: bool) -> None:
        """Make the file durable, give it its name, make the name durable; in this order."""
        os.fsync(self._file)
        try:
            if self._temporary:
                self._publish_named(create_only)
            else:
                self._publish_anonymous(create_only)
        except FileExistsError:
            # Who put the other file may have been killed before this line, and its presence will be taken for success.
            sync_folder(self._folder)
            raise
        sync_folder(self._folder)

    def close(self) -> None:
        """Close the file; it vanishes unless it was published."""
        temporary, self._temporary = self._temporary, ""
        file, self._file = self._file, -1
        folder, self._folder = self._folder, -1
        try:
            if temporary:
                with suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=folder)
        finally:
            for descriptor in (file, folder):
                if descriptor >= 0:
                    os.close(descriptor)

    def _create(self) -> None:
        self._folder = self._open_folder()
        try:
            self._create_in_folder()
        except OSError:
            if not self._folder_was_removed():
                raise
            self._reopen_folder()
            self._create_in_folder()

    def _create_in_folder(self) -> None:
        if self.anonymous:
            try:
                # Readable too: _copy_to_name may have to read it.
                self._file = os.open(".", os.O_TMPFILE | os.O_RDWR, FILE_MODE, dir_fd=self._folder)
                return
            except OSError as error:
                if error.errno not in NO_ANONYMOUS_FILES:
                    raise
                self.anonymous = False
        self._file = self._create_named()

    def _create_named(self) -> int:
        self._temporary = self._new_temporary_name()  # before the file: a signal in between must not leave it behind
        return os.open(self._temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE_MODE, dir_fd=self._folder)

    def _new_temporary_name(self) -> str:
        return f"{self._base}.tmp.{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.urandom(8).hex()}"

    def _folder_was_removed(self) -> bool:
        """A delete removes folders that it emptied, and may meet a put that has just opened one."""
        return self._folder >= 0 and os.fstat(self._folder).st_nlink == 0

    def _reopen_folder(self) -> None:
        os.close(self._folder)
        self._folder = -1
        self._folder = self._open_folder()

    def _publish_anonymous(self, create_only: bool) -> None:
        try:
            self._name_anonymous(create_only)
        except _NotNameable:
            if self._folder_was_removed():
                self._reopen_folder()
                self._publish_anonymous(create_only)
            else:
                self.anonymous = False
                self._copy_to_name()
                self._publish_named(create_only)

    def _name_anonymous(self, create_only: bool) -> None:
        try:
            self._link_anonymous(self._base)
        except FileExistsError:
            if create_only:
                raise
            # Linux cannot link over a name. A kill between these two leaves a temporary name, and never a wrong object.
            self._temporary = self._new_temporary_name()
            self._link_anonymous(self._temporary)
            self._rename()

    def _link_anonymous(self, name: str) -> None:
        try:
            os.link(f"/proc/self/fd/{self._file}", name, dst_dir_fd=self._folder, follow_symlinks=True)
        except OSError as error:
            if error.errno in NOT_NAMEABLE:
                raise _NotNameable from error
            raise

    def _copy_to_name(self) -> None:
        anonymous = self._file
        self._file = self._create_named()
        try:
            offset = 0
            while sent := os.sendfile(self._file, anonymous, offset, 1 << 30):
                offset += sent
        finally:
            os.close(anonymous)
        os.fsync(self._file)

    def _publish_named(self, create_only: bool) -> None:
        if not create_only:
            self._rename()
            return
        try:
            os.link(self._temporary, self._base, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        except FileExistsError:
            # Two links: NFS repeated a call whose answer got lost; the name is this file's own.
            if os.fstat(self._file).st_nlink != 2:
                raise
        except OSError as error:
            if error.errno not in NO_HARD_LINKS:
                raise
            self._rename_unless_exists()
            return
        temporary, self._temporary = self._temporary, ""
        os.unlink(temporary, dir_fd=self._folder)

    def _rename_unless_exists(self) -> None:
        """Create-only without hard links: atomic among the processes of one machine, which the lock keeps apart."""
        fcntl.flock(self._folder, fcntl.LOCK_EX)  # until the folder is closed
        try:
            os.stat(self._base, dir_fd=self._folder, follow_symlinks=False)
        except FileNotFoundError:
            self._rename()
        else:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))

    def _rename(self) -> None:
        os.rename(self._temporary, self._base, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        self._temporary = ""
