"""The option table: how text becomes a value, how a value becomes text, and what is said about text that doesn't."""

from __future__ import annotations

import pytest

from prefork import settings
from prefork.errors import ConfigError
from prefork.settings import BY_NAME, MASTER, OPTIONS, SERVER, Address, Settings, from_text, nearest

WHERE = 'app.ini:3: [server:main]'

GOOD = {
    'address of a host': ('bind', 'localhost:80', (Address('tcp', 'localhost', 80),)),
    'address of all hosts': ('bind', ':80', (Address('tcp', '0.0.0.0', 80),)),
    'address with a star': ('bind', '*:80', (Address('tcp', '0.0.0.0', 80),)),
    'address of IPv6': ('bind', '[::1]:80', (Address('tcp', '::1', 80),)),
    'unix socket': ('bind', 'unix:/run/x.sock', (Address('unix', '/run/x.sock', 0),)),
    'abstract unix socket': ('bind', 'unix:@x', (Address('unix', '@x', 0),)),
    'descriptor': ('bind', 'fd:3', (Address('fd', '', 3),)),
    'named descriptor': ('bind', 'fd:web.socket', (Address('fd', 'web.socket', 0),)),
    'two addresses': ('bind', 'a:1, b:2', (Address('tcp', 'a', 1), Address('tcp', 'b', 2))),
    'two free ports': ('bind', 'a:0 a:0', (Address('tcp', 'a', 0), Address('tcp', 'a', 0))),
    'bytes': ('max_head', '10', 10),
    'kilobytes': ('max_head', '10K', 10 << 10),
    'lower case unit': ('max_head', '10m', 10 << 20),
    'gigabytes': ('max_body', '3G', 3 << 30),
    'fraction of a second': ('keepalive_timeout', '0.5', 0.5),
    'no time': ('keepalive_timeout', '0', 0.0),
    'true': ('keep_alive', 'Yes', True),
    'false': ('keep_alive', 'off', False),
    'mode': ('socket_mode', '0600', 0o600),
    'workers': ('workers', '3', 3),
    'function': ('post_fork', 'package.module:name', 'package.module:name'),
    'path': ('ready_url', '/health?full=1', '/health?full=1'),
    'path of a host': ('ready_url', 'www.example.org:80/health', 'www.example.org:80/health'),
    'choice': ('preload', 'false', 'false'),
    'log template': ('access_log_format', '%(client_ip)s %(wall_seconds).6f', '%(client_ip)s %(wall_seconds).6f'),
    'certificates by name, in lines': (
        'ssl_sni',
        '\nWWW.example.net a.pem a.key\n\n  *.example.org\tb.pem /b/b.key\n',
        (('www.example.net', 'a.pem', 'a.key'), ('*.example.org', 'b.pem', '/b/b.key')),
    ),
    'certificates by name, in one': (
        'ssl_sni',
        'localhost a b, xn--bcher-kva.example c d',
        (('localhost', 'a', 'b'), ('xn--bcher-kva.example', 'c', 'd')),
    ),
    'no certificates by name': ('ssl_sni', ' ,', ()),
    'blanks around': ('threads', ' 8 ', 8),
}

