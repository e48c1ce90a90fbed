"""."""

DEVIATIONS = []
