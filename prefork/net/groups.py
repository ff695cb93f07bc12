"""The groups that TLS agrees on its keys in.

OpenSSL's default has some that Mozilla's intermediate configuration hasn't, and scanners complain of.  Python's ssl can
choose them from 3.15 on.  Before, it knows OpenSSL's default or a single group, and a single one is either refused by
some clients or costs the others a round trip.  So OpenSSL is asked itself, where we know how.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

GROUPS = 'X25519:P-256:P-384'
POST_QUANTUM = 'X25519MLKEM768'
"""From OpenSSL 3.5 on, and its own first choice there."""

_SSL_CTRL_SET_GROUPS_LIST = 92  # openssl/ssl.h: what SSL_CTX_set1_groups_list() is a name for

_KNOWN = (3, 11), (3, 12), (3, 13)
"""The versions of CPython whose SSLContext is known to begin with a pointer to its SSL_CTX."""


def choose_groups(context: ssl.SSLContext) -> bool:
    """Have ``context`` agree to GROUPS alone; whether it does.  Where it doesn't, OpenSSL's default stands."""
    choose = getattr(context, 'set_groups', None) or _by_openssl(context)
    return choose is not None and any(_is_taken(choose, names) for names in (f'{POST_QUANTUM}:{GROUPS}', GROUPS))


def _is_taken(choose: Callable[[str], object], names: str) -> bool:
    try:
        choose(names)
    except OSError:  # an SSLError: it hasn't all of them
        return False
    return True


def _by_openssl(context: ssl.SSLContext) -> Callable[[str], object] | None:
    """What SSLContext.set_groups is from Python 3.15 on; None where it can't be had."""
    if sys.implementation.name != 'cpython' or sys.version_info[:2] not in _KNOWN:
        return None
    import _ssl
    import ctypes

    try:
        library = ctypes.CDLL(getattr(_ssl, '__file__', None))  # through it, the very OpenSSL that Python uses
        control, forget_errors = library.SSL_CTX_ctrl, library.ERR_clear_error
    except (OSError, AttributeError):
        return None  # it is linked into the interpreter, which keeps its names to itself
    control.argtypes = ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_char_p
    control.restype = ctypes.c_long
    pointer = ctypes.c_void_p.from_address(id(context) + object.__basicsize__)

    def choose(names: str) -> None:
        if control(pointer, _SSL_CTRL_SET_GROUPS_LIST, 0, names.encode()) != 1:
            forget_errors()  # the next to look at this thread's list of errors would take them for its own
            raise OSError(f'OpenSSL has not all of {names}')

    return choose
