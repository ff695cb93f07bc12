"""The cases that servers are compared in: to add one, add a row (and a route to app.py if it does something new).
Beside them stands what is measured without any server."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from benchlib import app

APPLICATION = 'benchlib.app:application'


class Need(enum.Enum):
    """What a server must be able to do to take part in a case; the value says it of one that can't."""

    APPLICATION = 'runs no application'
    ACCESS_LOG = 'has no access log'
    TLS = 'has no TLS'


@dataclass(frozen=True)
class Case:
    """One way of loading a server.  Every request is answered 200 with ``answer``, whatever its path."""

    name: str
    about: str
    answer: bytes = app.HELLO
    load: str = 'plain'  # the function of load.lua that makes the requests
    paths: tuple[str, ...] = ('/',)
    post: bytes = b''  # the body of the request that verifies the answer; load.lua sends the same
    fast: str = ''  # the path of the fast requests, where slow ones are among the others: see wrk.measure
    threads: int = 0  # application threads; 0 is what suits a server best
    application: str = APPLICATION  # what the peers run
    ini: str = ''  # the file that prefork runs instead, of this directory
    needs: tuple[Need, ...] = ()
    unframed: bool = False  # whether the application sends no Content-Length

    @property
    def scheme(self) -> str:
        return 'https' if Need.TLS in self.needs else 'http'


CASES = (
    Case('hello', 'the same short request, again and again'),
    Case('browser', "a browser's heads, every one different", load='browser'),
    Case('post', 'a body of 1 KiB, read by the application', b'1024 bytes\n', 'post', ('/post',), b'x' * 1024),
    Case('big', 'a response of 64 KiB', app.BIG, paths=('/big',)),
    Case(
        'stream',
        '16 blocks of 4 KiB from a generator, no Content-Length',
        app.CHUNK * app.CHUNKS,
        needs=(Need.APPLICATION,),
        application='benchlib.app:stream',
        unframed=True,
    ),
    Case(
        'file',
        '1 MiB by wsgi.file_wrapper, or read by the application where there is none',
        app.CONTENT,
        needs=(Need.APPLICATION,),
        application='benchlib.app:file',
    ),
    Case(
        'mix',
        '1 % of the requests sleep for 50 ms; 16 threads; p99: of fast requests alone, by 4 connections more',
        load='mix',
        paths=('/', '/sleep'),
        fast='/',
        threads=16,
        needs=(Need.APPLICATION,),
    ),
    Case(
        'mix-cpu',
        '1 % of the requests compute for 20 ms; else as mix',
        load='mix',
        paths=('/', '/compute'),
        fast='/',
        threads=16,
        needs=(Need.APPLICATION,),
    ),
    Case(
        'chain',
        'three filters and 21 routes: the toolkit, and plain WebOb and Routes under PasteDeploy',
        b'show books 42 for anonymous\n',
        paths=('/v2/books/42',),
        needs=(Need.APPLICATION,),
        application='benchlib.pasted:application',
        ini='chain.ini',
    ),
    Case('log', 'hello with the access log on, to a file', needs=(Need.ACCESS_LOG,)),
    Case('tls', 'hello over TLS, connections kept alive', needs=(Need.TLS,)),
)
BY_NAME = {case.name: case for case in CASES}


@dataclass(frozen=True)
class Alone:
    """What a module measures by itself: ``python -m MODULE ROUNDS`` prints figures as JSON; ``table`` shows them."""

    name: str
    about: str
    module: str


ALONE = (Alone('routes', 'finding one of 10 routes and one of 1,000, without a server', 'benchlib.routes'),)
ALONE_BY_NAME = {alone.name: alone for alone in ALONE}
