"""Connections spread evenly over the workers, and whoever is on duty may stall, hang, stop or die.

Which worker is on duty is read from its epoll sets in /proc: the listeners are switched on in one of them, and another
one waits for that.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import socket
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.master.site import Load, changed, reload, workers
from tests.serving import serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.master.site import Site
    from tests.serving import Server

pytestmark = pytest.mark.skipif(not os.path.exists('/proc/self/fdinfo'), reason='it looks into epoll sets')

APP = """
import ctypes
import os
import time

from prefork.worker.poller import Poller

rounds = 0
begin = Poller.__init__


def begin_to_count(self):
    begin(self)
    poll = self.poll

    def counting(timeout):
        global rounds
        found = poll(timeout)
        rounds += 1
        return found

    self.poll = counting


Poller.__init__ = begin_to_count


def app(environ, start_response):
    path = environ['PATH_INFO']
    if path == '/wait':
        with open('arrivals', 'w') as arrivals:
            arrivals.write('.')
        with open(environ['QUERY_STRING'] or 'gate', 'rb') as gate:
            gate.read()
    elif path == '/sleep':
        time.sleep(0.25)
    elif path == '/hold':
        # Unlike CDLL, it keeps the interpreter's lock.
        ctypes.PyDLL(None).system(b'echo -n . > arrivals; exec sleep 8')
    body = b'%d %d' % (os.getpid(), rounds)
    start_response('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', str(len(body)))])
    return [body]
"""

LIMIT = 1.0
"""Seconds within which a fresh connection is answered, whatever the worker on duty does."""


class Caller:
    """A client's connection, open until the test is over."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def ask(self, path: str = '/') -> None:
        self._socket.sendall(b'GET %s HTTP/1.1\r\nHost: x\r\n\r\n' % path.encode())

    def answer(self) -> tuple[int, int]:
        """The pid of the worker, and how often its loop has been awake by then."""
        received = b''
        while not re.search(rb'\r\n\r\n\d+ \d+$', received):
            data = self._socket.recv(4096)
            assert data, f'closed after {received!r}'
            received += data
        pid, rounds = received.rpartition(b'\r\n')[2].split()
        return int(pid), int(rounds)

    def get(self) -> int:
        self.ask()
        return self.answer()[0]


class Callers:
    def __init__(self, server: Server) -> None:
        self.server = server
        self._open = contextlib.ExitStack()

    def call(self) -> Caller:
        return Caller(self._open.enter_context(self.server.connect()))

    def call_at_once(self, count: int) -> list[Caller]:
        """So many, none of whom waits for another."""
        sockets = [self._open.enter_context(socket.socket()) for _ in range(count)]
        for sock in sockets:
            sock.setblocking(False)
            assert sock.connect_ex(('127.0.0.1', self.server.port)) in (0, errno.EINPROGRESS)
        for sock in sockets:
            sock.settimeout(20)
        return [Caller(sock) for sock in sockets]

    def check_a_fresh_one(self) -> int:
        """It is answered in time; by whom."""
        started = time.monotonic()
        pid = self.call().get()
        assert time.monotonic() - started < LIMIT
        return pid

    def one_for_each(self) -> dict[int, Caller]:
        """A connection to each worker there is."""
        found: dict[int, Caller] = {}
        for _ in range(20):
            caller = self.call()
            found.setdefault(caller.get(), caller)
            if len(found) == len(workers(self.server)):
                return found
        raise AssertionError(f'only {found.keys()} of {workers(self.server)} accept')

    def close(self) -> None:
        self._open.close()


@contextlib.contextmanager
def serving(site: Site, *flags: str, count: int) -> Iterator[Callers]:
    site.write(APP)
    with site.serve(*flags, workers=count) as server:
        callers = Callers(server)
        try:
            yield callers
        finally:
            callers.close()


def epoll_sets(pid: int) -> dict[int, dict[int, int]]:
    """The epoll sets of a process by descriptor: what is waited for, and for which events."""
    found: dict[int, dict[int, int]] = {}
    for file in Path(f'/proc/{pid}/fdinfo').iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            entries = re.findall(r'^tfd: +(\d+) events: +([0-9a-f]+)', file.read_text(), re.MULTILINE)
            if entries:
                found[int(file.name)] = {int(target): int(events, 16) for target, events in entries}
    return found


def on_duty(server: Server) -> list[int]:
    """The workers that the kernel would wake for a connection."""
    found = []
    for pid in workers(server):
        sets = epoll_sets(pid)
        switched_on = {number for number, entries in sets.items() if any(events & 1 for events in entries.values())}
        if any(switched_on & entries.keys() for entries in sets.values()):
            found.append(pid)
    return found


