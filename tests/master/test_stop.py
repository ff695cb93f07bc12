"""TERM, INT and QUIT: what is finished, what is answered, what is dropped, and that nothing stays behind."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import ssl
import threading
from typing import TYPE_CHECKING, BinaryIO

import pytest

from tests.master.site import APP, Waiting, get, hang_up, is_alive, molds, workers

if TYPE_CHECKING:
    from tests.certificates import Certificates
    from tests.master.site import Site
    from tests.serving import Server

REQUEST = b'GET /pid HTTP/1.1\r\nHost: x\r\n\r\n'


def refused(server: Server) -> bool:
    try:
        socket.create_connection(('127.0.0.1', server.port), 5).close()
    except OSError:
        return True
    return False


def test_term_finishes_what_there_is(site: Site) -> None:
    with site.serve() as server:
        everybody = [*molds(server), *workers(server)]
        waiting = Waiting(server)
        site.wait_for_arrival()
        server.terminate()
        server.stderr.wait_for('stopping: finishing what there is')
        site.open_gate('finished')
        assert waiting.result() == 'finished'
        assert server.wait() == 0
        server.stderr.wait_for('stopped')
        assert not any(map(is_alive, everybody))
        assert refused(server)


@pytest.mark.parametrize('whom', ['the master', 'the group'])
@pytest.mark.parametrize('bind', ['tcp', 'unix'])
def test_term_answers_every_connection_that_the_kernel_has(bind: str, whom: str, site: Site) -> None:
    """The workers have no thread for them, so that all of them are still in the backlog when the signal comes.

    To the whole group is how init systems send it, and a terminal would.
    """
    site.write(APP.replace("open('gate', 'rb')", "open(f'gate-{os.getpid()}', 'rb')"))
    path = site.folder / 'socket'
    address = ('--bind', f'unix:{path}' if bind == 'unix' else '127.0.0.1:0')
    with site.serve(*address, '--threads', '1') as server, contextlib.ExitStack() as stack:

        def ask(path_asked: str) -> socket.socket:
            client = stack.enter_context(socket.socket(socket.AF_UNIX if bind == 'unix' else socket.AF_INET))
            client.settimeout(10)
            client.connect(str(path) if bind == 'unix' else ('127.0.0.1', server.port))
            client.sendall(f'GET {path_asked} HTTP/1.1\r\nHost: x\r\n\r\n'.encode())
            return client

        clients = []
        gates = [site.folder / f'gate-{pid}' for pid in workers(server)]
        for gate in gates:
            os.mkfifo(gate)
        for _ in gates:
            clients.append(ask('/wait'))
            site.wait_for_arrival()
        clients += [ask('/pid') for _ in range(100)]
        if whom == 'the group':
            os.killpg(server.pid, signal.SIGTERM)
        else:
            server.terminate()
        server.stderr.wait_for('the mold of generation 1 .* was killed by SIGKILL')
        for gate in gates:
            gate.write_text('finished')
        for client in clients:
            with client, client.makefile('rb') as answer:
                assert answer.readline() == b'HTTP/1.1 200 OK\r\n'
        assert server.wait() == 0
        for surprise in ('drains and is replaced', 'a new generation', 'ERROR'):
            assert surprise not in server.stderr.text


class Burst:
    """Clients that connect without a pause until nobody lets them in, and count who was let in and got no answer."""

    def __init__(self, address: tuple[str, int] | str, context: ssl.SSLContext | None) -> None:
        self._address = address
        self._context = context
        self._lock = threading.Condition()
        self.answers = 0
        self.failures: list[str] = []
        self._threads = [threading.Thread(target=self._connect) for _ in range(6)]

    def _connect(self) -> None:
        family = socket.AF_UNIX if isinstance(self._address, str) else socket.AF_INET
        while True:
            with socket.socket(family) as sock:
                sock.settimeout(20)
                try:
                    sock.connect(self._address)
                except (ConnectionRefusedError, FileNotFoundError):
                    return
                self._ask(sock)

    def _ask(self, sock: socket.socket) -> None:
        try:
            stream = self._context.wrap_socket(sock, server_hostname='localhost') if self._context else sock
            stream.sendall(b'GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
            with stream, stream.makefile('rb') as reader:
                answer = reader.read()
            failure = '' if answer.endswith(b'one') else repr(answer)
        except OSError as error:
            failure = repr(error)
        with self._lock:
            self.answers += not failure
            self.failures += [failure] if failure else []
            self._lock.notify_all()

    def __enter__(self) -> Burst:
        for thread in self._threads:
            thread.start()
        with self._lock:
            assert self._lock.wait_for(lambda: self.answers >= 50, 20)
        return self

    def __exit__(self, *problem: object) -> None:
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()


@pytest.mark.parametrize('kind', ['tcp', 'tls', 'unix', 'abstract'])
def test_whoever_is_let_in_is_answered(kind: str, site: Site, certificates: Certificates) -> None:
    """Connections are made all the time, right before and right after the signal."""
    path, name = str(site.folder / 'socket'), f'prefork-test-{os.getpid()}'
    flags = ['--bind', {'unix': f'unix:{path}', 'abstract': f'unix:@{name}'}.get(kind, '127.0.0.1:0')]
    if kind == 'tls':
        flags += ['--ssl-cert-file', str(certificates.cert), '--ssl-key-file', str(certificates.key)]
    context = ssl.create_default_context(cafile=str(certificates.ca)) if kind == 'tls' else None
    with site.serve(*flags) as server:
        paths = {'unix': path, 'abstract': f'\0{name}'}
        with Burst(paths.get(kind) or ('127.0.0.1', server.port), context) as burst:
            server.terminate()
        assert server.wait() == 0
        assert burst.failures == []


def test_who_waits_while_all_threads_are_busy_is_answered(site: Site) -> None:
    """Nobody accepts then, and there are more of them than slots."""
    with site.serve('--threads', '1', '--pool-size', '4', workers=1) as server, contextlib.ExitStack() as stack:
        waiting = Waiting(server)
        site.wait_for_arrival()
        clients = [stack.enter_context(server.connect()) for _ in range(30)]
        for client in clients:
            client.sendall(REQUEST)
        server.terminate()
        server.stderr.wait_for('the mold of generation 1 .* was killed by SIGKILL')
        site.open_gate('finished')
        assert waiting.result() == 'finished'
        for client in clients:
            with client, client.makefile('rb') as answer:
                assert answer.read().startswith(b'HTTP/1.1 200 OK\r\n')
        assert server.wait() == 0


def test_every_request_on_a_kept_connection_is_answered_until_one_is_told_to_be_the_last(site: Site) -> None:
    with site.serve() as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(8)]
        answers = [stack.enter_context(client.makefile('rb')) for client in clients]
        for client, answer in zip(clients, answers, strict=True):
            client.sendall(REQUEST)
            assert b'connection: close' not in head(answer).lower()
        server.terminate()
        for client, answer in zip(clients, answers, strict=True):
            client.sendall(REQUEST)
            while b'connection: close' not in head(answer).lower():
                client.sendall(REQUEST)
            assert answer.read() == b''
            answer.close()
            client.close()
        assert server.wait() == 0


def head(answer: BinaryIO) -> bytes:
    """The head of a response, whose body is read, too."""
    lines = b''.join(iter(answer.readline, b'\r\n'))
    length = re.search(rb'(?i)content-length: (\d+)', lines)
    assert length, lines
    answer.read(int(length[1]))
    return lines


def test_term_has_an_end(site: Site) -> None:
    with site.serve('--graceful-timeout', '0.2') as server:
        waiting = Waiting(server)
        site.wait_for_arrival()
        server.terminate()
        assert server.wait() == 0
        with pytest.raises(ConnectionError):
            waiting.result()


def test_a_worker_that_cannot_even_drain_is_killed(site: Site) -> None:
    """Nothing goes on in it: C code keeps the interpreter's lock."""
    site.write(APP.replace('return gate.read()', 'import ctypes; ctypes.PyDLL(None).sleep(1000)'))
    with site.serve('--graceful-timeout', '0.2', workers=1) as server:
        (worker,) = workers(server)
        waiting = Waiting(server)
        site.wait_for_arrival()
        site.open_gate('')
        server.terminate()
        server.stderr.wait_for(r'worker main/1/0 \(pid \d+\) did not finish within 0.2 s, and is killed')
        assert server.wait() == 0
        assert not is_alive(worker)
        with pytest.raises(ConnectionError):
            waiting.result()


