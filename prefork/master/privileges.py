"""Who the application's processes are: found out by the master, with its rights, and become in molds and workers.

The master itself stays who it was started as: it has to bind, read keys and reopen logs again.
"""

from __future__ import annotations

import os

from prefork.errors import EX_NOPERM, ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd

    from prefork.settings import Settings


class Identity:
    """A user and its groups.

    ``groups`` are the supplementary ones, ``environment`` what programs are told about the user: nothing where it has
    no entry in passwd.
    """

    __slots__ = ('environment', 'gid', 'groups', 'uid')

    def __init__(self, uid: int, gid: int, groups: list[int], environment: dict[str, str]) -> None:
        self.uid = uid
        self.gid = gid
        self.groups = groups
        self.environment = environment

    def become(self) -> None:
        """Give up root for good.  Raises ConfigError; this process must not go on then.

        Who isn't root is this user already: :func:`identity` has seen to it.
        """
        if os.geteuid():
            return
        try:
            os.setgroups(self.groups)  # while it is still permitted
            os.setgid(self.gid)
            os.setuid(self.uid)  # by root, these set the real, the effective and the saved id (setuid(2))
        except OSError as error:
            raise ConfigError(f'user, group: this process cannot become {self}: {error.strerror}') from error
        self._check()
        os.environ.update(self.environment)

    def _check(self) -> None:
        if (os.getuid(), os.geteuid(), os.getgid(), os.getegid()) != (self.uid, self.uid, self.gid, self.gid):
            raise ConfigError(f'user, group: this process did not become {self}')
        if not self.uid:
            return
        for regain in (os.setuid, os.setgid):
            try:
                regain(0)
            except PermissionError:
                continue
            if regain is os.setuid or self.gid:
                raise ConfigError(f'user, group: {self} could become root again')

    def __str__(self) -> str:
        return f'{self.uid}:{self.gid}'


def identity(settings: Settings) -> Identity | None:
    """Whom ``user`` and ``group`` name; None where neither is set.

    Raises ConfigError where there is nobody of that name, and, with EX_NOPERM, where only root could become that.
    """
    if not settings.user and not settings.group:
        return None
    found = _look_up(settings.user, settings.group)
    mine = os.geteuid(), os.getegid()
    if mine[0] and (found.uid, found.gid) != mine:
        error = ConfigError(f'user, group: only root can become {found}; this process is {mine[0]}:{mine[1]}')
        error.exit_status = EX_NOPERM
        raise error
    return found


def _look_up(user: str, group: str) -> Identity:
    entry = _entry(user) if user else None
    if group:
        gid = _gid(group)
    elif entry is not None:
        gid = entry.pw_gid
    else:
        raise ConfigError(f'user: {user} has no entry in passwd that says its group: set group, too')
    if entry is None:
        return Identity(int(user) if user else os.geteuid(), gid, [gid], {})
    environment = {'HOME': entry.pw_dir, 'USER': entry.pw_name, 'LOGNAME': entry.pw_name}
    return Identity(entry.pw_uid, gid, os.getgrouplist(entry.pw_name, gid), environment)


def _entry(user: str) -> pwd.struct_passwd | None:
    """The user's entry in passwd; a number needn't have one."""
    import pwd

    try:
        return pwd.getpwuid(int(user)) if _is_number(user) else pwd.getpwnam(user)
    except KeyError:
        if _is_number(user):
            return None
        raise ConfigError(f'user: there is no user {user!r}') from None


def _gid(group: str) -> int:
    import grp

    try:
        return int(group) if _is_number(group) else grp.getgrnam(group).gr_gid
    except KeyError:
        raise ConfigError(f'group: there is no group {group!r}') from None


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit()


def settle(settings: Settings, identity: Identity | None) -> None:
    """Be who, and where, the application runs as.  Raises ConfigError; this process must not load it then."""
    if identity is not None:
        identity.become()
    if settings.umask is not None:
        os.umask(settings.umask)
    if settings.chdir:
        try:
            os.chdir(settings.chdir)
        except OSError as error:
            raise ConfigError(f'chdir: {settings.chdir}: {error.strerror}') from error
