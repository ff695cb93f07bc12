"""Memory that runs out: whom the kernel is to kill first, and whether it was the kernel that killed a process."""

from __future__ import annotations

import contextlib
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_OWN, _MOUNTS = '/proc/self/cgroup', '/proc/self/mountinfo'
_LINE = 'oom_kill '
_SCORE = '/proc/self/oom_score_adj'
_STEP = 10  # thousandths of the memory there is, by which a process counts as larger than it is
_WORST = 1000
_TOGETHER = 5.0  # seconds in which those that were killed at once are found


class OomKills:
    """The kernel's count of such kills in the memory cgroup that this process was in when this was made."""

    __slots__ = ('_at', '_file', '_known', '_unclaimed')

    def __init__(self) -> None:
        self._file = _find()
        self._known = self._count()
        self._unclaimed = 0
        self._at = 0.0  # when the last of them were counted

    def claim(self, now: float) -> bool | None:
        """Whether a process that has just been found killed is one of those counted; None where nothing tells.

        Each stands for one process.  The kernel may kill two at once, which are found one after the other; but one that
        isn't found at once isn't ours, as an application's own child isn't, and explains nobody's death later.
        """
        count = self._count()
        if count is None or self._known is None:
            return None
        if now - self._at > _TOGETHER:
            self._unclaimed = 0
        if count > self._known:
            self._unclaimed += count - self._known
            self._at = now
        self._known = count
        if not self._unclaimed:
            return False
        self._unclaimed -= 1
        return True

    def _count(self) -> int | None:
        for line in _read(self._file).splitlines():
            if line.startswith(_LINE) and (count := line.removeprefix(_LINE).strip()).isdecimal():
                return int(count)
        return None


def go_before_parent() -> None:
    """Have the kernel rather kill this process than the one that forked it, where both are as large.

    So a worker goes before its mold, and the mold before the master, without whom there is nobody to replace anyone.
    """
    with contextlib.suppress(OSError, ValueError), open(_SCORE, 'r+') as file:
        score = min(int(file.read()) + _STEP, _WORST)
        file.seek(0)
        file.write(str(score))


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