BAD = {
    'no port': ('bind', 'localhost', 'is not HOST:PORT'),
    'IPv6 without brackets': ('bind', '::1:80', 'write an IPv6 address as [ADDRESS]:PORT'),
    'port of letters': ('bind', 'localhost:http', "'http' is not a whole number"),
    'port too large': ('bind', 'localhost:65536', 'above 65535'),
    'no address': ('bind', ' ', 'no address'),
    'address twice': ('bind', 'a:1 a:1', 'a:1 is there twice'),
    'unix socket twice': ('bind', 'unix:/a unix:/a', 'unix:/a is there twice'),
    'unix socket without a name': ('bind', 'unix:@', 'names no socket'),
    'negative descriptor': ('bind', 'fd:-1', 'write fd:NUMBER or fd:NAME'),
    'descriptor without a name': ('bind', 'fd:', 'write fd:NUMBER or fd:NAME'),
    'named descriptor twice': ('bind', 'fd:web fd:web', 'fd:web is there twice'),
    'zero backlog': ('backlog', '0', '0 is below 1'),
    'number too large': ('backlog', '2147483648', 'above 2147483647'),
    'underscore in a number': ('threads', '1_0', 'is not a whole number'),
    'digits of another script': ('threads', '٣', 'is not a whole number'),
    'unit alone': ('max_head', 'K', 'is not a size'),
    'unknown unit': ('max_head', '1T', 'is not a size'),
    'fraction of a size': ('max_head', '1.5K', 'is not a size'),
    'time with a unit': ('header_timeout', '3s', 'is not a number of seconds'),
    'time that is no number': ('header_timeout', 'nan', 'is not a number of seconds'),
    'underscore in a time': ('header_timeout', '1_0', 'is not a number of seconds'),
    'negative time': ('header_timeout', '-1', 'is not a number of seconds'),
    'time too short': ('header_timeout', '0', 'the least is 0.1'),
    'neither true nor false': ('keep_alive', 'maybe', 'neither true nor false'),
    'mode that is not octal': ('socket_mode', '0888', 'is not an octal mode'),
    'mode with a prefix': ('socket_mode', '0o660', 'is not an octal mode'),
    'no workers': ('workers', '0', '0 is below 1'),
    'function without a module': ('post_fork', ':name', 'is not module:function'),
    'module without a function': ('post_fork', 'module', 'is not module:function'),
    'path without a slash': ('ready_url', 'health', 'is neither a path, such as /health, nor HOST/PATH'),
    'path with a scheme': ('ready_url', 'http://example.org/', 'is neither a path'),
    'path with a blank': ('ready_url', '/a b', 'is neither a path'),
    'path with a fragment': ('ready_url', '/a#b', 'is neither a path'),
    'no such choice': ('ssl_minimum_version', 'TLSv1.1', 'is not one of TLSv1.2, TLSv1.3'),
    'a name without a key': ('ssl_sni', 'a x y\nb x', "'b x' is not NAME CERTIFICATE KEY"),
    'a name with too many files': ('ssl_sni', 'a x y b', "'a x y b' is not NAME CERTIFICATE KEY"),
    'a name twice': ('ssl_sni', 'a x y, A x y', 'A is there twice'),
    'a name that is not ASCII': ('ssl_sni', 'bücher.example x y', "'bücher.example' is not ASCII"),
    'an address for a name': ('ssl_sni', '192.0.2.1 x y', "'192.0.2.1' is not the name of a host"),
    'an IPv6 address for a name': ('ssl_sni', '[::1] x y', "'[::1]' is not the name of a host"),
    'a name with a port': ('ssl_sni', 'a.example:443 x y', 'is not the name of a host'),
    'a name with an empty label': ('ssl_sni', 'a..example x y', 'is not the name of a host'),
    'a name with a dot at its end': ('ssl_sni', 'a.example. x y', 'is not the name of a host'),
    'a label too long': ('ssl_sni', f'{"a" * 64}.example x y', 'is not the name of a host'),
    'a name too long': ('ssl_sni', f'{"a." * 127}example x y', 'is not the name of a host'),
    'a star alone': ('ssl_sni', '* x y', 'is not the name of a host'),
    'a star in the middle': ('ssl_sni', 'a.*.example x y', 'is not the name of a host'),
    'a star in a label': ('ssl_sni', 'a*.example x y', 'is not the name of a host'),
    'two stars': ('ssl_sni', '*.*.example x y', 'is not the name of a host'),
    'unknown name in a log template': ('access_log_format', '%(client)s', "no name 'client' in access logs"),
    'broken log template': ('access_log_format', '%(client_ip)', 'is not a template'),
    'log format that is neither': ('access_log_format', 'jsn', 'is neither combined nor common'),
}


@pytest.mark.parametrize(('name', 'text', 'value'), GOOD.values(), ids=GOOD)
def test_text_becomes_a_value(name: str, text: str, value: object) -> None:
    assert getattr(from_text([(name, text, WHERE)]), name) == value


