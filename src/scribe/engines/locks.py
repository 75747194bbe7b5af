"""A lock on a file that one process holds at a time, and that ends with the process however it ends."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["LockedError", "locked"]

_HELD = {errno.EACCES, errno.EAGAIN, errno.EDEADLK}
_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
"""What file systems without locks answer, such as some mounts of NFS and Lustre."""

if sys.platform == "win32":
    import msvcrt

    _FAR = 2**30
    """Windows forbids others to read what is locked: the locked byte is behind the text."""

    def _lock(file: int) -> None:
        os.lseek(file, _FAR, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


class LockedError(RuntimeError):
    """Another process, or another call in this one, holds the lock; the message says which."""


@contextlib.contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold the lock of a file, which exists as long; False where the file system has no locks.

    The lock is one of the operating system, which ends with the process: what a killed process leaves behind is a file
    that nobody holds. On NFS the server keeps the lock for all its clients.
    """
    file, supported = _opened(path)
    try:
        os.ftruncate(file, 0)
        os.lseek(file, 0, os.SEEK_SET)
        os.write(file, _holder().encode())
        yield supported
    finally:
        _close(file, path)


def _opened(path: Path) -> tuple[int, bool]:
    """Open and lock the file at a path; the one that was locked may have been removed meanwhile by who held it."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(file)
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                return file, False
            os.close(file)
            if error.errno in _HELD:
                raise LockedError(_read(path)) from error
            raise
        if _is_at(file, path):
            return file, True
        os.close(file)


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except OSError:
        return False


def _close(file: int, path: Path) -> None:
    """Remove the file before the lock ends, lest another process lock it in between; Windows removes closed files."""
    with contextlib.suppress(OSError):
        if sys.platform != "win32":
            path.unlink()
    os.close(file)
    if sys.platform == "win32":
        with contextlib.suppress(OSError):
            path.unlink()


def _holder() -> str:
    return f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}"


def _read(path: Path) -> str:
    """Who holds a lock; its file may be written at this moment."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return path.read_text() or "another process"
    return "another process"
