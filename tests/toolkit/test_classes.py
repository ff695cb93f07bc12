"""Request, Application, Middleware and Debug: a row for each thing that OpenStack's classes of these names do."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any
from wsgiref.validate import validator

import pytest
import webob
import webob.exc

from prefork.toolkit import Application, Debug, Middleware, Request, Response, wsgify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

pytestmark = pytest.mark.usefixtures('hops')


def hello(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', '5')])
    return [b'hello']


def get(application: WSGIApplication, path: str = '/', **options: Any) -> Response:
    return webob.Request.blank(path, **options).get_response(application)


# --- Request ----------------------------------------------------------------------------------------------------


class Proxied(Request):
    secure_proxy_ssl_header = 'HTTP_X_FORWARDED_PROTO'


@pytest.mark.parametrize(
    ('request_class', 'header', 'scheme'),
    [
        pytest.param(Request, 'https', 'http', id='off by default, whatever a client sends'),
        pytest.param(Proxied, 'https', 'https', id='https'),
        pytest.param(Proxied, 'http', 'http', id='http'),
        pytest.param(Proxied, None, 'http', id='no header'),
        pytest.param(Proxied, '', 'http', id='empty'),
        pytest.param(Proxied, 'ftp', 'http', id='another scheme'),
        pytest.param(Proxied, 'https, http', 'http', id='a list'),
        pytest.param(Proxied, 'javascript:alert(1)//', 'http', id='an attack on links'),
    ],
)
def test_scheme_is_taken_from_the_proxys_header(request_class: type[Request], header: str | None, scheme: str) -> None:
    environ = webob.Request.blank('/').environ
    if header is not None:
        environ['HTTP_X_FORWARDED_PROTO'] = header
    request = request_class(environ)
    assert request.scheme == scheme
    assert environ['wsgi.url_scheme'] == scheme


def test_an_application_may_set_the_header_for_all_its_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    @wsgify
    def scheme(req: Request) -> str:
        return req.scheme

    forwarded = {'X-Forwarded-Proto': 'https'}
    assert get(scheme, headers=forwarded).text == 'http'
    monkeypatch.setattr(Request, 'secure_proxy_ssl_header', 'HTTP_X_FORWARDED_PROTO')
    assert get(scheme, headers=forwarded).text == 'https'


# --- Application ------------------------------------------------------------------------------------------------


def test_an_application_must_define_call() -> None:
    with pytest.raises(NotImplementedError, match=r'^You must implement __call__$'):
        Application()({}, lambda *_: None)


class Answers(Application):
    """Answers with what it was made with."""

    def __init__(self, answer: Callable[[Request], Any]) -> None:
        self.answer = answer

    @wsgify
    def __call__(self, req: Request) -> Any:
        assert type(req) is Request
        return self.answer(req)


def raise_forbidden(_: Request) -> None:
    raise webob.exc.HTTPForbidden(explanation='Nice try')


def answer_in_place(req: Request) -> None:
    req.response = Response('in place', status=202)


def answer_with_changed_response(req: Request) -> Response:
    response = req.get_response(hello)
    response.headers['X-Seen'] = 'yes'
    return response


def answer_with_file(_: Request) -> Response:
    response = Response(content_type='application/octet-stream')
    response.app_iter = io.BytesIO(b'one\ntwo\n')
    return response


def write_and_set_cookie(req: Request) -> str:
    req.response.set_cookie('name', 'value')
    return 'text'


@pytest.mark.parametrize(
    ('answer', 'status', 'body', 'header'),
    [
        pytest.param(lambda _: 'message ✓\n', 200, 'message ✓\n'.encode(), ('Content-Length', '12'), id='str'),
        pytest.param(lambda _: b'message\n', 200, b'message\n', ('Content-Length', '8'), id='bytes'),
        pytest.param(
            lambda _: webob.exc.HTTPForbidden(explanation='Nice try'),
            403,
            b'Nice try',
            ('Content-Type', 'text/plain'),
            id='HTTP exception',
        ),
        pytest.param(raise_forbidden, 403, b'Nice try', ('Content-Type', 'text/plain'), id='HTTP exception, raised'),
        pytest.param(answer_with_file, 200, b'one\ntwo\n', ('Content-Type', 'application/octet-stream'), id='Response'),
        pytest.param(lambda _: hello, 200, b'hello', ('Content-Type', 'text/plain'), id='another application'),
        pytest.param(
            answer_with_changed_response, 200, b'hello', ('X-Seen', 'yes'), id="another application's response"
        ),
        pytest.param(answer_in_place, 202, b'in place', ('Content-Length', '8'), id='None, with req.response set'),
        pytest.param(write_and_set_cookie, 200, b'text', ('Set-Cookie', 'name=value; Path=/'), id='str and a cookie'),
    ],
)
def test_what_call_may_return(
    answer: Callable[[Request], Any], status: int, body: bytes, header: tuple[str, str]
) -> None:
    response = get(validator(Answers(answer)))
    assert response.status_int == status
    assert response.headers[header[0]].startswith(header[1])  # before .body, which adds a Content-Length
    assert body in response.body


class Wadl(Application):
    def __init__(self, latest_version: str, colour: str = 'red') -> None:
        self.latest_version = latest_version
        self.colour = colour


def test_application_factory_passes_the_sections_options_alone() -> None:
    wadl = Wadl.factory({'here': '/etc', 'colour': 'blue'}, latest_version='1.3')
    assert type(wadl) is Wadl
    assert (wadl.latest_version, wadl.colour) == ('1.3', 'red')


def test_application_factory_refuses_options_that_the_class_does_not_have() -> None:
    with pytest.raises(TypeError, match='version'):
        Wadl.factory({}, version='1.3')


# --- Middleware -------------------------------------------------------------------------------------------------


class Recorder(Middleware):
    """Notes what is called; its answers are arguments."""

    def __init__(self, application: WSGIApplication, early: Any = None, suffix: str = '') -> None:
        super().__init__(application)
        self.early = early
        self.suffix = suffix
        self.calls: list[str] = []

    def process_request(self, req: Request) -> Any:
        assert type(req) is Request
        self.calls.append(f'request {req.path}')
        return self.early

    def process_response(self, response: Response) -> Response:
        self.calls.append(f'response {response.status_int}')
        response.text += self.suffix
        return response


def test_middleware_passes_requests_and_responses_on() -> None:
    response = get(validator(Middleware(hello)))
    assert response.headerlist == [('Content-Type', 'text/plain'), ('Content-Length', '5')]
    assert (response.status, response.body) == ('200 OK', b'hello')


@pytest.mark.parametrize(
    ('early', 'status', 'body', 'calls'),
    [
        pytest.param(None, 200, 'hello!', ['request /a', 'response 200'], id='None goes on'),
        pytest.param('', 200, 'hello!', ['request /a', 'response 200'], id='so does anything false'),
        pytest.param('early', 200, 'early', ['request /a'], id='text ends it'),
        pytest.param(Response('no', status=503), 503, 'no', ['request /a'], id='a Response ends it'),
        pytest.param(hello, 200, 'hello', ['request /a'], id='another application ends it'),
    ],
)
def test_middleware_hooks(early: object, status: int, body: str, calls: list[str]) -> None:
    recorder = Recorder(hello, early, suffix='!')
    response = get(recorder, '/a', accept='text/plain')
    assert (response.status_int, response.text, recorder.calls) == (status, body, calls)


def test_middleware_factory_makes_a_filter_with_the_sections_options() -> None:
    make = Recorder.factory({'here': '/etc'}, suffix='?')
    first, second = make(hello), make(hello)
    assert type(first) is Recorder
    assert first is not second
    assert first.application is hello
    assert get(first).text == 'hello?'


def test_middleware_closes_what_it_wraps() -> None:
    body = Body([b'a', b'b'])
    iterable: Any = Middleware(body.application)(webob.Request.blank('/').environ, lambda *_: lambda _: None)
    assert body.closed == 0
    iterable.close()
    assert body.closed == 1


class Body:
    """A response iterable that counts how often it is closed."""

    def __init__(self, chunks: list[Any]) -> None:
        self.chunks = iter(chunks)
        self.closed = 0

    def __iter__(self) -> Iterator[Any]:
        return self.chunks

    def close(self) -> None:
        self.closed += 1

    def application(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', [('Content-Type', 'text/plain'), ('X-Answer', '42')])
        return self


# --- Debug ------------------------------------------------------------------------------------------------------


def test_debug_prints_and_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    response = get(validator(Debug(hello)), '/path?x=1')
    # The headers first: WebOb's .body adds a Content-Length where there is none.
    assert response.headerlist == [('Content-Type', 'text/plain'), ('Content-Length', '5')]
    assert (response.status, response.body) == ('200 OK', b'hello')
    stars = '*' * 40
    environ, headers, body = capsys.readouterr().out.split('\n\n', 2)
    assert environ.startswith(f'{stars} REQUEST ENVIRON\n')
    assert '\nPATH_INFO = /path\n' in environ + '\n'
    assert '\nQUERY_STRING = x=1\n' in environ + '\n'
    assert headers == f'{stars} RESPONSE HEADERS\nContent-Type = text/plain\nContent-Length = 5'
    assert body == f'{stars} BODY\nhello\n'


@pytest.mark.parametrize(
    ('chunks', 'printed'),
    [
        pytest.param([b'one ', b'two'], 'one two\n', id='chunks'),
        pytest.param(['caf\xe9'.encode()], 'caf\xe9\n', id='UTF-8'),
        pytest.param([b'\xff\x00'], '\\xff\x00\n', id='bytes that are no text'),
        pytest.param(['text'], 'text\n', id='an application that breaks PEP 3333'),
    ],
)
def test_debug_prints_each_chunk_as_it_passes(
    chunks: list[Any], printed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    body = iter(Debug.print_generator(chunks))
    assert capsys.readouterr().out == ''
    seen = []
    for chunk in body:
        seen.append(chunk)
        printed_part = capsys.readouterr().out.removeprefix('*' * 40 + ' BODY\n')
        assert printed.startswith(printed_part)
        printed = printed.removeprefix(printed_part)
    assert seen == chunks
    assert capsys.readouterr().out == printed == '\n'


@pytest.mark.parametrize('chunks_read', [0, 1, 2])
def test_debug_closes_the_body_once_however_much_was_read(chunks_read: int) -> None:
    body = Body([b'a', b'b'])
    iterable: Any = Debug(body.application)(webob.Request.blank('/').environ, lambda *_: lambda _: None)
    for _ in range(chunks_read):
        next(iterable)
    iterable.close()
    assert body.closed == 1


def test_debug_survives_a_terminal_that_knows_ascii_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.TextIOWrapper(io.BytesIO(), encoding='ascii', errors='strict')
    monkeypatch.setattr('sys.stdout', terminal)
    assert get(Debug(Answers(lambda _: 'caf\xe9'))).text == 'caf\xe9'
    terminal.seek(0)
    assert 'caf\\xe9\n' in terminal.read()
