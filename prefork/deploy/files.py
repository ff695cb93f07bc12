"""An ini file as one load sees it: the document, and [DEFAULT] completed by what came from outside."""

from __future__ import annotations

import os

from prefork.deploy import ini
from prefork.deploy.complaints import Complaints
from prefork.deploy.interpolation import escape, interpolate
from prefork.deploy.sections import is_ours
from prefork.errors import IniError, IniFileError, IniFileNotFound, IniParseError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from prefork.deploy.ini import Document, Place


class File:
    """A file that was opened with a ``global_conf``.

    ``document`` is what the file says; ``defaults`` are the options of its [DEFAULT], completed by ``here``,
    ``__file__`` and the keys of ``global_conf`` that it lacks; ``default_values`` are the same, interpolated.
    """

    __slots__ = ('_warned', 'absolute_path', 'default_values', 'defaults', 'document', 'filename')

    def __init__(self, document: Document, filename: str, global_conf: Mapping[str, object]) -> None:
        self.document = document
        self.filename = filename
        self.absolute_path = os.path.abspath(filename)
        builtin = {'here': os.path.dirname(self.absolute_path), '__file__': self.absolute_path}
        self.defaults = _literal(builtin)
        self.defaults.update(document.defaults.options)
        for key, option in _literal(global_conf).items():
            self.defaults.setdefault(key, option)
        # A value that comes to nothing keeps its raw text: an oddity of PasteDeploy that files may lean on.
        self.default_values: dict[str, str] = {}
        complaints = Complaints()
        for key, option in self.defaults.items():
            with complaints:
                self.default_values[key] = interpolate(option, self.defaults) or option.value
        complaints.end()
        self._warned: set[str] = set()

    def warn_of_overruled(self, global_conf: Mapping[str, object]) -> None:
        """Warn of what was given from outside and is used, but loses to the file's own [DEFAULT]."""
        options = self.document.defaults.options
        for key in global_conf:
            if key in options and str(global_conf[key]) != options[key].value and self._mentions(f'%({key})s'):
                self.warn(options[key].place, f'this wins over the {key} given from outside in every %({key})s')

    def _mentions(self, variable: str) -> bool:
        every = (self.document.defaults, *self.document.sections.values())
        return any(variable in option.value for section in every for option in section.options.values())

    def warn(self, place: Place, text: str) -> None:
        """Log what is probably a mistake in the file, once."""
        line = str(place.error(IniError, text))
        if line not in self._warned:
            self._warned.add(line)
            import logging  # only when there is something to say

            logging.getLogger('prefork').warning('%s', line)


def _literal(values: Mapping[str, object]) -> dict[str, ini.Option]:
    """Options for what comes from outside: a stray % in a path or an environment variable is nobody's variable."""
    outside = ini.Place('(outside)', ini.DEFAULT)
    return {key: ini.Option(key, escape(str(value)), outside) for key, value in values.items()}


def read(path: str) -> Document:
    """The document in the file ``path``, UTF-8 with or without a byte order mark.

    Raises IniFileError, or IniParseError with every complaint.  A duplicate is an error in a section that we read.
    """
    try:
        with open(path, 'rb') as file:
            data = file.read()
    except FileNotFoundError as error:
        raise IniFileNotFound('there is no such file', path=path) from error
    except OSError as error:
        raise IniFileError(f'the file cannot be read: {error.strerror}', path=path) from error
    try:
        text = data.decode('utf-8')
    except UnicodeDecodeError as error:
        line = data.count(b'\n', 0, error.start) + 1
        raise IniParseError(f'not UTF-8: {data[error.start : error.start + 1]!r}', path=path, line=line) from error
    document = ini.parse(text, path)
    ours = [error for error in document.duplicates if is_ours(error.section or '')]
    Complaints(sorted([*document.malformed, *ours], key=lambda error: error.line or 0)).end()
    return document


def open_file(path: str, global_conf: Mapping[str, object]) -> File:
    """Read ``path`` for one load.  Duplicates that are nothing to us ([uwsgi], [secrets]) are warned of."""
    file = File(read(path), path, global_conf)
    for error in file.document.duplicates:
        file.warn(ini.Place(path, error.section, error.key, error.line), error.problem)
    return file
