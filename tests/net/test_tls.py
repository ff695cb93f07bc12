"""The TLS context: its files named when they can't be used, and what a client gets."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import serialization

from prefork.errors import ConfigError
from prefork.net.tls import check_files, make_context
from prefork.settings import Settings

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
    'no certificate in it': ({'ssl_cert_file': 'key'}, 'ssl_cert_file, ssl_key_file: '),
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
    with pytest.raises(ConfigError, match='protected by a passphrase'):
        make_context(Settings({**certificates.options, 'ssl_key_file': str(tmp_path / 'key.pem')}))


@contextlib.contextmanager
def handshaking(settings: Settings) -> Iterator[socket.socket]:
    """A client's socket, with a server behind it that answers one handshake and says hello."""
    context = make_context(settings)
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
