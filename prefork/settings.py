"""Every option once: its name, scope, type, default and one sentence.

The ini section, the command-line flags, ``--print-config``, the man pages' test and the embeddable Server all read
this table, so that an option can't exist in one of them alone.  An option whose feature isn't there yet isn't here.
"""

from __future__ import annotations

import os
import re

from prefork.errors import ConfigError

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without the import: it costs a megabyte in every process
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

MASTER, SERVER = 'master', 'server'


# --- types of values: text in, value out, ValueError with a sentence for the operator ---------------------------


class Kind:
    """A type of option: how its text is read and how its value is printed.  ``parse(show(value)) == value``."""

    __slots__ = ('metavar', 'parse', 'show')

    def __init__(self, metavar: str, parse: Callable[[str], Any], show: Callable[[Any], str] = str) -> None:
        self.metavar = metavar
        self.parse = parse
        self.show = show


class Address:
    """Where to listen: ``scheme`` is tcp (``host``, ``port``), unix (``host`` is the path, or ``@name``) or fd
    (``host`` is the name of a socket that was passed, or ``port`` the descriptor's number)."""

    __slots__ = ('host', 'port', 'scheme')

    def __init__(self, scheme: str, host: str, port: int) -> None:
        self.scheme = scheme
        self.host = host
        self.port = port

    def _key(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Address) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f'Address({self})'

    def __str__(self) -> str:
        if self.scheme == 'unix':
            return f'unix:{self.host}'
        if self.scheme == 'fd':
            return f'fd:{self.host or self.port}'
        return f'[{self.host}]:{self.port}' if ':' in self.host else f'{self.host}:{self.port}'


def parse_address(text: str) -> Address:
    """One of HOST:PORT, [V6]:PORT, :PORT, unix:PATH, unix:@NAME, fd:N, fd:NAME."""
    if text.startswith('unix:'):
        path = text[len('unix:') :]
        if not path or path == '@':
            raise ValueError(f'{text!r} names no socket; write unix:/PATH or unix:@NAME')
        return Address('unix', path, 0)
    if text.startswith('fd:'):
        name = text[len('fd:') :]
        if not name or name[0] in '+-':
            raise ValueError(f'{text!r} is no descriptor; write fd:NUMBER or fd:NAME')
        return Address('fd', '', _whole_number(name, 0)) if name.isdigit() else Address('fd', name, 0)
    host, colon, port = text.rpartition(':')
    if host.startswith('[') and host.endswith(']'):
        host = host[1:-1]
    elif ':' in host:
        raise ValueError(f'{text!r}: write an IPv6 address as [ADDRESS]:PORT')
    if not colon:
        raise ValueError(f'{text!r} is not HOST:PORT, [V6]:PORT, :PORT, unix:PATH, unix:@NAME, fd:N or fd:NAME')
    number = _whole_number(port, 0)
    if number > 65535:
        raise ValueError(f'port {number} is above 65535')
    return Address('tcp', '0.0.0.0' if host in ('', '*') else host, number)  # waitress and others write *:PORT


def _parse_addresses(text: str) -> tuple[Address, ...]:
    addresses = tuple(parse_address(word) for word in text.replace(',', ' ').split())
    if not addresses:
        raise ValueError('no address; write HOST:PORT or unix:PATH')
    for address in addresses:
        if addresses.count(address) > 1 and (address.port or address.scheme != 'tcp'):
            raise ValueError(f'{address} is there twice')
    return addresses


_MOST = 2**31 - 1  # what the system calls that these numbers end in can take


def _whole_number(text: str, minimum: int) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f'{text!r} is not a whole number')
    if int(text) < minimum:
        raise ValueError(f'{text} is below {minimum}, the least there can be')
    if int(text) > _MOST:
        raise ValueError(f'{text} is above {_MOST}, the most there can be')
    return int(text)


def integer(minimum: int = 0) -> Kind:
    return Kind('N', lambda text: _whole_number(text, minimum))


_SECONDS = re.compile(r'[0-9]+(\.[0-9]*)?|\.[0-9]+')


def seconds(minimum: float = 0.0) -> Kind:
    def parse(text: str) -> float:
        if not _SECONDS.fullmatch(text):  # float() itself takes nan, 1_000 and other digits than ours
            raise ValueError(f'{text!r} is not a number of seconds')
        value = float(text)
        if not minimum <= value < 1e9:
            raise ValueError(f'{text} seconds is out of range; the least is {minimum:g}')
        return value

    return Kind('SECONDS', parse, lambda value: f'{value:g}')


