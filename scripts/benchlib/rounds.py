"""Runs a case: all its servers up, then each loaded in its turn, round after round."""

from __future__ import annotations

import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchlib import process, wrk
from benchlib.cases import Case, Need
from benchlib.process import Failed, Running
from benchlib.report import Results
from benchlib.servers import Place, Server
from benchlib.verify import verify

SCRIPTS = Path(__file__).parents[1]


@dataclass(frozen=True)
class Plan:
    """How to measure.  ``files`` is a directory for certificates, logs and stderr; cores are processor numbers."""

    programs: Path
    files: Path
    rounds: int
    seconds: int
    connections: int
    server_core: int
    load_core: int

    @property
    def certificate(self) -> Path:
        return self.files / 'certificate.pem'

    @property
    def key(self) -> Path:
        return self.files / 'key.pem'

    def place(self, port: int) -> Place:
        log = self.files / f'access-{port}.log'
        return Place(self.programs, port, self.connections, self.certificate, self.key, log)


def run_case(case: Case, servers: list[Server], plan: Plan, results: Results) -> None:
    """Measure ``case`` into ``results``: what takes no part, fails or answers wrongly is told there.

    The servers that wait for their turn are up but idle: between two turns lies nothing but wrk's own start.
    """
    with ExitStack() as stack:
        places = dict(zip(servers, map(plan.place, process.free_ports(len(servers))), strict=True))
        up = _start(case, places, plan, results, stack)
        verified = {server: _verified(case, server, up, plan, results) for server in list(up)}
        for _ in range(plan.rounds):
            for server in list(up):
                _measure(case, server, up, plan, results)
        for remaining in up.values():
            remaining.terminate()
        stack.close()  # logs are whole once their servers have ended
        if Need.ACCESS_LOG in case.needs:
            for server in up:
                _count_lines(case, server, places[server].access_log, verified[server], results)


def _start(
    case: Case, places: dict[Server, Place], plan: Plan, results: Results, stack: ExitStack
) -> dict[Server, Running]:
    up: dict[Server, Running] = {}
    for server, place in places.items():
        excuse = server.excuse(case)
        if excuse:
            results.excuse(case.name, server.name, excuse)
            continue
        command = server.command(place, case)
        up[server] = stack.enter_context(
            process.running(command, place.port, plan.server_core, plan.files, place.access_log, SCRIPTS)
        )
    deadline = time.monotonic() + process.START_TIME
    for server in list(up):
        try:
            up[server].await_accepting(deadline)
        except Failed as failure:
            _give_up(case, server, up, results, failure)
    return up


def _verified(case: Case, server: Server, up: dict[Server, Running], plan: Plan, results: Results) -> int:
    try:
        return verify(case, up[server].port, plan.certificate)
    except Failed as failure:
        _give_up(case, server, up, results, Failed(f'{failure} | {up[server].last_words()}'))
        return 0


def _measure(case: Case, server: Server, up: dict[Server, Running], plan: Plan, results: Results) -> None:
    try:
        up[server].check()
        port = up[server].port
        sample = wrk.measure(case, port, plan.connections, plan.seconds, plan.load_core, plan.server_core)
        results.add(case.name, server.name, sample)
    except (Failed, ValueError, subprocess.TimeoutExpired) as failure:
        _give_up(case, server, up, results, failure)


def _give_up(case: Case, server: Server, up: dict[Server, Running], results: Results, why: Exception) -> None:
    results.fail(case.name, server.name, str(why))
    up.pop(server).terminate()


def _count_lines(case: Case, server: Server, log: Path, verified: int, results: Results) -> None:
    """A log that lacks lines was cheaper to write than it should have been."""
    requests = verified + sum(sample.requests for sample in results.samples.get((case.name, server.name), []))
    with open(log, 'rb') as file:
        lines = sum(block.count(b'\n') for block in iter(lambda: file.read(1 << 20), b''))
    if lines < requests:
        results.fail(case.name, server.name, f'its log has {lines} lines for {requests} requests')
