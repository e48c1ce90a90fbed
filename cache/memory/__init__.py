"""The engine in process: the stores, one compiled and one in Python."""
