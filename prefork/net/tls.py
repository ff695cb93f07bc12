"""The TLS side of a listener: its files, and the SSLContext that the master builds once and every worker inherits.

Being built before the forks, it has one set of session tickets for all workers, and the master alone reads the key.
"""

from __future__ import annotations

import os

from prefork.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl

    from prefork.settings import Settings

_FILES = ('ssl_cert_file', 'ssl_key_file', 'ssl_ca_file')


def check_files(settings: Settings) -> None:
    """Raise ConfigError, naming each file of the TLS options that is missing or unreadable, or isn't given."""
    complaints = []
    for name in _FILES:
        path: str = getattr(settings, name)
        if path and (problem := _problem(path)):
            complaints.append(f'{name}: {path}: {problem}')
    given = {name for name in _FILES if getattr(settings, name)}
    if given:
        complaints += [
            f'{name}: TLS needs both ssl_cert_file and ssl_key_file' for name in _FILES[:2] if name not in given
        ]
    if complaints:
        raise ConfigError(*complaints)


def _problem(path: str) -> str:
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return error.strerror or str(error)
    return 'is a folder' if os.path.isdir(path) else ''


def make_context(settings: Settings) -> ssl.SSLContext:
    """The context for ``settings``, whose TLS is on.  Raises ConfigError, naming the option that can't be used."""
    import ssl  # 5 MB that a server without TLS needn't carry

    check_files(settings)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion[settings.ssl_minimum_version.replace('.', '_')]
    context.set_alpn_protocols(['http/1.1'])
    context.options |= ssl.OP_NO_RENEGOTIATION  # a client's way to buy our CPU time
    try:
        context.load_cert_chain(settings.ssl_cert_file, settings.ssl_key_file, _no_password)
    except OSError as error:
        names = f'{settings.ssl_cert_file}, {settings.ssl_key_file}'
        raise ConfigError(f'ssl_cert_file, ssl_key_file: {names}: {_reason(error)}') from error
    if settings.ssl_ca_file:
        try:
            context.load_verify_locations(settings.ssl_ca_file)
        except OSError as error:
            raise ConfigError(f'ssl_ca_file: {settings.ssl_ca_file}: {_reason(error)}') from error
        context.verify_mode = ssl.CERT_REQUIRED
    if settings.ssl_ciphers:
        try:
            context.set_ciphers(settings.ssl_ciphers)
        except ssl.SSLError:
            raise ConfigError(f'ssl_ciphers: {settings.ssl_ciphers!r} selects no cipher that OpenSSL has') from None
    return context


def _no_password() -> str:
    """Instead of the terminal prompt that OpenSSL would otherwise wait at."""
    raise ConfigError('ssl_key_file: the key is protected by a passphrase; give one without')


def _reason(error: OSError) -> str:
    reason: str | None = getattr(error, 'reason', None)  # of an SSLError: such as KEY_VALUES_MISMATCH
    return reason.lower().replace('_', ' ') if reason else error.strerror or str(error)