def test_a_worker_that_is_stopped_is_not_waited_for_longer(site: Site) -> None:
    with site.serve('--graceful-timeout', '0.2', workers=1) as server:
        (worker,) = workers(server)
        os.kill(worker, signal.SIGSTOP)
        server.terminate()
        server.stderr.wait_for(r'worker main/1/0 \(pid \d+\) is still stopped, and is aborted')
        assert server.wait() == 0
        assert not is_alive(worker)


@pytest.mark.parametrize('numbers', [['INT'], ['QUIT'], ['TERM', 'TERM'], ['TERM', 'INT']], ids='-'.join)
def test_a_quick_stop_waits_for_nobody(numbers: list[str], site: Site) -> None:
    with site.serve() as server:
        everybody = [*molds(server), *workers(server)]
        waiting = Waiting(server)
        site.wait_for_arrival()
        for name in numbers:
            server.send_signal(signal.Signals[f'SIG{name}'])
            server.stderr.wait_for('stopping')
        server.stderr.wait_for('stopped')
        assert server.wait() == 0
        with pytest.raises(ConnectionError):
            waiting.result()
        assert not any(map(is_alive, everybody))


def test_a_quick_stop_kills_what_does_not_listen(site: Site) -> None:
    with site.serve(workers=1) as server:
        (worker,) = workers(server)
        os.kill(worker, signal.SIGSTOP)
        server.send_signal(signal.SIGINT)
        assert server.wait() == 0
        assert not is_alive(worker)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_it_stops_while_the_first_generation_hangs(number: signal.Signals, site: Site) -> None:
    site.write(APP + 'wait()\n')
    with site.start() as server:
        site.wait_for_arrival()
        server.send_signal(number)
        assert server.wait() == 0


