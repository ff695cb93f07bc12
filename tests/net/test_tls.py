"""The TLS context: its files named when they can't be used, and what a client gets."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from prefork.errors import ConfigError
from prefork.net import groups
from prefork.net.tls import Contexts, check_files, make_context
from prefork.settings import OPTIONS, Settings, from_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.certificates import Certificates

# Options, in which the names of certificates stand for their files, and the complaints.
INCOMPLETE = {
    'no key': ({'ssl_cert_file': 'cert'}, ['ssl_key_file: TLS needs both ssl_cert_file and ssl_key_file']),
    'no certificate': ({'ssl_key_file': 'key'}, ['ssl_cert_file: TLS needs both ssl_cert_file and ssl_key_file']),
    'an authority alone': (
        {'ssl_ca_file': 'ca'},
        [
            'ssl_cert_file: TLS needs both ssl_cert_file and ssl_key_file',
            'ssl_key_file: TLS needs both ssl_cert_file and ssl_key_file',
        ],
    ),
    'files that are not there': (
        {'ssl_cert_file': '/nowhere/c', 'ssl_key_file': '/nowhere/k', 'ssl_ca_file': '/nowhere/a'},
        [
            'ssl_cert_file: /nowhere/c: No such file or directory',
            'ssl_key_file: /nowhere/k: No such file or directory',
            'ssl_ca_file: /nowhere/a: No such file or directory',
        ],
    ),
    'a folder': (
        {'ssl_cert_file': '/', 'ssl_key_file': 'key'},
        ['ssl_cert_file: /: is a folder'],
    ),
}


def files(certificates: Certificates, **options: str) -> Settings:
    return Settings({name: str(getattr(certificates, value, value)) for name, value in options.items()})


@pytest.mark.parametrize(('options', 'complaints'), INCOMPLETE.values(), ids=INCOMPLETE)
def test_every_file_that_is_missing_is_named(
    options: dict[str, str], complaints: list[str], certificates: Certificates
) -> None:
    for check in (check_files, make_context):
        with pytest.raises(ConfigError) as caught:
            check(files(certificates, **options))
        assert list(caught.value.complaints) == complaints


def test_no_tls_and_complete_tls_pass(certificates: Certificates) -> None:
    check_files(Settings())
    check_files(Settings(certificates.options))


UNUSABLE: dict[str, tuple[dict[str, str], str]] = {
    'no certificate in it': (
        {'ssl_cert_file': 'key'},
        r'ssl_cert_file, ssl_key_file: \S+, \S+: there is no PEM certificate in \S+key.pem',
    ),
    'no key in it': ({'ssl_key_file': 'cert'}, r'ssl_key_file: .*: there is no PEM private key in \S+cert.pem'),
    'no authority in it': ({'ssl_ca_file': 'key'}, 'ssl_ca_file: '),
    'a key of another certificate': ({'ssl_key_file': 'client'}, 'ssl_key_file: .*key values mismatch'),
    'ciphers that are none': ({'ssl_ciphers': 'ROT13'}, "ssl_ciphers: 'ROT13' selects no cipher"),
}


@pytest.mark.parametrize(('options', 'message'), UNUSABLE.values(), ids=UNUSABLE)
def test_what_cannot_be_used_is_named(options: dict[str, str], message: str, certificates: Certificates) -> None:
    with pytest.raises(ConfigError, match=message):
        make_context(files(certificates, **{'ssl_cert_file': 'cert', 'ssl_key_file': 'key', **options}))


def test_a_passphrase_is_not_asked_for(certificates: Certificates, tmp_path: Path) -> None:
    key = serialization.load_pem_private_key(certificates.key.read_bytes(), None)
    protected = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b'secret'),
    )
    (tmp_path / 'key.pem').write_bytes(protected)
    path = str(tmp_path / 'key.pem')
    with pytest.raises(ConfigError, match=f'ssl_key_file: {path}: the key is protected by a passphrase'):
        make_context(Settings({**certificates.options, 'ssl_key_file': path}))
    with pytest.raises(ConfigError, match=f'ssl_sni: other.example: {path}: the key is protected by a passphrase'):
        make_context(Settings({**certificates.options, 'ssl_sni': (('other.example', str(certificates.cert), path),)}))


def test_every_certificate_of_a_name_that_cannot_be_used_is_named(certificates: Certificates) -> None:
    cert, key = map(str, (certificates.cert, certificates.key))
    names = ('a.example', cert, key), ('b.example', cert, str(certificates.client)), ('c.example', key, key)
    with pytest.raises(ConfigError) as caught:
        make_context(Settings({**certificates.options, 'ssl_sni': names}))
    assert list(caught.value.complaints) == [
        f'ssl_sni: b.example: {cert}, {certificates.client}: key values mismatch',
        f'ssl_sni: c.example: {key}, {key}: there is no PEM certificate in {key}',
    ]


def test_certificates_of_names_need_one_for_all_others(certificates: Certificates) -> None:
    names = (('a.example', str(certificates.cert), '/nowhere/key'),)
    for check in (check_files, make_context):
        with pytest.raises(ConfigError) as caught:
            check(Settings({'ssl_sni': names}))
        assert list(caught.value.complaints) == [
            'ssl_sni: a.example: /nowhere/key: No such file or directory',
            'ssl_cert_file: TLS needs both ssl_cert_file and ssl_key_file',
            'ssl_key_file: TLS needs both ssl_cert_file and ssl_key_file',
        ]


@contextlib.contextmanager
def handshaking(settings: Settings) -> Iterator[socket.socket]:
    """A client's socket, with a server behind it that answers one handshake and says hello."""
    with serving(make_context(settings)) as sock:
        yield sock


