"""What the suites are held to: that they cover every clause, and that they can fail."""