def the_one_on_duty(server: Server) -> int:
    """Once it is one alone: a worker that has been woken may be about to pass the duty on."""
    deadline = time.monotonic() + 20
    while len(found := on_duty(server)) != 1:
        assert time.monotonic() < deadline, f'{found} are on duty'
    return found[0]


# --- evenly -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('at_once', [False, True], ids=['one by one', 'at once'])
def test_connections_are_spread_evenly_and_wake_one_worker_each(at_once: bool, site: Site) -> None:
    with serving(site, count=4) as callers:
        all_of_them = callers.call_at_once(200) if at_once else [callers.call() for _ in range(200)]
        all_of_them.reverse()  # when the last one is answered, the others have been accepted
        rounds: dict[int, int] = {}
        counts: Counter[int] = Counter()
        for caller in all_of_them:
            caller.ask()
            pid, round_number = caller.answer()
            rounds.setdefault(pid, round_number)
            counts[pid] += 1
        assert len(counts) == 4
        assert max(abs(count - 50) for count in counts.values()) <= 1, counts
        assert sum(rounds.values()) <= 1.1 * 200, rounds


def test_connections_with_requests_are_spread_evenly(site: Site) -> None:
    with serving(site, count=4) as callers:
        counts = Counter(callers.call().get() for _ in range(200))
        assert max(abs(count - 50) for count in counts.values()) <= 1, counts


def test_each_worker_gets_as_many_requests_as_it_has_threads_for(site: Site) -> None:
    """16 of 250 ms on 8 threads take two rounds; one worker with a fifth of them would take a third round."""
    with serving(site, '--threads', '2', count=4) as callers:
        for _ in range(4):
            callers.call().get()
        started = time.monotonic()
        all_of_them = callers.call_at_once(16)
        for caller in all_of_them:
            caller.ask('/sleep')
        counts = Counter(caller.answer()[0] for caller in all_of_them)
        seconds = time.monotonic() - started
        assert sorted(counts.values()) == [4, 4, 4, 4]
        assert seconds < 0.75


def test_more_workers_than_configured_share_it_too(site: Site) -> None:
    with serving(site, count=2) as callers:
        for _ in range(2):
            callers.server.send_signal(signal.SIGTTIN)
            callers.server.stderr.wait_for(r'worker \S+ \(pid \d+\) is ready')
        counts = Counter(callers.call().get() for _ in range(40))
        assert sorted(counts.values()) == [10, 10, 10, 10]


def test_workers_without_a_seat_listen_all_the_time(site: Site) -> None:
    with serving(site, count=2) as callers:
        for _ in range(8):
            callers.server.send_signal(signal.SIGTTIN)
            callers.server.stderr.wait_for(r'worker \S+ \(pid \d+\) is ready')
        for caller in [callers.call() for _ in range(50)]:
            assert caller.get() in workers(callers.server)


@pytest.mark.parametrize('missing', ['workers', 'epoll'])
def test_without_a_roster_all_listen(missing: str, site: Site) -> None:
    site.write(APP)
    count = 1 if missing == 'workers' else 2
    change = '' if missing == 'workers' else 'from prefork.worker import duty; duty._ON = 0'
    arguments = site.arguments(count, ())
    with serve(*arguments, cwd=site.folder, env=site.environment(None), command=changed(change)) as server:
        callers = Callers(server)
        try:
            assert all(len(epoll_sets(pid)) == 1 for pid in workers(server)), 'the one of its loop'
            assert {callers.call().get() for _ in range(20)} <= {*workers(server)}
        finally:
            callers.close()


def test_two_servers_have_a_duty_each(site: Site) -> None:
    site.write(APP)
    ini = '[app:main]\nuse = call:app:make\n[server:main]\nworkers = 2\nbind = 127.0.0.1:0\n'
    (site.folder / 'site.ini').write_text(ini + '[server:two]\nuse = egg:prefork\nworkers = 2\nbind = 127.0.0.1:0\n')
    site.write(APP + '\ndef make(*args, **options):\n    return app\n')
    arguments = ('site.ini', '--log-level', 'debug', '--access-log', 'off')
    with serve(*arguments, cwd=site.folder, env=site.environment(None)) as server:
        seen: list[int] = []
        with contextlib.ExitStack() as stack:
            for url in server.urls:
                address = ('127.0.0.1', int(url.rpartition(':')[2]))
                open_ = [Caller(stack.enter_context(socket.create_connection(address, 20))) for _ in range(20)]
                counts = Counter(caller.get() for caller in open_)
                assert sorted(counts.values()) == [10, 10]
                seen += counts
        assert len(set(seen)) == 4


# --- whatever happens to the one on duty --------------------------------------------------------------------------


def test_one_that_is_killed(site: Site) -> None:
    with serving(site, count=4) as callers:
        callers.one_for_each()
        for _ in range(3):
            victim = the_one_on_duty(callers.server)
            os.kill(victim, signal.SIGKILL)
            assert callers.check_a_fresh_one() != victim


