"""The exceptions of this package."""


class CacheError(Exception):
    """The base class of all exceptions of this package."""


class SnapshotError(CacheError, ValueError):
    """A snapshot cannot be written or read: a value is refused, or the file is no whole snapshot.

    Raised by `save` (the message names the key) and by `load` (the message names the path, and the
    type if one was refused). The cache and the file are unchanged.
    """


class CacheUnavailable(CacheError, ConnectionError):
    """The server behind a cache cannot be reached, or did not answer in time.

    A call that fails with it may or may not have changed what it was to change.
    """
