"""Describe errors of the disk with the temporary files."""

from __future__ import annotations

import errno
import os
import tempfile

from feed_assets.errors import DiskFailed

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_TOO_MANY = {errno.EMFILE, errno.ENFILE}


def disk_failed(what: str, failure: OSError) -> DiskFailed:
    """Return the error for a failed operation on temporary files: what failed, why, what to do."""
    why = failure.strerror or str(failure) or type(failure).__name__
    if failure.filename is not None and not isinstance(failure.filename, int):
        why += f": {os.fsdecode(failure.filename)}"
    if failure.errno in NO_ROOM:
        todo = "free some room there, or set TMPDIR to another folder"
    elif failure.errno in _TOO_MANY:
        todo = "raise this user's limit of open files (ulimit -n)"
    else:
        todo = "look at that folder, or set TMPDIR to a different one"
    return DiskFailed(
        f"{what} ({why}); temporary files are in {_folder()}: {todo}",
        transient=failure.errno in NO_ROOM | _TOO_MANY,
    )


def _folder() -> str:
    try:
        return tempfile.gettempdir()
    except OSError:  # no usable folder; the error says so
        return os.environ.get("TMPDIR", "none of the usual folders")