_UNITS = {'': 1, 'K': 1 << 10, 'M': 1 << 20, 'G': 1 << 30}


def _parse_size(text: str) -> int:
    unit = text[-1:].upper() if text[-1:].isalpha() else ''
    digits = text[: len(text) - len(unit)]
    if unit not in _UNITS or not (digits.isascii() and digits.isdigit()):
        raise ValueError(f'{text!r} is not a size; write bytes, or a whole number with K, M or G')
    return int(digits) * _UNITS[unit]


def _show_size(value: int) -> str:
    for unit in 'GMK':
        if value and value % _UNITS[unit] == 0:
            return f'{value // _UNITS[unit]}{unit}'
    return str(value)


def _parse_boolean(text: str) -> bool:
    word = text.lower()
    if word in ('true', 'yes', 'on', '1'):
        return True
    if word in ('false', 'no', 'off', '0'):
        return False
    raise ValueError(f'{text!r} is neither true nor false')


def choice(*words: str) -> Kind:
    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f'{text!r} is not one of {", ".join(words)}')
        return text

    return Kind('|'.join(words), parse)


def _parse_mode(text: str) -> int:
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777 or not (text.isascii() and text.isdigit()):
        raise ValueError(f'{text!r} is not an octal mode such as 0660')
    return mode


def _parse_owner(text: str) -> str:
    if text.isascii() and text.isdigit():
        if int(text) > 2**32 - 2:  # the next one is -1 to the kernel, which is nobody
            raise ValueError(f'{text} is above {2**32 - 2}, the most there can be')
        return str(int(text))
    return text


def _parse_workers(text: str) -> int:
    return available_processors() if text == 'auto' else _whole_number(text, 1)


def _parse_object(text: str) -> str:
    module, colon, name = text.partition(':')
    parts = module.split('.') + (name.split('.') if colon else [''])
    if text and not all(part.isidentifier() for part in parts):
        raise ValueError(f'{text!r} is not module:function')
    return text


_READY_URL = re.compile(r'([\w.:\[\]-]*[\w\]])?/[!"$-~]*', re.ASCII)  # a fragment is never sent


def _parse_ready_url(text: str) -> str:
    if text and not _READY_URL.fullmatch(text):
        raise ValueError(f'{text!r} is neither a path, such as /health, nor HOST/PATH')
    return text


LOG_FIELDS = (
    'client_ip',
    'client_port',
    'date_time',
    'request_line',
    'status_code',
    'body_length',
    'wall_seconds',
    'referer',
    'user_agent',
    'remote_user',
    'host',
)
"""The names that an access log template may use, as ``%(name)s`` or ``%(wall_seconds).6f``."""


def _parse_log_format(text: str) -> str:
    if text in ('combined', 'common'):
        return text
    if '%(' not in text:
        raise ValueError(f'{text!r} is neither combined nor common nor a template with names such as %(client_ip)s')
    try:
        text % {**dict.fromkeys(LOG_FIELDS, ''), 'wall_seconds': 0.0, 'status_code': 0, 'body_length': 0}
    except KeyError as error:
        raise ValueError(f'no name {error} in access logs; there are {", ".join(LOG_FIELDS)}') from None
    except (TypeError, ValueError) as error:
        raise ValueError(f'{text!r} is not a template: {error}') from None
    return text


def _parse_networks(text: str) -> tuple[str, ...]:
    if not text.strip():
        return ()
    from ipaddress import ip_network  # only where there are any

    networks = []
    for word in text.replace(',', ' ').split():
        try:
            networks.append(word if word == 'unix' else str(ip_network(word)))
        except ValueError as error:
            raise ValueError(f'{error}; write networks such as 192.0.2.0/24, or unix') from None
    return tuple(networks)


# RFC 6066 3: a server_name is a host name in ASCII, with A-labels, and never an address.
_LABEL = '[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?'
_SERVER_NAME = re.compile(rf'(?:\*\.)?(?:{_LABEL}\.)*(?![0-9]+\Z){_LABEL}')


