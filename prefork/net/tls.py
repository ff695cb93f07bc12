"""The TLS side of a server: its files, and the contexts that the master builds once and every worker inherits.

Every connection begins in a context without a certificate, the door.  There the client may say which name it asks for,
and the handshake goes on in the context of that name's certificate.  The keys that session tickets are encrypted with
are those of the context that a connection began in.  So a ticket is good in every worker, and where a reload keeps the
door, it is good with the next certificates, too; while these are as new as a configuration that failed can't disturb.
"""

from __future__ import annotations

import os
import ssl
import sys

from prefork.errors import ConfigError
from prefork.net.groups import choose_groups

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from prefork.settings import Settings

_CERT, _KEY, _CA = 'ssl_cert_file', 'ssl_key_file', 'ssl_ca_file'

CIPHERS = 'ECDHE+AESGCM:ECDHE+CHACHA20'
"""For TLS 1.2, where ssl_ciphers isn't set: what keeps its secrets when the key is lost, and authenticates what it
encrypts.  These are of Mozilla's intermediate configuration."""


# --- files --------------------------------------------------------------------------------------------------------


def check_files(settings: Settings) -> None:
    """Raise ConfigError, naming each file of the TLS options that is missing or unreadable, or isn't given."""
    given = {name: path for name in (_CERT, _KEY, _CA) if (path := getattr(settings, name))}
    files = list(given.items())
    files += [(f'ssl_sni: {name}', path) for name, cert, key in settings.ssl_sni for path in (cert, key)]
    complaints = [f'{where}: {path}: {problem}' for where, path in files if (problem := _problem(path))]
    if files:
        complaints += [
            f'{name}: TLS needs both ssl_cert_file and ssl_key_file' for name in (_CERT, _KEY) if name not in given
        ]
    if complaints:
        raise ConfigError(*complaints)


def _problem(path: str) -> str:
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return error.strerror or str(error)
    return 'is a folder' if os.path.isdir(path) else ''


# --- contexts -----------------------------------------------------------------------------------------------------


class ServerSocket(ssl.SSLSocket):
    """One side of a connection, with the name that the client asked for; None where it named none."""

    asked_name: str | None = None


class Contexts:
    """All that one server's settings say of TLS, validated: the door, and a context for each certificate.

    Raises ConfigError, naming the options and files that can't be used.
    """

    __slots__ = ('_by_name', '_default', '_door', '_terms')

    def __init__(self, settings: Settings) -> None:
        check_files(settings)
        self._door = _context(settings)
        self._door.sslsocket_class = ServerSocket
        self._terms = settings.ssl_minimum_version, settings.ssl_ciphers, _content(settings.ssl_ca_file)
        complaints: list[str] = []
        made: dict[tuple[str, str], ssl.SSLContext | None] = {}
        default = settings.ssl_cert_file, settings.ssl_key_file
        for name, *files in [('', *default), *settings.ssl_sni]:
            cert, key = files
            if (cert, key) not in made:
                made[cert, key] = _with_certificate(_context(settings), name, cert, key, complaints)
        if complaints:
            raise ConfigError(*complaints)
        self._default = made[default]
        self._by_name = {name: made[cert, key] for name, cert, key in settings.ssl_sni}

    def keep_sessions(self, earlier: Contexts) -> None:
        """Let the sessions go on that clients have begun with ``earlier``, by taking its door over.

        Not where it was a matter of other versions, ciphers or authorities: what a client has proved then isn't what
        it would have to prove now.
        """
        if earlier._terms == self._terms:
            self._door = earlier._door

    def open(self) -> ssl.SSLContext:
        """The context to accept connections with, which in this process lead to these certificates from now on."""
        _silence_bad_names()
        self._door.sni_callback = self._enter
        return self._door

    def _enter(self, sock: Any, name: str | None, door: ssl.SSLContext) -> None:
        """OpenSSL calls it in each handshake, with the client's server_name (RFC 6066 3) or without one."""
        context = self._default
        if name is not None:
            sock.asked_name = name
            if self._by_name:
                name = name.lower()
                context = self._by_name.get(name) or self._by_name.get('*.' + name.partition('.')[2]) or context
        sock.context = context


