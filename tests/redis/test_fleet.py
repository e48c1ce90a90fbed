"""Four processes with near caches on one server: what one writes, all read, and in its order."""

from tests.fleet import staleness, versions

PROCESSES = 4
WRITES = 2_500  # of each process


def test_ten_thousand_versions_are_read_in_their_order_and_soon(server):
    logs = versions(server.port, PROCESSES, WRITES, near=10_000)

    assert [log.failed for log in logs] == [[]] * PROCESSES
    assert sum(len(log.written) for log in logs) == PROCESSES * WRITES
    assert [log.back for log in logs] == [[]] * PROCESSES
    assert [log.missed for log in logs] == [[]] * PROCESSES
    assert [set(log.last.values()) for log in logs] == [{WRITES // 5}] * PROCESSES
    assert max(staleness(logs)) < 1.0  # the heartbeat, past which nothing is trusted
    assert min(log.hits for log in logs) > 0
