"""What a generation is given: configurations that can't be, and listeners that are opened all or none."""

from __future__ import annotations

import resource
import socket
from typing import TYPE_CHECKING

import pytest

from prefork.errors import BindError, ConfigError
from prefork.logs import logger
from prefork.master.site import Deployment, Site
from prefork.master.sites import Sites
from prefork.master.sockets import Sockets
from prefork.scoreboard import ROWS
from prefork.settings import Settings, parse_address

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def site(workers: int = 1, **binds: str) -> Site:
    servers = {
        name: Settings({'bind': tuple(map(parse_address, bind.split())), 'workers': workers, 'access_log': 'off'})
        for name, bind in binds.items()
    }
    return Site(Deployment(servers, lambda name: None))  # type: ignore[arg-type, return-value]


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    held = Sockets()
    yield held
    held.keep(set())


IMPOSSIBLE = {
    'one port for two servers': (1, ['127.0.0.1:80', '[::1]:80 127.0.0.1:80'], "127.0.0.1:80 is both 'a' and 'b'"),
    'one path for two servers': (1, ['unix:/run/x', 'unix:/run/x'], "unix:/run/x is both 'a' and 'b'"),
    'one descriptor for two servers': (1, ['fd:0', 'fd:0'], "fd:0 is both 'a' and 'b'"),
    'more workers than the scoreboard has rows for': (ROWS // 4 + 1, [':0', ':0'], 'workers: more than 512'),
}


@pytest.mark.parametrize(('workers', 'binds', 'complaint'), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_what_cannot_be_is_a_configuration_error(workers: int, binds: list[str], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        site(workers, **dict(zip('ab', binds, strict=True)))


def test_free_ports_are_as_many_as_are_asked_for(sockets: Sockets) -> None:
    wanted = site(a='127.0.0.1:0 127.0.0.1:0', b='127.0.0.1:0')
    assert len(sockets.open(wanted)) == 3
    assert len({listener.address.port for listener in sockets}) == 3
    again = site(a='127.0.0.1:0 127.0.0.1:0', b='127.0.0.1:0')
    assert sockets.open(again) == []
    assert [part.listeners for part in again.parts.values()] == [part.listeners for part in wanted.parts.values()]


def test_all_are_opened_or_none(sockets: Sockets, tmp_path: Path) -> None:
    first = site(a=f'unix:{tmp_path}/kept')
    sockets.open(first)
    with pytest.raises(BindError, match='/nowhere/socket'):
        sockets.open(site(a=f'unix:{tmp_path}/new unix:/nowhere/socket'))
    assert [str(listener) for listener in sockets] == [f'unix:{tmp_path}/kept']
    assert not (tmp_path / 'new').exists()
    assert first.parts['a'].listeners == list(sockets)


def test_an_address_may_move_to_another_server(sockets: Sockets, tmp_path: Path) -> None:
    sockets.open(site(a=f'unix:{tmp_path}/socket'))
    (listener,) = sockets
    moved = site(b=f'unix:{tmp_path}/socket')
    assert sockets.open(moved) == []
    assert moved.parts['b'].listeners == [listener]


def test_what_is_not_kept_is_closed_and_lets_nobody_in(sockets: Sockets, tmp_path: Path) -> None:
    wanted = site(a=f'127.0.0.1:0 unix:{tmp_path}/socket')
    tcp, unix = sockets.open(wanted)
    with tcp.socket.dup() as worker:  # which goes on to accept what was complete
        sockets.keep({unix})
        assert list(sockets) == [unix]
        assert tcp.fileno() == -1
        with pytest.raises(TimeoutError):
            socket.create_connection(worker.getsockname(), 0.1)
    sockets.keep(set())
    assert not (tmp_path / 'socket').exists()


def test_an_adopted_listener_is_not_silenced(sockets: Sockets) -> None:
    with socket.create_server(('127.0.0.1', 0)) as given:
        sockets.open(site(a=f'fd:{given.dup().detach()}'))
        sockets.keep(set())
        with socket.create_connection(given.getsockname(), 10):
            given.accept()[0].close()


def test_a_worker_keeps_its_own_servers_listeners_alone(sockets: Sockets) -> None:
    wanted = site(a='127.0.0.1:0', b='127.0.0.1:0')
    sockets.open(wanted)
    mine = wanted.keep_only('b')
    assert mine.index == 1
    assert wanted.parts['a'].listeners[0].fileno() == -1
    assert mine.listeners[0].fileno() >= 0


# --- generations ------------------------------------------------------------------------------------------------


@pytest.fixture
def sites() -> Iterator[Sites]:
    held = Sites()
    before = logger.handlers[:], logger.level, logger.propagate
    yield held
    held.close_listeners()
    logger.handlers[:], logger.level, logger.propagate = before


def is_open(wanted: Site) -> bool:
    return all(listener.fileno() >= 0 for listener in wanted.listeners())


def test_a_generation_has_the_site_that_was_opened_for_it(sites: Sites, tmp_path: Path) -> None:
    first, second = site(a=f'unix:{tmp_path}/one'), site(a=f'unix:{tmp_path}/two')
    sites.open(first)
    assert sites.of(1) is first
    sites.commit(1)
    sites.open(second)
    assert sites.of(2) is second
    assert is_open(first)
    assert is_open(second)
    sites.commit(2)
    assert not is_open(first)
    assert is_open(second)
    assert sites.is_last_to_accept(1)
    assert not sites.is_last_to_accept(2)


def test_a_generation_that_is_given_up_takes_its_own_with_it(sites: Sites, tmp_path: Path) -> None:
    first, second = site(a=f'unix:{tmp_path}/one'), site(a=f'unix:{tmp_path}/one unix:{tmp_path}/two')
    sites.open(first)
    assert sites.of(1) is first
    sites.commit(1)
    sites.open(second)
    assert sites.of(2) is second
    sites.discard(2)
    assert is_open(first)
    assert not (tmp_path / 'two').exists()


def test_what_comes_next_stays_open_when_what_it_supersedes_is_given_up(sites: Sites, tmp_path: Path) -> None:
    first, second, third = (site(a=f'unix:{tmp_path}/{name}') for name in ('one', 'two', 'three'))
    sites.open(first)
    assert sites.of(1) is first
    sites.commit(1)
    sites.open(second)
    assert sites.of(2) is second
    sites.open(third)
    sites.discard(2)
    assert sites.of(3) is third
    assert is_open(third)
    assert not is_open(second)


def test_a_generation_that_nobody_configured_has_the_last_ones_site(sites: Sites, tmp_path: Path) -> None:
    """It replaces a dead mold."""
    first = site(a=f'unix:{tmp_path}/one')
    sites.open(first)
    assert sites.of(1) is first
    sites.commit(1)
    assert sites.of(2) is first
    sites.discard(2)
    assert is_open(first)
    assert sites.of(3) is first
    sites.commit(3)
    assert is_open(first)
    assert not sites.is_last_to_accept(1)


def test_a_site_that_cannot_be_opened_leaves_nothing(sites: Sites, tmp_path: Path) -> None:
    first = site(a=f'unix:{tmp_path}/one')
    sites.open(first)
    assert sites.of(1) is first
    sites.commit(1)
    options = {'bind': (parse_address(f'unix:{tmp_path}/two'),), 'access_log': '/nowhere/log'}
    broken = Site(Deployment({'a': Settings(options)}, lambda name: None))  # type: ignore[arg-type, return-value]
    with pytest.raises(ConfigError, match='access_log: /nowhere/log: No such file'):
        sites.open(broken)
    assert is_open(first)
    assert not (tmp_path / 'two').exists()
    assert sites.of(2) is first


def test_a_pool_that_the_descriptors_do_not_allow() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        pytest.skip('there is no limit here')
    with pytest.raises(ConfigError, match=rf'\[server:main\] pool_size: {hard} connections need 128 descriptors more'):
        Site(Deployment({'main': Settings({'pool_size': hard})}, lambda name: None))  # type: ignore[arg-type, return-value]
