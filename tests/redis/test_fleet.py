"""Four processes with near caches on one server: what one writes, all read, in its order."""

from concurrent.futures import ThreadPoolExecutor
from statistics import median

import pytest

from tests.fleet import NAMESPACE, PATIENCE, staleness, versions
from tests.servers import eventually, running

PROCESSES = 4
WRITES = 2_500  # of each process


def test_ten_thousand_versions_are_read_in_their_order_and_soon(server):
    logs = versions(server.port, PROCESSES, WRITES, near=10_000)

    assert [log.failed for log in logs] == [[]] * PROCESSES
    assert sum(len(log.written) for log in logs) == PROCESSES * WRITES
    assert [log.back for log in logs] == [[]] * PROCESSES
    assert [log.missed for log in logs] == [[]] * PROCESSES
    assert [set(log.last.values()) for log in logs] == [{WRITES // 5}] * PROCESSES
    stale = staleness(logs)
    assert max(stale) < 1.0  # the heartbeat, past which nothing is trusted
    assert median(stale) < 0.1
    assert min(log.hits for log in logs) > 0


@pytest.mark.timeout(400)
@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=pytest.mark.soak)])
def test_what_was_acknowledged_survives_each_kill_of_the_server(binary, tmp_path, kills):
    """The server writes to its disk before it answers: only near copies could be older."""
    step, durable = 10, ("--appendonly", "yes", "--appendfsync", "always")

    def reached(version):
        with server.client() as client:
            return int(client.get(f"{NAMESPACE}:0:0") or 0) >= version

    with running(binary, tmp_path, *durable) as server, ThreadPoolExecutor(1) as pool:
        writes = 5 * step * (kills + 1)
        fleet = pool.submit(versions, server.port, PROCESSES, writes, near=1000)
        for number in range(kills):
            eventually(lambda number=number: reached(step * number + step // 2))
            server.kill()
            server.restart()
        logs = fleet.result(PATIENCE)

    assert [log.back for log in logs] == [[]] * PROCESSES
    assert [log.missed for log in logs] == [[]] * PROCESSES
    assert [set(log.last.values()) for log in logs] == [{writes // 5}] * PROCESSES
    assert any(log.failed for log in logs)
    assert max(staleness(logs)) < 1.0
