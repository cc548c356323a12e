"""Handles of an SFTP server's files and directories, and directories made durable."""

import logging
import struct

from walpy.storage import sftp
from walpy.storage.retry import Deadline
from walpy.storage.sftp import NO_ATTRIBUTES, Answer, Connection, Fields, SftpRefusal, string

logger = logging.getLogger(__name__)


def sync_folder(connection: Connection, deadline: Deadline, folder: str) -> None:
    """Make a folder's entries durable, where the server can do so. Raises SftpRefusal when the disk fails."""
    if sftp.FSYNC in connection.extensions:
        handle = handle_of(connection, open_folder(connection, folder), deadline)
        try:
            sync_handle(connection, handle, deadline)
        finally:
            if handle and not connection.is_broken:
                connection.send(sftp.CLOSE, string(handle))


def open_folder(connection: Connection, folder: str) -> Answer:
    """Ask for a directory as if it were a file: OpenSSH's server can, and syncs it then (SFTP has no other way)."""
    return connection.send(sftp.OPEN, string(folder), struct.pack(">I", sftp.FOR_READ), NO_ATTRIBUTES)


def sync_handle(connection: Connection, handle: bytes, deadline: Deadline) -> None:
    """Make an open directory's entries durable; nothing without a handle. Raises SftpRefusal when the disk fails."""
    if not handle or sftp.FSYNC not in connection.extensions:
        return
    try:
        connection.wait(connection.extended(sftp.FSYNC, string(handle)), deadline)
    except SftpRefusal as refusal:
        if refusal.code == sftp.FAILURE:  # any other: a server, or a file system, that cannot sync directories
            raise


def handle_of(connection: Connection, answer: Answer, deadline: Deadline) -> bytes:
    """The handle in an answer to OPEN; empty when the server refused."""
    try:
        return bytes(Fields(connection.wait(answer, deadline).body).data())
    except SftpRefusal:
        return b""


def ignored(connection: Connection, answer: Answer, deadline: Deadline) -> None:
    """Wait for an answer; a refusal is of no consequence."""
    try:
        connection.wait(answer, deadline)
    except SftpRefusal as refusal:
        logger.debug("the ssh server refused: %s", refusal.message)