def _parse_sni(text: str) -> tuple[tuple[str, str, str], ...]:
    found: dict[str, tuple[str, str, str]] = {}
    for line in text.replace(',', '\n').split('\n'):
        words = line.split()
        if not words:
            continue
        if len(words) != 3:
            raise ValueError(f'{line.strip()!r} is not NAME CERTIFICATE KEY')
        name = words[0].lower()
        if not name.isascii():
            raise ValueError(f'{words[0]!r} is not ASCII; write each such label as clients send it, xn--…')
        if not _SERVER_NAME.fullmatch(name) or len(name) > 253:
            raise ValueError(f'{words[0]!r} is not the name of a host, nor one with *. before it')
        if name in found:
            raise ValueError(f'{words[0]} is there twice')
        found[name] = name, words[1], words[2]
    return tuple(found.values())


BOOLEAN = Kind('true|false', _parse_boolean, lambda value: 'true' if value else 'false')
SIZE = Kind('SIZE', _parse_size, _show_size)
TEXT = Kind('TEXT', str)
PATH = Kind('PATH', str)
ADDRESSES = Kind('ADDRESS', _parse_addresses, lambda value: ' '.join(map(str, value)))
MODE = Kind('MODE', _parse_mode, lambda value: f'{value:04o}')
UMASK = Kind(
    'MODE', lambda text: _parse_mode(text) if text else None, lambda value: '' if value is None else f'{value:04o}'
)
USER, GROUP = Kind('USER', _parse_owner), Kind('GROUP', _parse_owner)
WORKERS = Kind('N|auto', _parse_workers)
OBJECT = Kind('MODULE:FUNCTION', _parse_object)
READY_URL = Kind('PATH', _parse_ready_url)
NETWORKS = Kind('NETWORK', _parse_networks, ' '.join)
SERVER_NAMES = Kind('NAMES', _parse_sni, lambda value: ', '.join(map(' '.join, value)))
LOG_FORMAT = Kind('FORMAT', _parse_log_format)


def available_processors() -> int:
    """The processors this process may use: its affinity, and no more than its cgroup's quota."""
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and the BSDs
        count = os.cpu_count() or 1
    try:
        with open('/sys/fs/cgroup/cpu.max', encoding='ascii') as file:
            quota, period = file.read().split()
        if quota != 'max':
            count = min(count, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):
        pass  # no cgroup v2 here, or nothing it says: the affinity stands
    return count


# --- the table --------------------------------------------------------------------------------------------------


class Option:
    """One row of the table.  ``default`` is text, as it would stand in the ini; '' means not set."""

    __slots__ = ('default', 'help', 'kind', 'name', 'scope')

    def __init__(self, kind: Kind, default: str, help: str, scope: str) -> None:
        self.name = ''
        self.kind = kind
        self.default = default
        self.help = help
        self.scope = scope

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @property
    def flag(self) -> str:
        return '--' + self.name.replace('_', '-')


def option(kind: Kind, default: str, help: str, scope: str = SERVER) -> Any:
    """A row, typed as Any so that the class below can give each option the type of its value."""
    return Option(kind, default, help, scope)


