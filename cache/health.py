"""What `health()` returns: how a cache is, and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self


@dataclass(frozen=True, kw_only=True)
class Health:
    """How a cache is, and why; `health["tracking"]` is `health.tracking`.

    `status` is "ok", "degraded" where the cache serves with a restriction, or "failing" where its
    calls raise. `reasons` are short texts; there are none where it is ok.

    The other fields are about a server, and keep their defaults without one. `connected`: it
    answered. `server`: its engine and version, None where it did not. `breaker`: "closed", "open"
    or "half-open". `tracking`: the near cache is told of writes. `lag`: seconds that the server
    took to answer over that connection last, or None. `pending_invalidations`: failed writes whose
    keys are to be removed before anything is read. `unreadable`: values that could not be read.
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
        """Return what follows from the reasons why a cache is failing, and those why degraded."""
        status: Any = "failing" if failing else "degraded" if degraded else "ok"
        return cls(status=status, reasons=(*failing, *degraded), **known)

    def __getitem__(self, name: str) -> Any:
        """Return the field of that name; KeyError where there is none."""
        if name not in self.__dataclass_fields__:
            raise KeyError(name)
        return getattr(self, name)