def test_it_stops_while_a_reload_hangs(site: Site) -> None:
    with site.serve() as server:
        waiting = Waiting(server)
        site.wait_for_arrival()
        site.write(APP + 'wait()\n')
        hang_up(server)
        site.wait_for_arrival()
        server.terminate()
        # Whom the gate is opened for: the mold is gone by the time that the workers are told to drain.
        server.stderr.wait_for('the mold of generation 1 .* was killed by SIGKILL')
        site.open_gate('finished')
        assert waiting.result() == 'finished'
        assert server.wait() == 0


@pytest.mark.parametrize('numbers', [['INT'], ['QUIT'], ['TERM', 'TERM'], ['TERM', 'INT']], ids='-'.join)
def test_a_quick_stop_while_a_reload_hangs(numbers: list[str], site: Site) -> None:
    with site.serve() as server:
        waiting = Waiting(server)
        site.wait_for_arrival()
        site.write(APP + 'wait()\n')
        hang_up(server)
        site.wait_for_arrival()
        for name in numbers:
            server.send_signal(signal.Signals[f'SIG{name}'])
            server.stderr.wait_for('stopping')
        assert server.wait() == 0
        with pytest.raises(ConnectionError):
            waiting.result()


def test_workers_more_and_fewer_while_a_reload_hangs(site: Site) -> None:
    with site.serve() as server:
        site.write(APP + 'wait()\n')
        hang_up(server)
        site.wait_for_arrival()
        server.send_signal(signal.SIGTTIN)
        server.stderr.wait_for(r'worker main/1/2 \(pid \d+\) is ready')
        server.send_signal(signal.SIGTTOU)
        server.stderr.wait_for(r'worker main/1/2 \(pid \d+\) exited with status 0')
        assert int(get(server)) in workers(server)


def test_a_hangup_is_too_late_when_it_stops(site: Site) -> None:
    with site.serve() as server:
        waiting = Waiting(server)
        site.wait_for_arrival()
        server.terminate()
        server.stderr.wait_for('stopping')
        hang_up(server)
        server.send_signal(signal.SIGUSR2)
        server.stderr.wait_for('SIGUSR2 is ignored')
        site.open_gate('finished')
        assert waiting.result() == 'finished'
        assert server.wait() == 0
        server.stderr.wait_for('stopped')
        assert 'reloading' not in server.stderr.text
        assert server.stderr.text.count('listening on') == 1


def test_workers_more_and_fewer(site: Site) -> None:
    with site.serve() as server:
        server.send_signal(signal.SIGTTIN)
        server.stderr.wait_for(r'worker main/1/2 \(pid \d+\) is ready')
        assert len(workers(server)) == 3
        server.send_signal(signal.SIGTTOU)
        server.stderr.wait_for(r'worker main/1/2 \(pid \d+\) exited with status 0')
        assert len(workers(server)) == 2
        assert int(get(server)) in workers(server)