def stop(server: Server, pid: int) -> None:
    """Stop it.  Of several threads each goes on until it is told, so it is for the master to say that all have."""
    os.kill(pid, signal.SIGSTOP)
    server.stderr.wait_for(rf'\(pid {pid}\) was stopped by a signal')


def test_one_that_is_stopped(site: Site) -> None:
    with serving(site, count=2) as callers:
        callers.one_for_each()
        victim = the_one_on_duty(callers.server)
        stop(callers.server, victim)
        assert callers.check_a_fresh_one() != victim
        assert callers.check_a_fresh_one() != victim


def test_one_that_hangs_in_c_code(site: Site) -> None:
    """Nothing of it runs, its sentry neither."""
    with serving(site, count=3) as callers:
        by_pid = callers.one_for_each()
        victims = []
        for _ in range(2):
            victim = the_one_on_duty(callers.server)
            by_pid[victim].ask('/hold')
            site.wait_for_arrival()
            victims.append(victim)
            assert callers.check_a_fresh_one() not in victims
        (survivor,) = by_pid.keys() - victims
        started = time.monotonic()
        assert {callers.call().get() for _ in range(20)} == {survivor}
        assert time.monotonic() - started < LIMIT, 'who hangs is left out'
        for victim in victims:
            os.kill(victim, signal.SIGKILL)


def test_one_that_stalls_in_the_application(site: Site) -> None:
    with serving(site, '--threads', '1', count=2) as callers:
        by_pid = callers.one_for_each()
        victim = the_one_on_duty(callers.server)
        by_pid[victim].ask('/wait')
        site.wait_for_arrival()
        assert callers.check_a_fresh_one() != victim
        assert callers.check_a_fresh_one() != victim
        site.open_gate('.')
        by_pid[victim].answer()


def test_all_are_full_until_one_is_not(site: Site) -> None:
    with serving(site, '--threads', '1', count=2) as callers:
        os.mkfifo(site.folder / 'other')
        first, second = callers.one_for_each().values()
        for caller, gate in ((first, 'gate'), (second, 'other')):
            caller.ask(f'/wait?{gate}')
            site.wait_for_arrival()
        deadline = time.monotonic() + 20
        while on_duty(callers.server):
            assert time.monotonic() < deadline, 'somebody listens'
        newcomer = callers.call()
        newcomer.ask()
        site.open_gate('.')
        assert newcomer.answer()[0] == first.answer()[0]
        (site.folder / 'other').write_text('.')
        second.answer()
        callers.check_a_fresh_one()


def test_kills_in_a_row_under_load(site: Site) -> None:
    with serving(site, count=4) as callers, Load(callers.server) as load:
        for _ in range(12):
            alive = workers(callers.server)
            if len(alive) > 1:
                os.kill(alive[0], signal.SIGKILL)
            callers.check_a_fresh_one()
            load.wait_for_more(20)


def workers_of(server: Server, generation: int) -> list[int]:
    """The pids of its workers, in the order in which they became ready."""
    return [int(pid) for pid in re.findall(rf'worker main/{generation}/\d+ \(pid (\d+)\) is ready', server.stderr.text)]


def test_a_reload_hands_it_to_the_next_generation(site: Site) -> None:
    with serving(site, count=2) as callers:
        for generation in (2, 3):
            reload(callers.server)
            assert the_one_on_duty(callers.server) in workers_of(callers.server, generation)
            counts = Counter(callers.call().get() for _ in range(20))
            assert sorted(counts.values()) == [10, 10]


def test_an_upgrade_ends_with_one_on_duty(site: Site) -> None:
    with serving(site, count=2) as callers:
        callers.server.send_signal(signal.SIGUSR2)
        callers.server.stderr.wait_for('generation 2: loaded, 2 workers')
        assert the_one_on_duty(callers.server) in workers_of(callers.server, 2)
        victim = the_one_on_duty(callers.server)
        os.kill(victim, signal.SIGKILL)
        assert callers.check_a_fresh_one() != victim


def test_adopted_workers_that_have_to_go_on_all_listen(site: Site) -> None:
    """The next master can't load the application, and can't see who of its workers is on duty."""
    with serving(site, count=2) as callers:
        fragile = 'import os\nif os.path.exists("broken"):\n    raise RuntimeError("no")\n'
        site.write(fragile + APP)
        reload(callers.server)
        ours = workers_of(callers.server, 2)
        callers.server.send_signal(signal.SIGUSR2)
        callers.server.stderr.wait_for('it can take over')
        (site.folder / 'broken').touch()
        callers.server.stderr.wait_for('is given up')
        assert callers.check_a_fresh_one() in ours
        stop(callers.server, ours[0])
        for _ in range(5):
            assert callers.check_a_fresh_one() == ours[1]
