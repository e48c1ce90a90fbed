"""Lives as the server takes them, in milliseconds, however long they are.

The server adds what it gets to its clock, in 64 bits, and Lua writes whole numbers out up to
10**17. So 140,000 years are counted one by one, and what is longer by its logarithm: it never ends,
but no finite life comes back as another one, nor as for ever.
"""

from math import inf, log2, nextafter

_COUNTED = 52  # the logarithm of the longest life that is counted
_LARGEST = nextafter(1024, 0)  # a float's
_DOUBLING = 2**46  # what each doubling beyond adds: 972 of them, up to the largest float


def ticks(life: float, per_second: int) -> bytes:
    """Return `life` seconds as the server takes them, b"" for ever; the least is one tick."""
    if life == inf:
        return b""
    if life * per_second <= 2**_COUNTED:
        return b"%d" % max(round(life * per_second), 1)
    doublings = log2(life) + log2(per_second) - _COUNTED
    return b"%d" % (2**_COUNTED + round(doublings * _DOUBLING))


def seconds(left: int, per_second: int) -> float:
    """Return what the server's answer, -1 being for ever, is in seconds."""
    if left == -1:
        return inf
    if left <= 2**_COUNTED:
        return left / per_second
    doublings = (left - 2**_COUNTED) / _DOUBLING
    return float(2 ** min(doublings + _COUNTED - log2(per_second), _LARGEST))