@contextlib.contextmanager
def serving(context: ssl.SSLContext) -> Iterator[socket.socket]:
    ours, theirs = socket.socketpair()
    ours.settimeout(10)
    theirs.settimeout(10)

    def serve() -> None:
        try:
            with context.wrap_socket(theirs, server_side=True) as connection:
                connection.sendall(b'hello')
        except OSError:
            theirs.close()  # the client is told why, and asserts it

    server = threading.Thread(target=serve)
    server.start()
    try:
        yield ours
    finally:
        ours.close()
        server.join(10)


def client_context(certificates: Certificates, **attributes: Any) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(certificates.ca))
    for name, value in attributes.items():
        setattr(context, name, value)
    return context


def test_a_client_is_served(certificates: Certificates) -> None:
    context = client_context(certificates)
    context.set_alpn_protocols(['h2', 'http/1.1'])
    with (
        handshaking(Settings(certificates.options)) as sock,
        context.wrap_socket(sock, server_hostname='localhost') as client,
    ):
        assert client.recv(10) == b'hello'
        assert client.version() == 'TLSv1.3'
        assert client.selected_alpn_protocol() == 'http/1.1'


VERSIONS = {
    'TLS 1.2 is spoken': ('TLSv1.2', ssl.TLSVersion.TLSv1_2, True),
    'TLS 1.2 is refused': ('TLSv1.3', ssl.TLSVersion.TLSv1_2, False),
    'TLS 1.3 is spoken': ('TLSv1.3', ssl.TLSVersion.TLSv1_3, True),
}


@pytest.mark.parametrize(('minimum', 'version', 'served'), VERSIONS.values(), ids=VERSIONS)
def test_the_oldest_version(minimum: str, version: ssl.TLSVersion, served: bool, certificates: Certificates) -> None:
    context = client_context(certificates, maximum_version=version)
    settings = Settings({**certificates.options, 'ssl_minimum_version': minimum})
    refused = contextlib.nullcontext() if served else pytest.raises(ssl.SSLError, match=r'(?i)protocol.version')
    with handshaking(settings) as sock, refused, context.wrap_socket(sock, server_hostname='localhost') as client:
        assert client.recv(10) == b'hello'


def test_ciphers_are_chosen(certificates: Certificates) -> None:
    context = client_context(certificates, maximum_version=ssl.TLSVersion.TLSv1_2)
    settings = Settings({**certificates.options, 'ssl_ciphers': 'ECDHE-ECDSA-AES128-GCM-SHA256'})
    with handshaking(settings) as sock, context.wrap_socket(sock, server_hostname='localhost') as client:
        cipher = client.cipher()
        assert cipher is not None
        assert cipher[0] == 'ECDHE-ECDSA-AES128-GCM-SHA256'


@pytest.mark.parametrize('shows', [True, False], ids=['with a certificate', 'without'])
def test_an_authority_makes_client_certificates_required(shows: bool, certificates: Certificates) -> None:
    context = client_context(certificates)
    if shows:
        context.load_cert_chain(certificates.client)
    settings = Settings({**certificates.options, 'ssl_ca_file': str(certificates.ca)})
    refused = contextlib.nullcontext() if shows else pytest.raises(ssl.SSLError, match=r'(?i)certificate.required')
    with handshaking(settings) as sock, refused, context.wrap_socket(sock, server_hostname='localhost') as client:
        assert client.recv(10) == b'hello'