class Settings:
    """The effective options of one ``[server:NAME]``: a frozen value with an attribute for each row of the table.

    ``Settings(values)`` takes parsed values by name; what is missing has its default.  ``given`` are the names that
    weren't missing.
    """

    given: frozenset[str]

    use: str = option(TEXT, 'egg:prefork', 'The server that this section is written for.')
    app: str = option(TEXT, 'main', 'The application of the ini file that this server serves.')

    # sockets
    bind: tuple[Address, ...] = option(
        ADDRESSES,
        '127.0.0.1:8080',
        'Where to listen: one or more of HOST:PORT, [V6]:PORT, :PORT, unix:PATH, unix:@NAME, fd:N, fd:NAME.',
    )
    backlog: int = option(integer(1), '1024', 'Connections that the kernel keeps until they are accepted.')
    socket_mode: int = option(MODE, '0660', 'The mode of a unix socket.')
    tcp_keepidle: int = option(integer(1), '600', 'Seconds of silence after which TCP keepalive probes begin.')

    # processes
    workers: int = option(WORKERS, 'auto', 'Worker processes; auto is the processors that affinity and cgroup allow.')
    threads: int = option(integer(1), '4', 'Application calls at once in a worker.')
    max_parked: int = option(
        integer(0), '256', 'Threads in a worker that may wait for slow readers of unfinished responses.'
    )
    pool_size: int = option(integer(1), '1000', 'Connection slots in a worker.')
    preload: str = option(
        choice('auto', 'true', 'false'),
        'auto',
        'Load the application once, before the workers fork; auto unless that is unsafe.',
        MASTER,
    )
    max_requests: int = option(integer(0), '0', 'Requests after which a worker is replaced; 0 is never.')
    max_requests_jitter: int = option(integer(0), '0', 'Up to so many requests more, another number in each worker.')
    max_rss: int = option(SIZE, '0', 'Resident memory above which a worker is replaced; 0 is unlimited. Needs psutil.')
    post_fork: str = option(OBJECT, '', 'A function without arguments, called in each worker before it serves.')
    graceful_timeout: float = option(
        seconds(), '30', 'The time that a worker has to finish its requests when it drains.', MASTER
    )
    load_timeout: float = option(
        seconds(0.1), '60', 'The time that a new generation has to load its application.', MASTER
    )
    ready_url: str = option(
        READY_URL, '', 'What a new generation must answer, with a status of 2xx or 3xx, before it takes over.'
    )

    # requests
    request_timeout: float = option(
        seconds(), '60', 'How long the application may take for a call, for each block and for closing; 0 is for ever.'
    )
    max_header_line: int = option(SIZE, '16384', 'The longest header line; a longer one is answered 431.')
    max_headers: int = option(integer(1), '100', 'The most header lines; more are answered 431.')
    max_head: int = option(SIZE, '65536', 'The largest head of a request; a larger one is answered 431.')
    max_url_len: int = option(SIZE, '8192', 'The longest request target; a longer one is answered 414.')
    max_body: int = option(SIZE, '1G', 'The largest body of a request; a larger one is answered 413.')
    body_buffer: int = option(SIZE, '1M', 'Bytes of a body that are kept in memory; more go to a temporary file.')
    request_buffering: bool = option(
        BOOLEAN, 'true', 'Receive a body before the application is called; false streams it as it is read.'
    )
    spool_dir: str = option(PATH, '/tmp', 'Where temporary files are made; none keeps to memory and refuses more.')

    # connections
    keep_alive: bool = option(BOOLEAN, 'true', 'Keep connections open between requests.')
    keepalive_timeout: float = option(seconds(), '15', 'How long an idle connection is kept.')
    header_timeout: float = option(seconds(0.1), '30', 'The time that a client has for a whole head.')
    min_rate: int = option(
        integer(0), '500', 'The least bytes a second of a body that arrives, and of a response that is read.'
    )
    client_socket_timeout: float = option(seconds(), '900', 'The time without any progress on a socket; 0 is for ever.')

    # TLS
    ssl_cert_file: str = option(PATH, '', 'The certificate chain, in PEM; it turns TLS on.')
    ssl_key_file: str = option(PATH, '', 'The private key, in PEM.')
    ssl_ca_file: str = option(PATH, '', 'The authority of client certificates; clients must then show one.')
    ssl_minimum_version: str = option(
        choice('TLSv1.2', 'TLSv1.3'), 'TLSv1.2', 'The oldest version of TLS that is spoken.'
    )
    ssl_ciphers: str = option(TEXT, '', "Ciphers for TLS 1.2, in OpenSSL's notation.")
    ssl_sni: tuple[tuple[str, str, str], ...] = option(
        SERVER_NAMES, '', 'Certificates for other names: lines, or items with commas between, of NAME CERTIFICATE KEY.'
    )
    ssl_handshake_timeout: float = option(seconds(0.1), '10', 'The time that a client has for the TLS handshake.')

    # proxies
    trusted_proxies: tuple[str, ...] = option(
        NETWORKS,
        '',
        'Networks of proxies, or unix, whose Forwarded and X-Forwarded-* are believed; of others, they are removed.',
    )
    proxy_protocol: bool = option(
        BOOLEAN, 'false', 'Require the PROXY protocol of every connection, and refuse those of others than proxies.'
    )
    secure_proxy_ssl_header: str = option(
        TEXT, '', 'The environ key whose value, http or https, is the scheme; the proxy must set it in every request.'
    )

    # logs
    access_log: str = option(PATH, '-', 'Where requests are logged: - is standard output, off is nowhere.')
    access_log_format: str = option(
        LOG_FORMAT, 'combined', 'combined, common, or a template of names such as %(client_ip)s.'
    )
    error_log: str = option(PATH, '-', 'Where the server logs: - is standard error.', MASTER)
    log_level: str = option(
        choice('debug', 'info', 'warning', 'error'), 'info', 'The least level that is logged.', MASTER
    )

    # the service
    pidfile: str = option(PATH, '', 'A file that says the process id of the master while it runs.', MASTER)
    user: str = option(
        USER, '', 'The user, by name or number, that the application runs as; only root can become another.', MASTER
    )
    group: str = option(
        GROUP, '', 'The group, by name or number, that the application runs as; by default it is that of user.', MASTER
    )
    umask: int | None = option(
        UMASK, '', 'What files that the application makes must not permit, as a mode such as 0027.', MASTER
    )
    chdir: str = option(PATH, '', 'The folder that the application runs in.', MASTER)
    daemon: bool = option(
        BOOLEAN, 'false', 'Go to the background, and say by the exit status whether it serves.', MASTER
    )

    def __init__(self, values: dict[str, Any] | None = None) -> None:
        given = {} if values is None else values
        for row in OPTIONS:
            value = given[row.name] if row.name in given else row.kind.parse(row.default)
            object.__setattr__(self, row.name, value)
        unknown = given.keys() - BY_NAME.keys()
        if unknown:
            raise TypeError(f'no such option: {", ".join(sorted(unknown))}')
        object.__setattr__(self, 'given', frozenset(given))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f'settings are frozen; {name} can be given when they are made')

    def contradictions(self) -> list[tuple[str, str]]:
        """Options, each sensible alone, that make none together: the name of one, and a sentence for the operator."""
        found = []
        if self.proxy_protocol and not self.trusted_proxies:
            found.append(('proxy_protocol', 'nobody may connect without trusted_proxies: name the proxies there'))
        return found

    def lines(self) -> list[str]:
        """The effective options as lines of an ini section, in the order of the table."""
        return [f'{row.name} = {row.kind.show(getattr(self, row.name))}'.rstrip() for row in OPTIONS]


