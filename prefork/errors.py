"""Every exception that prefork raises on purpose: one tree, so that a caller can catch all of it or any part.

Each class carries what its one handler needs: the exit status for the command line, the response status for
the HTTP side, the place in the file for the ini loader.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# sysexits(3), spelled out because os.EX_* is missing on some platforms.
EX_OK = 0
EX_USAGE = 64
EX_UNAVAILABLE = 69
EX_SOFTWARE = 70
EX_TEMPFAIL = 75
EX_NOPERM = 77
EX_CONFIG = 78


class PreforkError(Exception):
    """The root of the tree.  ``exit_status`` is what ``prefork-wsgi`` ends with when nobody handles it."""

    exit_status = EX_SOFTWARE


class UsageError(PreforkError):
    """The command line makes no sense; the message says what to write instead."""

    exit_status = EX_USAGE


class BindError(PreforkError):
    """A listener can't be had: the address is taken, not ours, or not permitted."""

    exit_status = EX_UNAVAILABLE


class ConfigError(PreforkError):
    """The configuration can't be used.  ``complaints`` holds every problem found, each a line of its own."""

    exit_status = EX_CONFIG

    def __init__(self, *complaints: str) -> None:
        super().__init__('\n'.join(complaints))
        self.complaints = complaints


class IniError(ConfigError):
    """A problem at one place of an ini file: ``FILE:LINE: [section] key: problem``.

    ``path``, ``section``, ``key`` and ``line`` say where; each is None where it doesn't apply.  ``used_by`` has the
    places that led there, the nearest first; ``others`` has further errors that don't depend on this one.
    """

    def __init__(
        self,
        problem: str,
        *,
        path: str | None = None,
        section: str | None = None,
        key: str | None = None,
        line: int | None = None,
        used_by: tuple[str, ...] = (),
        others: tuple[IniError, ...] = (),
    ) -> None:
        where = ''
        if path is not None:
            where = f'{path}:{line}: ' if line is not None else f'{path}: '
        if section is not None:
            where += f'[{section}] '
        if key is not None:
            where += f'{key}: '
        chain = f' (used by {", by ".join(used_by)})' if used_by else ''
        rest = [complaint for other in others for complaint in other.complaints]
        super().__init__(*dict.fromkeys([where + problem + chain, *rest]))
        self.problem = problem
        self.path = path
        self.section = section
        self.key = key
        self.line = line
        self.used_by = used_by
        self.others = others

    def extended(self, *, used_by: tuple[str, ...] = (), others: tuple[IniError, ...] = ()) -> IniError:
        """The same error, with more known about it: what led to it and to its others, or further others."""
        known = tuple(other.extended(used_by=used_by) for other in self.others)
        return self._copy(self.used_by + used_by, known + others)

    def each(self) -> Iterator[IniError]:
        """This error without its others, then each of those."""
        yield self._copy(self.used_by, ()) if self.others else self
        for other in self.others:
            yield from other.each()

    def _copy(self, used_by: tuple[str, ...], others: tuple[IniError, ...]) -> IniError:
        return type(self)(
            self.problem,
            path=self.path,
            section=self.section,
            key=self.key,
            line=self.line,
            used_by=used_by,
            others=others,
        )


class IniFileError(IniError, OSError):
    """The file can't be read; the system's error is chained."""


class IniFileNotFound(IniFileError, FileNotFoundError):
    """The file isn't there.  Callers of PasteDeploy catch FileNotFoundError; they still can."""


class IniParseError(IniError, ValueError):
    """The text isn't what it should be: no section header, no delimiter, a duplicate, a bad ``%``, a path that is
    relative to nothing."""


class IniLookupError(IniError, LookupError):
    """A name that isn't there, or is there twice.  Callers of PasteDeploy catch LookupError; they still can."""

    # LookupError's __str__ is Exception's, unlike KeyError's: the message prints without quotes.


class IniImportError(IniError, ImportError):
    """A factory, distribution or entry point can't be imported; the cause is chained."""


class IniFactoryError(IniError, TypeError):
    """A factory was found and can't be called with the options there are; the cause is chained.

    What a factory itself raises isn't this: it propagates as it is, with a note of the place.
    """


class ConfigNotFound(ConfigError):
    """The Loader's ini file isn't there."""


class AppNotFound(ConfigError, LookupError):
    """The Loader's ini file has no application of that name."""


class ProtocolError(PreforkError):
    """What came from the client isn't HTTP that we accept.

    ``status`` is the response status to answer with before the connection is closed.
    """

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


class BodyError(ProtocolError, OSError):
    """The rest of a body that the application reads can't be had: it is malformed, too large, too slow or cut.

    An OSError, as frameworks expect of ``wsgi.input``.
    """


class ClientGone(PreforkError, ConnectionError):
    """The client went away while the application was still producing its response."""


class ClientTooSlow(ClientGone):
    """The client reads so slowly that there is no more room for its response; the connection is given up."""


class RequestTimeout(BaseException):
    """The call has lasted for longer than ``request_timeout``: raised in the application, which shall clean up and end.

    Its client has had another answer by then.  It stands outside of the tree, and isn't an Exception, so that nobody
    takes it for an error of what is being done at that moment.
    """

    def __str__(self) -> str:
        return 'the call has lasted longer than request_timeout'


class ChannelError(PreforkError):
    """What came over a channel from another of our processes isn't a message."""


class ApplicationError(PreforkError):
    """The application broke PEP 3333; the message says which rule."""