@pytest.mark.parametrize(('name', 'text', 'problem'), BAD.values(), ids=BAD)
def test_bad_text_is_complained_of(name: str, text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_text([(name, text, WHERE)])
    (complaint,) = caught.value.complaints
    assert complaint.startswith(f'{WHERE} {name}: ')
    assert problem in complaint


@pytest.mark.parametrize(('name', 'text', 'value'), GOOD.values(), ids=GOOD)
def test_a_value_survives_being_shown(name: str, text: str, value: object) -> None:
    kind = BY_NAME[name].kind
    assert kind.parse(kind.show(value)) == value


@pytest.mark.parametrize('option', OPTIONS, ids=lambda option: option.name)
def test_every_row_is_complete(option: settings.Option) -> None:
    default = option.kind.parse(option.default)
    assert option.kind.parse(option.kind.show(default)) == default
    assert option.help.endswith('.')
    assert option.scope in (MASTER, SERVER)
    assert option.flag == '--' + option.name.replace('_', '-')


def test_all_complaints_are_made_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        from_text([('threads', 'x', 'f:1:'), ('thread', '3', 'f:2:'), ('backlog', '0', 'f:3:'), ('port', 'y', 'f:4:')])
    assert [complaint.split(' ')[0] for complaint in caught.value.complaints] == ['f:1:', 'f:2:', 'f:3:', 'f:4:']
    assert "no such option (did you mean 'threads'?)" in caught.value.complaints[1]


# options → the complaint there is
CONTRADICTIONS = {
    'the PROXY protocol from nobody': ([('proxy_protocol', 'on', 'f:1:')], 'f:1: proxy_protocol: nobody may connect'),
    'by a flag': (
        [('proxy_protocol', 'off', 'f:1:'), ('proxy_protocol', 'on', 'flag:')],
        'flag: proxy_protocol: nobody may connect',
    ),
    'from proxies that can not be read': (
        [('proxy_protocol', 'on', 'f:1:'), ('trusted_proxies', 'x', 'f:2:')],
        'f:2: trusted_proxies: ',
    ),
}


@pytest.mark.parametrize(('options', 'complaint'), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_what_makes_no_sense_together_is_complained_of(options: list[tuple[str, str, str]], complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_text(options)
    (found,) = caught.value.complaints
    assert found.startswith(complaint)


def test_what_makes_sense_together_is_taken() -> None:
    assert from_text([('proxy_protocol', 'on', 'f:1:'), ('trusted_proxies', '10.0.0.0/8', 'f:2:')]).proxy_protocol
    assert not from_text([('proxy_protocol', 'off', 'f:1:')]).proxy_protocol


def test_the_later_of_two_wins() -> None:
    assert from_text([('threads', '2', 'ini'), ('threads', '3', 'flag')]).threads == 3


ENDPOINTS = {
    'host and port': ([('host', '0.0.0.0'), ('port', '81')], '0.0.0.0:81'),
    'host alone': ([('host', 'localhost')], 'localhost:8080'),
    'port alone': ([('port', '81')], '127.0.0.1:81'),
    'empty host': ([('host', ''), ('port', '81')], '0.0.0.0:81'),
    'IPv6 host': ([('host', '::'), ('port', '81')], '[::]:81'),
    'listen': ([('listen', 'a:1 b:2')], 'a:1 b:2'),
    'bind on top of a port': ([('port', '81'), ('bind', 'a:1')], 'a:1'),
}


@pytest.mark.parametrize(('options', 'bind'), ENDPOINTS.values(), ids=ENDPOINTS)
def test_other_ways_to_say_bind(options: list[tuple[str, str]], bind: str) -> None:
    made = from_text([(name, text, WHERE) for name, text in options])
    assert ' '.join(map(str, made.bind)) == bind


def test_settings_are_frozen_and_complete() -> None:
    made = Settings({'threads': 2})
    assert (made.threads, made.keep_alive, made.bind) == (2, True, (Address('tcp', '127.0.0.1', 8080),))
    with pytest.raises(AttributeError, match='frozen'):
        made.threads = 3
    with pytest.raises(TypeError, match='no such option: thread'):
        Settings({'thread': 2})


def test_lines_make_the_same_settings_again() -> None:
    made = Settings({'threads': 2, 'max_body': 5 << 20, 'bind': (Address('unix', '/x', 0), Address('tcp', '::1', 1))})
    pairs = (line.partition('=')[::2] for line in made.lines())
    again = from_text((name.strip(), text, WHERE) for name, text in pairs)
    assert again.lines() == made.lines()


def test_auto_is_the_processors_there_are() -> None:
    assert Settings().workers == settings.available_processors() >= 1


NEAREST = {
    'a letter missing': ('thread', " (did you mean 'threads'?)"),
    'a dash': ('keep-alive', " (did you mean 'keep_alive'?)"),
    'nothing like it': ('xyzzy', ''),
}


@pytest.mark.parametrize(('name', 'hint'), NEAREST.values(), ids=NEAREST)
def test_the_nearest_name(name: str, hint: str) -> None:
    assert nearest(name, BY_NAME) == hint
