"""The parts of a cache whose entries are on a Redis or Valkey server."""
