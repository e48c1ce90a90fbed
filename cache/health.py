"""The result of `health()`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self


@dataclass(frozen=True, kw_only=True)
class Health:
    """The state of a cache, with the reasons; `health["tracking"]` is `health.tracking`.

    `status` is "ok", "degraded" if the cache works with a restriction, or "failing" if its calls
    raise. `reasons` are short texts; there are none if the status is "ok".

    The other fields are about a server, and keep their defaults without one. `connected`: it
    answered. `server`: its engine and version, None if it did not answer. `breaker`: "closed",
    "open" or "half-open". `tracking`: the server reports writes to the near cache. `lag`: the
    seconds that its last answer over that connection took, or None. `pending_invalidations`: failed
    writes whose keys will be removed before anything is read. `unreadable`: values that could not
    be read.
    """

    status: Literal["ok", "degraded", "failing"]
    reasons: tuple[str, ...]
    connected: bool | None = None
    server: str | None = None
    breaker: str | None = None
    tracking: bool | None = None
    lag: float | None = None
    pending_invalidations: int = 0
    unreadable: int = 0

    @classmethod
    def of(cls, failing: Sequence[str], degraded: Sequence[str], **known: Any) -> Self:
        """Return the status and all reasons, from those for "failing" and those for "degraded"."""
        status: Any = "failing" if failing else "degraded" if degraded else "ok"
        return cls(status=status, reasons=(*failing, *degraded), **known)

    def __getitem__(self, name: str) -> Any:
        """Return the field of that name; KeyError where there is none."""
        if name not in self.__dataclass_fields__:
            raise KeyError(name)
        return getattr(self, name)