def make_context(settings: Settings) -> ssl.SSLContext:
    """The context to accept with for ``settings``, whose TLS is on.  Raises ConfigError, naming what can't be used."""
    return Contexts(settings).open()


def _context(settings: Settings) -> ssl.SSLContext:
    """A context without a certificate.  All of a server's are alike: OpenSSL takes some things from the one that a
    connection began in, and some from the one in which it goes on."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion[settings.ssl_minimum_version.replace('.', '_')]
    # RFC 7301 3.2 has a client refused that offers other protocols alone.  Python's ssl goes on without any instead,
    # and doesn't tell us; an HTTP/2 client that goes on, too, is answered 505 in HTTP/1.1.
    context.set_alpn_protocols(['http/1.1'])
    context.options |= ssl.OP_NO_RENEGOTIATION  # a client's way to buy our CPU time
    # RFC 9112 9.8: be prepared for clients that end without close_notify.  What they sent has a length of its own.
    context.options |= ssl.OP_IGNORE_UNEXPECTED_EOF
    choose_groups(context)
    try:
        context.set_ciphers(settings.ssl_ciphers or CIPHERS)
    except ssl.SSLError:
        raise ConfigError(f'ssl_ciphers: {settings.ssl_ciphers!r} selects no cipher that OpenSSL has') from None
    if settings.ssl_ca_file:
        try:
            context.load_verify_locations(settings.ssl_ca_file)
        except OSError as error:
            raise ConfigError(f'{_CA}: {settings.ssl_ca_file}: {_reason(error)}') from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _with_certificate(
    context: ssl.SSLContext, name: str, cert: str, key: str, complaints: list[str]
) -> ssl.SSLContext | None:
    """The context with the certificate for ``name``, '' being the default; None and a complaint where it has none."""

    def no_password() -> str:
        """Instead of the terminal prompt that OpenSSL would otherwise wait at."""
        option = f'ssl_sni: {name}' if name else _KEY
        raise ConfigError(f'{option}: {key}: the key is protected by a passphrase; give one without')

    try:
        context.load_cert_chain(cert, key, no_password)
    except OSError as error:
        options = f'ssl_sni: {name}' if name else f'{_CERT}, {_KEY}'
        complaints.append(f'{options}: {cert}, {key}: {_missing(cert, key) or _reason(error)}')
    except ConfigError as error:
        complaints += error.complaints
    else:
        return context
    return None


def _content(path: str) -> bytes:
    if not path:
        return b''
    with open(path, 'rb') as file:
        return file.read()


def _missing(cert: str, key: str) -> str:
    """What OpenSSL doesn't say: in which of two files it has found nothing."""
    for kind, path in (('CERTIFICATE', cert), ('PRIVATE KEY', key)):
        if f'{kind}-----'.encode() not in _content(path):
            return f'there is no PEM {kind.lower()} in {path}'
    return ''


def _reason(error: OSError) -> str:
    reason: str | None = getattr(error, 'reason', None)  # of an SSLError: such as KEY_VALUES_MISMATCH
    return reason.lower().replace('_', ' ') if reason else error.strerror or str(error)


# --- noise --------------------------------------------------------------------------------------------------------

_silenced = False


def _silence_bad_names() -> None:
    """Keep a traceback out of the log that anybody could put there, as often as they like.

    CPython refuses a handshake whose server_name isn't ASCII, and reports that as an exception that it can't raise.
    """
    global _silenced
    if _silenced:
        return
    _silenced = True
    report = sys.unraisablehook

    def report_others(unraisable: sys.UnraisableHookArgs) -> None:
        trace = unraisable.exc_traceback
        if unraisable.exc_type is UnicodeDecodeError and trace and trace.tb_frame.f_globals is vars(ssl):
            return
        report(unraisable)

    sys.unraisablehook = report_others
