"""Errors that CODI answers with: an HTTP status, a code, a text."""

from __future__ import annotations

import errno
from typing import Any


class AgentError(Exception):
    """Becomes ``{"code", "detail", ...}`` with an HTTP status; codes are listed in docs/design/codi.md."""

    def __init__(self, status: int, code: str, detail: str, **fields: Any) -> None:
        super().__init__(status, code, detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.fields = fields

    def __str__(self) -> str:
        return self.detail


def invalid(detail: str) -> AgentError:
    """Return the error for a wrong argument."""
    return AgentError(400, "invalid_argument", detail)


def invalid_path(detail: str) -> AgentError:
    """Return the error for a path that leaves the workspace or is no path."""
    return AgentError(400, "invalid_path", detail)


def not_found(what: str) -> AgentError:
    """Return the error for what is not there."""
    return AgentError(404, "not_found", f"no {what}")


_BY_ERRNO = {
    errno.ENOENT: (404, "not_found", "there is no such file or directory"),
    errno.ENOTDIR: (409, "not_a_directory", "a part of the path is not a directory"),
    errno.EISDIR: (409, "is_a_directory", "it is a directory"),
    errno.EEXIST: (409, "exists", "it exists already"),
    errno.ENOTEMPTY: (409, "not_empty", "the directory is not empty"),
    errno.EXDEV: (400, "invalid_path", "the path leaves the workspace"),
    errno.ELOOP: (400, "invalid_path", "the path has too many links, or one that is not followed"),
    errno.ENAMETOOLONG: (400, "invalid_path", "the path or a name in it is too long"),
    errno.EINVAL: (400, "invalid_path", "the path cannot be used like this"),
    errno.EACCES: (403, "forbidden", "the file's permissions do not allow it"),
    errno.EPERM: (403, "forbidden", "the file's permissions do not allow it"),
    errno.EROFS: (403, "forbidden", "it is read-only"),
    errno.ETXTBSY: (409, "exists", "the file is in use"),
    errno.ENOSPC: (507, "disk_full", "the workspace disk is full"),
    errno.EDQUOT: (507, "disk_full", "the workspace disk is full"),
    errno.EFBIG: (413, "too_large", "the file is larger than the file system allows"),
    errno.EAGAIN: (503, "exhausted", "the container has as many processes as it may have"),
    errno.ENOMEM: (503, "exhausted", "the container is out of memory"),
    errno.EMFILE: (503, "exhausted", "too many files are open"),
    errno.ENFILE: (503, "exhausted", "too many files are open"),
    errno.ENXIO: (400, "invalid_argument", "it is not a regular file"),
}


def from_os_error(error: OSError) -> AgentError:
    """Translate what the system refused."""
    number = error.errno or 0
    if number in _BY_ERRNO:
        return AgentError(*_BY_ERRNO[number])
    return AgentError(500, "io_error", error.strerror or "input/output error")
