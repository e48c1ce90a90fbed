"""What a cache raises beyond the built-in exceptions."""


class CacheError(Exception):
    """The root of the errors that are a cache's own; catch it to catch them all."""


class SnapshotError(CacheError, ValueError):
    """A snapshot cannot be written or read: a refused value, or a file that is not a whole one.

    Raised by `save` (the message names the key) and by `load` (the message names the path, and the
    type where one was refused). The cache and the file are as they were.
    """


class CacheUnavailable(CacheError, ConnectionError):
    """The server behind a cache cannot be reached, or did not answer in time.

    What the call was to change may or may not have been changed.
    """
