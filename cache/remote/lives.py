"""The ttl encoding: a ttl of any length as milliseconds that the server accepts.

The server adds the milliseconds to its clock in 64 bits, and Lua writes whole numbers in full up to
10**17. So up to 140,000 years are encoded as milliseconds, and longer ttls by their logarithm. Such
an entry never expires in practice, but its ttl comes back as the finite number that it was.
"""

from math import inf, log2, nextafter

_COUNTED = 52  # the logarithm of the longest ttl that is encoded as milliseconds
_LARGEST = nextafter(1024, 0)  # the largest exponent of a float
_DOUBLING = 2**46  # what each doubling beyond adds; there are 972 up to the largest float


def ticks(life: float, per_second: int) -> bytes:
    """Return `life` seconds in the server's form, at least one tick; b"" means never."""
    if life == inf:
        return b""
    if life * per_second <= 2**_COUNTED:
        return b"%d" % max(round(life * per_second), 1)
    doublings = log2(life) + log2(per_second) - _COUNTED
    return b"%d" % (2**_COUNTED + round(doublings * _DOUBLING))


def seconds(left: int, per_second: int) -> float:
    """Return the seconds that the server's answer stands for; -1 means never."""
    if left == -1:
        return inf
    if left <= 2**_COUNTED:
        return left / per_second
    doublings = (left - 2**_COUNTED) / _DOUBLING
    return float(2 ** min(doublings + _COUNTED - log2(per_second), _LARGEST))