# --- what is agreed on --------------------------------------------------------------------------------------------


def test_ciphers_have_forward_secrecy_and_authenticate_unless_others_are_chosen(certificates: Certificates) -> None:
    context = make_context(Settings(certificates.options))
    names = {cipher['name'] for cipher in context.get_ciphers()}
    assert len(names) == 9
    assert all(name.startswith(('TLS_', 'ECDHE-')) for name in names)
    assert all(name.rsplit('-', 1)[0].endswith(('GCM', 'CHACHA20')) for name in names if name.startswith('ECDHE-'))
    assert context.options & ssl.OP_CIPHER_SERVER_PREFERENCE
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.options & ssl.OP_NO_RENEGOTIATION


# The only group that a client offers, and whether it is accepted.
CURVES = {'P-256': ('prime256v1', True), 'P-384': ('secp384r1', True), 'P-521': ('secp521r1', False)}


@pytest.mark.parametrize(('curve', 'served'), CURVES.values(), ids=CURVES)
def test_groups_are_those_that_scanners_accept(curve: str, served: bool, certificates: Certificates) -> None:
    context = client_context(certificates)
    context.set_ecdh_curve(curve)
    refused = contextlib.nullcontext() if served else pytest.raises(ssl.SSLError, match=r'(?i)handshake.failure')
    with (
        handshaking(Settings(certificates.options)) as sock,
        refused,
        context.wrap_socket(sock, server_hostname='localhost') as client,
    ):
        assert client.recv(10) == b'hello'


def test_where_groups_cannot_be_chosen_openssl_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    assert groups.choose_groups(context)
    monkeypatch.setattr(groups, 'POST_QUANTUM', 'no such group')
    assert groups.choose_groups(context), 'those that there are'
    monkeypatch.setattr(groups, 'GROUPS', 'no such group')
    assert not groups.choose_groups(context)
    monkeypatch.setattr(groups, '_KNOWN', ())
    assert not groups.choose_groups(context)


PROTOCOLS = {
    'ours': (['http/1.1'], 'http/1.1'),
    'ours among others': (['h2', 'http/1.1'], 'http/1.1'),
    # RFC 7301 3.2 would have it refused; Python can't.
    'others alone': (['h2'], None),
    'none': ([], None),
}


@pytest.mark.parametrize(('offered', 'agreed'), PROTOCOLS.values(), ids=PROTOCOLS)
def test_the_protocol(offered: list[str], agreed: str | None, certificates: Certificates) -> None:
    context = client_context(certificates)
    if offered:
        context.set_alpn_protocols(offered)
    cert, key = map(str, (certificates.cert, certificates.key))
    settings = Settings({**certificates.options, 'ssl_sni': (('localhost', cert, key),)})
    for name in ('localhost', '127.0.0.1'):
        with handshaking(settings) as sock, context.wrap_socket(sock, server_hostname=name) as client:
            assert client.selected_alpn_protocol() == agreed


# --- names --------------------------------------------------------------------------------------------------------

# What a client asks for, and the certificate that it is shown.
ASKED = {
    'nothing': (None, 'localhost'),
    'an unknown name': ('other.example', 'localhost'),
    'a name': ('one.example', 'one.example'),
    'a name in capitals': ('ONE.Example', 'one.example'),
    'a name that a star stands for': ('a.many.example', '*.many.example'),
    'a name of its own in spite of a star': ('two.many.example', 'two.many.example'),
    'what is above a star': ('many.example', 'localhost'),
    'two labels where a star stands for one': ('a.b.many.example', 'localhost'),
    'a name with A-labels': ('bücher.example', 'xn--bcher-kva.example'),
}


@pytest.fixture(scope='module')
def named(certificates: Certificates) -> Settings:
    """The settings of a server with several names, whose certificates have one each."""
    names = ('one.example', '*.many.example', 'two.many.example', 'xn--bcher-kva.example')
    issued = [(name, *certificates.issue(f'named{number}', name)) for number, name in enumerate(names)]
    lines = '\n'.join(f'{name} {cert} {key}' for name, cert, key in issued)
    files = [(name, path, 'test') for name, path in certificates.options.items()]
    return from_text([*files, ('ssl_sni', lines, 'test')])


def shown(sock: socket.socket, name: str | None, context: ssl.SSLContext) -> str:
    """The first name of the certificate that is shown to who asks for ``name``."""
    context.check_hostname = False
    with context.wrap_socket(sock, server_hostname=name) as client:
        assert client.recv(10) == b'hello'
        certificate = client.getpeercert()
        assert certificate is not None
        return str(certificate['subjectAltName'][0][1])


