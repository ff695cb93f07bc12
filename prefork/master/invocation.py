"""How this process was started: by whom, on what terms, and how it would be once more.

The service manager, and the binary that this one replaces, tell a process things by its environment.  The application,
and what it runs, must not take them for theirs.
"""

from __future__ import annotations

import json
import os
import sys

from prefork import logs
from prefork.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from prefork.master.activation import Activation
    from prefork.master.systemd import Manager

_FROM_THE_MANAGER = (
    'LISTEN_FDS',
    'LISTEN_FDNAMES',
    'LISTEN_PID',
    'LISTEN_PIDFDID',
    'NOTIFY_SOCKET',
    'WATCHDOG_PID',
    'WATCHDOG_USEC',
)
_FOR_THE_PROCESS = ('LISTEN_PID', 'WATCHDOG_PID')
_LEGACY = 'PREFORK_UPGRADE'
"""The variable that says what the binary before this one leaves to it."""

_FORMAT = 1
"""Of what it says: who can't read it refuses to be the next master."""


class Invocation:
    """All of that is taken from the environment when this is made, once a process.

    A daemon is another process than the one that was started, and has its invocation from that.
    """

    __slots__ = ('_given', '_legacy', '_pid')

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._given = {name: os.environ.pop(name) for name in _FROM_THE_MANAGER if name in os.environ}
        self._legacy = os.environ.pop(_LEGACY, '')

    def manager(self) -> Manager | None:
        """The service manager that wants to be told how the service is."""
        if not self._given.get('NOTIFY_SOCKET', '').startswith(('/', '@')):
            return None
        from prefork.master.systemd import Manager

        return Manager(self._given, self._pid)

    def activation(self) -> Activation | None:
        """The sockets that the service manager has passed."""
        if 'LISTEN_FDS' not in self._given:
            return None
        from prefork.master.activation import Activation

        activation = Activation(self._given, self._pid)
        activation.hold()
        return activation

    def legacy(self) -> dict[str, Any] | None:
        """What another binary leaves to this one, and is nobody else's from now on.  Raises ConfigError."""
        if not self._legacy:
            return None
        try:
            legacy: dict[str, Any] = json.loads(self._legacy)
            if legacy['format'] != _FORMAT:
                raise ConfigError('the binary that runs hands over in a way that this one cannot: restart it')
            for descriptor in legacy['descriptors']:
                if descriptor > logs.STDERR:
                    os.set_inheritable(descriptor, False)
        except (ValueError, LookupError, TypeError, OSError) as error:
            raise ConfigError(f'{_LEGACY} is no message of another prefork: {error!r}') from error
        return legacy

    def repeat(self, legacy: dict[str, Any]) -> None:
        """Execute the same command line in the same environment, and leave it ``legacy``.  Raises OSError."""
        text = json.dumps({'format': _FORMAT, **legacy}, separators=(',', ':'))
        environment = {**os.environ, **self._given, _LEGACY: text}
        for name in _FOR_THE_PROCESS:
            if environment.get(name) == str(self._pid):
                environment[name] = str(os.getpid())
        with _Inheritable(legacy['descriptors']):
            os.execve(sys.executable or '', [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606


class _Inheritable:
    """Descriptors that outlive an exec while this is entered."""

    __slots__ = ('_descriptors',)

    def __init__(self, descriptors: list[int]) -> None:
        self._descriptors = [each for each in descriptors if each > logs.STDERR]

    def __enter__(self) -> None:
        for descriptor in self._descriptors:
            os.set_inheritable(descriptor, True)

    def __exit__(self, *problem: object) -> None:
        for descriptor in self._descriptors:
            os.set_inheritable(descriptor, False)
