"""wrk, the load generator: its command, and what it reports."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchlib.cases import Case

SCRIPT = Path(__file__).with_name('load.lua')
SATURATED = 0.95  # share of its core above which wrk may be what bounds, if the server's core had time left
IDLE = 0.05
FAST_CONNECTIONS = 4  # of the wrk that sends fast requests alone
PATIENCE = 30.0  # seconds beyond its duration after which wrk is given up


@dataclass(frozen=True)
class Cores:
    """How busy both were: the share of its core that wrk used, and the share of the server's that nobody did."""

    load: float = 0.0
    idle: float = 0.0

    @property
    def wrk_bounds(self) -> bool:
        return self.load > SATURATED and self.idle > IDLE


@dataclass(frozen=True)
class Sample:
    """What one run of wrk saw.  ``rate`` is requests a second; ``errors`` has the kinds that happened, ``status`` among
    them for answers above 399; ``latency`` is in microseconds by percentile, and ``fast`` that of fast requests alone
    where slow ones are among the others (None: elsewhere, or none was answered)."""

    requests: int
    rate: float
    errors: dict[str, int]
    latency: dict[str, int]
    cores: Cores = Cores()
    fast: dict[str, int] | None = None


def parse(output: str, cores: Cores = Cores()) -> Sample:
    """The sample in wrk's output: load.lua writes it as one line of JSON.  Raises ValueError if there is none."""
    line = next((line for line in output.splitlines() if line.startswith('{')), '')
    if not line:
        raise ValueError(f'wrk reported nothing: {output.strip()[-200:]!r}')
    report = json.loads(line)
    requests, duration = report['requests'], report['microseconds']
    rate = requests / duration * 1e6 if duration else 0.0
    errors = {kind: count for kind, count in report['errors'].items() if count}
    return Sample(requests, rate, errors, report['latency'], cores)


def measure(case: Case, port: int, connections: int, seconds: int, load_core: int, server_core: int) -> Sample:
    """Load the server on ``port`` for so many seconds.  Raises ValueError or TimeoutExpired if wrk itself fails.

    wrk tells one latency for all requests, and where every hundredth is slow, its 99th percentile may be that of either
    kind.  So a second wrk, on few connections of its own, sends nothing but fast requests meanwhile, and its latency is
    theirs; the rate is the first one's alone.
    """
    # The second one is started last and ends first: none of its requests is answered when there are no slow ones.
    longest = seconds + 1 if case.fast else seconds
    used, idle, began = _processor_time(), _idle_time(server_core), time.monotonic()
    with _started(_command(case, port, connections, longest, case.load, *case.paths), load_core) as all_kinds:
        fast = None
        if case.fast:
            with _started(_command(case, port, FAST_CONNECTIONS, seconds, 'plain', case.fast), load_core) as beside:
                fast = parse(beside.communicate(timeout=seconds + PATIENCE)[0])
        output, _ = all_kinds.communicate(timeout=longest + PATIENCE)
    elapsed = time.monotonic() - began
    cores = Cores((_processor_time() - used) / elapsed, (_idle_time(server_core) - idle) / elapsed)
    return with_fast(parse(output, cores), fast)


def with_fast(sample: Sample, fast: Sample | None) -> Sample:
    """The sample of all requests, with the latency of the fast ones that went beside them, and the errors of both."""
    if fast is None:
        return sample
    errors = {kind: sample.errors.get(kind, 0) + fast.errors.get(kind, 0) for kind in {**sample.errors, **fast.errors}}
    return dataclasses.replace(sample, errors=errors, fast=fast.latency if fast.requests else None)


def _command(case: Case, port: int, connections: int, seconds: int, *load: str) -> list[str]:
    words = ['wrk', '--threads', '1', '--connections', str(connections), '--duration', f'{seconds}s']
    return [*words, '--script', str(SCRIPT), f'{case.scheme}://127.0.0.1:{port}/', '--', *load]


@contextmanager
def _started(command: list[str], core: int) -> Iterator[subprocess.Popen[str]]:
    """A process on ``core``, which doesn't stay behind."""
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=partial(os.sched_setaffinity, 0, {core}),
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _processor_time() -> float:
    """Of the children that have ended: while wrk runs, no other can."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _idle_time(core: int) -> float:
    """Seconds that nothing ran on a core: proc_stat(5), the fourth and fifth column, in ticks."""
    for line in Path('/proc/stat').read_text().splitlines():
        name, *ticks = line.split()
        if name == f'cpu{core}':
            return sum(map(int, ticks[3:5])) / os.sysconf('SC_CLK_TCK')
    raise ValueError(f'no cpu{core} in /proc/stat')
