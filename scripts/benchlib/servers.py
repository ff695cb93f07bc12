"""The servers that are compared, each started the way that suits it best: one worker, connections kept alive."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchlib.cases import Case, Need

HERE = Path(__file__).parent
OURS = 'prefork'
BARE = 'bare loop'


@dataclass(frozen=True)
class Place:
    """Where a server is to run: the programs of the virtual environment, a port of 127.0.0.1, files it may need."""

    programs: Path
    port: int
    connections: int  # how many wrk will open
    certificate: Path
    key: Path
    access_log: Path  # standard output goes there too, for those that log to it

    @property
    def bind(self) -> str:
        return f'127.0.0.1:{self.port}'

    def module(self, name: str) -> list[str]:
        return [str(self.programs / 'python'), '-m', name]


@dataclass(frozen=True)
class Server:
    """A row of the table.  ``distributions`` name what is installed, and the first one's version is shown."""

    name: str
    command: Callable[[Place, Case], list[str]]
    distributions: tuple[str, ...] = ()
    lacks: tuple[Need, ...] = ()

    def excuse(self, case: Case) -> str:
        """Why this server takes no part in a case; '' if it does."""
        return ' and '.join(need.value for need in case.needs if need in self.lacks)


def prefork(place: Place, case: Case) -> list[str]:
    logged = str(place.access_log) if Need.ACCESS_LOG in case.needs else 'off'
    application = str(HERE / case.ini) if case.ini else case.application
    command = [*place.module('prefork'), application, '--bind', place.bind, '--workers', '1', '--access-log', logged]
    if case.threads:
        command += ['--threads', str(case.threads)]
    if Need.TLS in case.needs:
        command += ['--ssl-cert-file', str(place.certificate), '--ssl-key-file', str(place.key)]
    return command


def bare_loop(place: Place, case: Case) -> list[str]:
    command = [*place.module('benchlib.bareloop'), str(place.port), case.name]
    if Need.TLS in case.needs:
        command += [str(place.certificate), str(place.key)]
    return command


def launched(name: str, threads: int = 1) -> Callable[[Place, Case], list[str]]:
    """The command of a server that launch.py starts."""

    def command(place: Place, case: Case) -> list[str]:
        words = [*place.module('benchlib.launch'), name, case.application, '--port', str(place.port)]
        words += ['--threads', str(case.threads or threads)]
        if Need.TLS in case.needs:
            words += ['--certificate', str(place.certificate), '--key', str(place.key)]
        if Need.ACCESS_LOG in case.needs:
            words += ['--access-log', str(place.access_log)]
        return words

    return command


def gunicorn(worker_class: str) -> Callable[[Place, Case], list[str]]:
    def command(place: Place, case: Case) -> list[str]:
        words = [*place.module('gunicorn'), case.application, '--bind', place.bind, '--workers', '1']
        words += ['--worker-class', worker_class, '--keep-alive', '60', '--no-control-socket']
        if worker_class == 'gthread':
            words += ['--threads', str(case.threads or 4)]
        if Need.TLS in case.needs:
            words += ['--certfile', str(place.certificate), '--keyfile', str(place.key)]
        if Need.ACCESS_LOG in case.needs:
            words += ['--access-logfile', str(place.access_log)]
        return words

    return command


def granian(place: Place, case: Case) -> list[str]:
    words = [*place.module('granian'), case.application, '--interface', 'wsgi', '--workers', '1', '--http', '1']
    words += ['--host', '127.0.0.1', '--port', str(place.port), '--blocking-threads', str(case.threads or 4)]
    if Need.TLS in case.needs:
        words += ['--ssl-certificate', str(place.certificate), '--ssl-keyfile', str(place.key)]
    words.append('--access-log' if Need.ACCESS_LOG in case.needs else '--no-access-log')
    return words


UWSGI_COMBINED = '%(addr) - %(user) [%(ltime)] "%(method) %(uri) %(proto)" %(status) %(size) "%(referer)" "%(uagent)"'


def uwsgi(place: Place, case: Case) -> list[str]:
    words = [str(place.programs / 'uwsgi'), '--module', case.application]
    words += ['--http11-socket', place.bind, '--die-on-term']
    # A connection that is kept alive holds its thread, and those that find none starve: one for each is its best.
    words += ['--threads', str(case.threads or min(place.connections, 64)), '--listen', '128']
    if case.unframed:
        words += ['--route-run', 'chunked:']  # else nothing tells the client where such a response ends
    if Need.ACCESS_LOG in case.needs:
        # --req-logger goes through a pipe that loses lines; this writes them.
        return [*words, '--logto', str(place.access_log), '--log-format', UWSGI_COMBINED]
    return [*words, '--disable-logging']


def waitress(place: Place, case: Case) -> list[str]:
    words = [*place.module('waitress'), '--listen', place.bind, '--threads', str(case.threads or 4)]
    return [*words, '--connection-limit', '1024', case.application]


SERVERS = (
    Server(OURS, prefork, ('prefork',)),
    Server(BARE, bare_loop, lacks=(Need.APPLICATION, Need.ACCESS_LOG)),
    Server('bjoern', launched('bjoern'), ('bjoern-binary', 'bjoern'), lacks=(Need.ACCESS_LOG, Need.TLS)),
    Server('granian', granian, ('granian',)),
    Server('uWSGI', uwsgi, ('pyuwsgi',), lacks=(Need.TLS,)),  # the wheel is built without it
    Server('waitress', waitress, ('waitress',), lacks=(Need.ACCESS_LOG, Need.TLS)),
    Server('cheroot', launched('cheroot', threads=4), ('cheroot',), lacks=(Need.ACCESS_LOG,)),
    Server('eventlet', launched('eventlet'), ('eventlet',)),
    Server('gunicorn gthread', gunicorn('gthread'), ('gunicorn',)),
    Server('gunicorn gevent', gunicorn('gevent'), ('gunicorn',)),
)
BY_NAME = {server.name: server for server in SERVERS}