OPTIONS: tuple[Option, ...] = tuple(row for row in vars(Settings).values() if isinstance(row, Option))
BY_NAME: dict[str, Option] = {row.name: row for row in OPTIONS}


def closest(name: str, names: Iterable[str]) -> str | None:
    """The one of ``names`` that ``name`` was probably meant to be, if there is one."""
    import difflib  # only when something is wrong

    found = difflib.get_close_matches(name.replace('-', '_'), list(names), n=1, cutoff=0.6)
    return found[0] if found else None


def nearest(name: str, names: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` for the closest of ``names``, or '' where none is close."""
    found = closest(name, names)
    return '' if found is None else f' (did you mean {found!r}?)'


def from_text(items: Iterable[tuple[str, str, str]]) -> Settings:
    """Settings from ``(name, text, where)`` triples, a later one winning over an earlier one of the same name.

    ``where`` begins each complaint, such as ``app.ini:12: [server:main]``.  Raises ConfigError with all of them.
    ``host`` and ``port``, or ``listen``, are accepted instead of ``bind``.
    """
    complaints: list[str] = []
    values: dict[str, Any] = {}
    places: dict[str, str] = {}
    endpoint: dict[str, str] = {}
    for name, text, where in items:
        if name in ('host', 'port'):
            endpoint[name] = text
            endpoint['where'] = where
            continue
        row = BY_NAME.get('bind' if name == 'listen' else name)
        if row is None:
            complaints.append(f'{where} {name}: no such option{nearest(name, [*BY_NAME, "host", "port", "listen"])}')
            continue
        try:
            values[row.name] = row.kind.parse(text.strip())
            places[row.name] = where
        except ValueError as error:
            complaints.append(f'{where} {name}: {error}')
    if endpoint and 'bind' not in values:
        host = endpoint.get('host', '127.0.0.1')
        text = f'[{host}]' if ':' in host and not host.startswith('[') else host
        try:
            values['bind'] = _parse_addresses(f'{text}:{endpoint.get("port", "8080")}')
        except ValueError as error:
            complaints.append(f'{endpoint["where"]} port: {error}')
    settings = Settings(values)
    # A value that isn't there because it can't be read contradicts nothing.
    complaints = complaints or [f'{places[name]} {name}: {problem}' for name, problem in settings.contradictions()]
    if complaints:
        raise ConfigError(*complaints)
    return settings