@pytest.mark.parametrize('version', [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda version: version.name)
@pytest.mark.parametrize(('name', 'certificate'), ASKED.values(), ids=ASKED)
def test_the_certificate_of_a_name(
    name: str | None, certificate: str, version: ssl.TLSVersion, named: Settings, certificates: Certificates
) -> None:
    context = client_context(certificates, maximum_version=version)
    with handshaking(named) as sock:
        assert shown(sock, name, context) == certificate


@pytest.mark.parametrize('shows', [True, False], ids=['with a certificate', 'without'])
@pytest.mark.parametrize('name', ['one.example', 'localhost'])
def test_an_authority_goes_for_all_names(shows: bool, name: str, named: Settings, certificates: Certificates) -> None:
    values = {option.name: getattr(named, option.name) for option in OPTIONS}
    settings = Settings({**values, 'ssl_ca_file': str(certificates.ca), 'ssl_minimum_version': 'TLSv1.3'})
    context = client_context(certificates)
    if shows:
        context.load_cert_chain(certificates.client)
    refused = contextlib.nullcontext() if shows else pytest.raises(ssl.SSLError, match=r'(?i)certificate.required')
    with handshaking(settings) as sock, refused:
        assert shown(sock, name, context) == name


# --- sessions -----------------------------------------------------------------------------------------------------


class Resuming:
    """A client that comes again and again, to one server after the other."""

    def __init__(self, certificates: Certificates, version: ssl.TLSVersion) -> None:
        self._context = client_context(certificates, minimum_version=version, maximum_version=version)
        self._context.load_cert_chain(certificates.client)
        self._session: ssl.SSLSession | None = None

    def resumes(self, contexts: Contexts) -> bool:
        """Make a connection; whether it resumes the session of the last one."""
        with (
            serving(contexts.open()) as sock,
            self._context.wrap_socket(sock, server_hostname='localhost', session=self._session) as client,
        ):
            assert client.recv(10) == b'hello'
            self._session = client.session
            return bool(client.session_reused)


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda version: version.name)
def resuming(request: pytest.FixtureRequest, certificates: Certificates) -> Resuming:
    return Resuming(certificates, request.param)


@pytest.mark.parametrize('key', [trustme.KeyType.ECDSA, trustme.KeyType.RSA], ids=lambda key: key.name)
def test_a_session_goes_on_with_another_certificate(
    key: trustme.KeyType, resuming: Resuming, certificates: Certificates
) -> None:
    """Of whatever kind."""
    cert, key_file = map(str, certificates.issue(f'next-{key.name}', 'localhost', key_type=key))
    first = Contexts(Settings(certificates.options))
    assert not resuming.resumes(first)
    second = Contexts(Settings({'ssl_cert_file': cert, 'ssl_key_file': key_file}))
    second.keep_sessions(first)
    assert resuming.resumes(second)
    assert resuming.resumes(first), 'which those that serve still have'
    third = Contexts(Settings({**certificates.options, 'ssl_sni': (('localhost', cert, key_file),)}))
    third.keep_sessions(second)
    assert resuming.resumes(third)
    assert not resuming.resumes(Contexts(Settings(certificates.options))), 'it was never told of the others'


OTHER_TERMS = {
    'another authority': {'ssl_ca_file': 'other'},
    'no authority': {'ssl_ca_file': ''},
    'other ciphers': {'ssl_ciphers': 'ECDHE+CHACHA20'},
    'another version': {'ssl_minimum_version': 'TLSv1.3'},
}


@pytest.mark.parametrize('options', OTHER_TERMS.values(), ids=OTHER_TERMS)
def test_a_session_ends_where_its_client_would_have_to_prove_something_else(
    options: dict[str, str], certificates: Certificates, tmp_path: Path
) -> None:
    both = tmp_path / 'other'
    both.write_bytes(trustme.CA().cert_pem.bytes() + certificates.ca.read_bytes())
    options = {name: value.replace('other', str(both)) for name, value in options.items()}
    required = {**certificates.options, 'ssl_ca_file': str(certificates.ca)}
    resuming = Resuming(certificates, ssl.TLSVersion.TLSv1_3)
    first = Contexts(Settings(required))
    assert not resuming.resumes(first)
    second = Contexts(Settings(required))
    second.keep_sessions(first)
    assert resuming.resumes(second)
    third = Contexts(Settings({**required, **options}))
    third.keep_sessions(second)
    assert not resuming.resumes(third)
    assert resuming.resumes(third)
