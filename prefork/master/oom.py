"""Whether it was the kernel that killed a process, because there was no memory left."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_OWN, _MOUNTS = '/proc/self/cgroup', '/proc/self/mountinfo'
_LINE = 'oom_kill '


class OomKills:
    """The kernel's count of such kills in the memory cgroup that this process was in when this was made."""

    __slots__ = ('_file', '_known')

    def __init__(self) -> None:
        self._file = _find()
        self._known = self._count()

    def any_new(self) -> bool | None:
        """Whether there were any since the last look; None where nothing tells."""
        count = self._count()
        if count is None or self._known is None:
            return None
        known, self._known = self._known, count
        return count > known

    def _count(self) -> int | None:
        for line in _read(self._file).splitlines():
            if line.startswith(_LINE) and (count := line.removeprefix(_LINE).strip()).isdecimal():
                return int(count)
        return None


def _find() -> str:
    try:
        return next(filter(os.path.exists, candidates(_read(_OWN), _read(_MOUNTS))), '')
    except ValueError:  # a kernel that only resembles Linux
        return ''


def candidates(own: str, mounts: str) -> Iterator[str]:
    """The files that may have the count, from the texts of /proc/self/cgroup and /proc/self/mountinfo: cgroups(7).

    Raises ValueError where these are something else.
    """
    paths = {}
    for line in own.splitlines():
        _, controllers, path = line.split(':', 2)
        paths.update(dict.fromkeys(controllers.split(','), path))
    for line in mounts.splitlines():
        fields = line.split()
        root, folder = fields[3:5]
        kind, _, options = fields[fields.index('-') + 1 :][:3]
        if kind == 'cgroup2':
            controller, name = '', 'memory.events'
        elif kind == 'cgroup' and 'memory' in options.split(','):
            controller, name = 'memory', 'memory.oom_control'
        else:
            continue
        # Of a container's cgroup both the mount's root and our path may be told as they are outside of it.
        path = paths.get(controller, '').removeprefix(root.rstrip('/')).rstrip('/')
        yield f'{folder}{path}/{name}'


def _read(path: str) -> str:
    """The text of the file, '' where there is none."""
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ''
