"""From one toolkit application to the next: all that either can see is as WebOb's own methods have it."""

from __future__ import annotations

import io
import sys
from types import MethodType
from typing import TYPE_CHECKING, Any

import pytest
import webob
import webob.dec
import webob.exc
from webob.request import BaseRequest

from prefork.toolkit import Application, Middleware, Request, Response, wsgify
from tests.toolkit.conftest import leave_hops_to_webob

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

Seen = dict[str, Any]


def state(response: webob.Response) -> Seen:
    """All that WebOb keeps of a response; its iterable by its class, since reading it would change the rest."""
    assert type(response) is webob.Response
    return {**vars(response), '_app_iter': type(response.app_iter).__name__}


class Outer(Middleware):
    """Notes the state of what it is given, then changes it: nothing of that may reach the application's own."""

    def __init__(self, application: WSGIApplication, seen: Seen) -> None:
        super().__init__(application)
        self.seen = seen

    def process_request(self, req: Request) -> None:
        req.response.headers['X-Lost'] = 'for the next application has a response of its own'
        req.outer = 'kept'

    def process_response(self, response: Response) -> Response:
        self.seen['response'] = state(response)
        self.seen['location'] = response.location
        response.headers['X-Outer'] = 'sent'
        return response


class Chunks:
    """An iterable that says whether it was closed."""

    closed = 0

    def __iter__(self) -> Iterator[bytes]:
        yield b'one'
        yield b'two'

    def close(self) -> None:
        self.closed += 1


def write(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response('200 OK', [('Content-Type', 'text/plain')])(b'written, ')
    return [b'returned']


def late(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response('202 Accepted', [('Content-Type', 'text/plain')])
    yield b'chunk'


def replaced(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response('200 OK', [('Content-Type', 'text/html')])
    start_response('500 Oh', [('Content-Type', 'text/plain')])
    return Chunks()


def headers_in_a_tuple(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response('204 No Content', ())  # type: ignore[arg-type]  # what PEP 3333 wants is a list
    return ()


def number_alone(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response('404', [('Content-Type', 'text/plain')])
    return [b'WebOb adds the reason']


def apologize(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        start_response('500 Internal Server Error', [], sys.exc_info())
    return [b'sorry']


def failing(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    raise webob.exc.HTTPForbidden('raised by a plain application, which is nobody to catch')


def raise_conflict(req: Request) -> None:
    raise webob.exc.HTTPConflict('busy')


def set_cookie_and_return(req: Request) -> Response:
    req.response.set_cookie('a', '1')
    return Response('with a cookie')


def set_cookie_of_a_foreign_response(req: Request) -> WSGIApplication:
    req.response.set_cookie('a', '1')
    return write


def write_to_response(req: Request) -> None:
    req.response.text = f'{req.outer}, {req.before}'


def read_with_another_request(req: Request) -> Response:
    other = webob.Request(req.environ)
    other.response.headers['X-Other'] = 'yes'
    return Response(f'{req.response is other.response}, {other.outer}, {hasattr(req, "nothing")}')


def read_body_and_let_another_answer(req: Request) -> WSGIApplication:
    req.body_file_seekable.read(2)

    def rest(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', [])
        return [environ['wsgi.input'].read()]

    return rest


def read_body_and_ask_another(req: Request) -> WSGIApplication:
    req.body_file_seekable.read(2)
    return req.get_response(wsgify(lambda req: req.environ['wsgi.input'].read()))


def ask_another_thrice(req: Request) -> Response:
    status, headers, app_iter, exc_info = req.call_application(write, catch_exc_info=True)
    sent = req.send(apologize, catch_exc_info=True)
    return Response(f'{status} {headers} {list(app_iter)} {exc_info} {sent.text} {req.get_response(write).text}')


def return_an_unset_text(req: Request) -> str:
    req.response.content_type = 'text/plain'
    return 'caf\xe9'


ANSWERS: dict[str, Callable[[Request], Any]] = {
    'text': return_an_unset_text,
    'bytes': lambda req: b'bytes',
    'None': write_to_response,
    'an exception': raise_conflict,
    'a response': lambda req: Response('text', headers={'X-Two': '2'}),
    'its own response': lambda req: req.response,
    'a response without a body': lambda req: Response(status=204),
    'a status of its own': lambda req: Response('teapot', status='299 Short And Stout'),
    'a relative location': lambda req: Response(status=303, location='../b?c'),
    'a conditional response': lambda req: Response('text', etag='tag', conditional_response=True),
    'a file': lambda req: Response(app_iter=io.BytesIO(b'one\ntwo\n'), content_length=8),
    'an exception returned': lambda req: webob.exc.HTTPFound(location='/elsewhere'),
    'a cookie beside a response': set_cookie_and_return,
    'a cookie beside another application': set_cookie_of_a_foreign_response,
    'a second request': read_with_another_request,
    'an application that writes': lambda req: write,
    'an application that starts late': lambda req: late,
    'an application that starts twice': lambda req: replaced,
    'an application without a reason': lambda req: number_alone,
    'an application with odd headers': lambda req: headers_in_a_tuple,
    'an application that reads the rest': read_body_and_let_another_answer,
    'the response of another that reads all': read_body_and_ask_another,
    'another decorated application': lambda req: Outer(wsgify(return_an_unset_text), {}),
    "WebOb's own decorator": lambda req: webob.dec.wsgify(lambda foreign: f'{foreign.outer} {foreign.response.status}'),
    'the response of another': lambda req: req.get_response(late),
    'each way to ask another': ask_another_thrice,
}


class Answer(Application):
    def __init__(self, answer: Callable[[Request], Any]) -> None:
        self.answer = answer

    @wsgify
    def __call__(self, req: Request) -> Any:
        return self.answer(req)


def run(application: WSGIApplication, seen: Seen, method: str) -> Seen:
    """What a server gets to see of ``application``."""
    environ = webob.Request.blank('/a/', method=method, headers={'If-None-Match': '"tag"'}).environ
    environ['wsgi.input'] = io.BytesIO(b'a body')
    environ['CONTENT_LENGTH'] = '6'
    environ['webob.adhoc_attrs'] = {'before': 'kept'}

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> Callable[[bytes], Any]:
        seen['sent'] = status, list(headers)
        return seen.setdefault('written', []).append  # type: ignore[no-any-return]

    iterable = application(environ, start_response)
    seen['body'] = b''.join(iterable)
    if hasattr(iterable, 'close'):
        iterable.close()
    seen['attributes'] = environ['webob.adhoc_attrs']['before'], environ['webob.adhoc_attrs'].get('outer')
    return seen


@pytest.mark.parametrize('method', ['GET', 'HEAD', 'POST'])
@pytest.mark.parametrize('hops', [0, 1, 3])
@pytest.mark.parametrize('answer', ANSWERS.values(), ids=ANSWERS)
def test_all_that_is_seen_is_as_webob_has_it(
    answer: Callable[[Request], Any], hops: int, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def see() -> list[Seen]:
        seen: list[Seen] = [{} for _ in range(hops + 1)]
        application: WSGIApplication = Answer(answer) if hops else Outer(wsgify(answer), seen[0])
        for number in range(hops):
            application = Outer(application, seen[number + 1])
        run(application, seen[0], method)
        return seen

    ours = see()
    leave_hops_to_webob(monkeypatch)
    assert ours == see()
    assert ours[0]['sent']


def test_a_plain_applications_exception_goes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    # A decorated function that calls it is who may catch it: here get_response does, one hop further out.
    with pytest.raises(webob.exc.HTTPForbidden):
        run(wsgify(lambda req: failing), {}, 'GET')
    assert run(Middleware(failing), {}, 'GET')['sent'][0] == '403 Forbidden'


def test_iterables_are_closed_once_by_who_reads_them() -> None:
    chunks = Chunks()
    run(Middleware(Middleware(Answer(lambda req: Response(app_iter=chunks)))), {}, 'HEAD')
    assert chunks.closed == 1


def test_a_response_may_be_kept_and_returned_again() -> None:
    kept = Response('kept')
    application = Outer(Answer(lambda req: kept), {})
    for _ in range(2):
        assert run(application, {}, 'GET')['sent'][1].count(('X-Outer', 'sent')) == 1
    assert 'X-Outer' not in kept.headers


# --- the decorator in its other forms -------------------------------------------------------------------------------


class Loud(wsgify):
    def call_func(self, req: Any, *args: Any, **kwargs: Any) -> Any:
        return str(super().call_func(req, *args, **kwargs)).upper()


class Answering(Request):
    """A request with a response of its own kind."""

    ResponseClass = type('OwnResponse', (Response,), {'default_content_type': 'text/plain'})


class Fixed(Request):
    """A request with an attribute where WebOb's have none."""

    response = Response('fixed')


class Counting(Request):
    """A request that counts what it asks."""

    asked = 0

    def call_application(self, *args: Any, **kwargs: Any) -> Any:
        Counting.asked += 1
        return super().call_application(*args, **kwargs)


def describe(self: Methods, req: Any, *args: Any, **kwargs: Any) -> str:
    return f'{type(req).__name__} {args} {kwargs}'


class Methods(Application):
    plain = wsgify(describe)
    with_arguments = wsgify(describe, args=(1,), kwargs={'two': 2})
    of_a_subclass = Loud(describe)
    with_webobs_request = wsgify(describe, RequestClass=webob.Request)
    with_a_bare_request = wsgify(lambda self, req: req.response, RequestClass=BaseRequest)
    with_its_own_request = wsgify(lambda self, req: req.response, RequestClass=Answering)
    with_a_fixed_response = wsgify(lambda self, req: None, RequestClass=Fixed)
    of_a_static_method = wsgify(staticmethod(lambda req: 'static'))
    of_a_callable = wsgify(type('Callable', (), {'__call__': lambda self, req: 'callable'})())


def middleware(req: Request, application: WSGIApplication, greeting: str) -> Response:
    response = req.get_response(application)
    response.headers['X-Greeting'] = greeting
    return response


@pytest.mark.parametrize('name', [name for name in vars(Methods) if not name.startswith('_')])
def test_other_forms_of_the_decorator(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def see() -> list[Seen]:
        application = getattr(Methods(), name)
        return [run(application, {}, 'GET'), run(Middleware(application), {}, 'GET')]

    ours = see()
    leave_hops_to_webob(monkeypatch)
    assert ours == see()


@pytest.mark.usefixtures('hops')
def test_the_decorator_makes_middleware_too() -> None:
    wrap: Any = wsgify.middleware
    wrap = wrap(middleware, greeting='hi')
    assert run(wrap(Methods().plain), {}, 'GET')['sent'][1][-1] == ('X-Greeting', 'hi')


@pytest.mark.usefixtures('hops')
@pytest.mark.parametrize('application', [write, Answer(lambda req: b'written, returned')], ids=['plain', 'ours'])
def test_what_a_request_overrides_is_asked(application: WSGIApplication) -> None:
    @wsgify(RequestClass=Counting)
    def ask(req: Counting) -> Any:
        return req.get_response(application)

    before = Counting.asked
    assert run(ask, {}, 'GET')['body'] == b'written, returned'
    assert Counting.asked == before + 1


@pytest.mark.usefixtures('hops')
@pytest.mark.parametrize(
    'call',
    [
        pytest.param(wsgify(lambda self, req: 'called'), id='a function'),
        pytest.param(wsgify(staticmethod(lambda req: 'called')), id='a static method'),
        pytest.param(wsgify(MethodType(lambda self, req: 'called', 'other')), id='a method of another object'),
        pytest.param(webob.dec.wsgify(lambda self, req: 'called'), id="WebOb's decorator"),
        pytest.param(Loud(lambda self, req: 'called'), id='a decorator of its own'),
        pytest.param(lambda self, environ, start_response: Response('called')(environ, start_response), id='WSGI'),
    ],
)
def test_a_filter_asks_what_its_application_is_called_by(call: Any) -> None:
    application = type('Kind', (Answer,), {'__call__': call})(lambda req: 'not asked')
    assert run(Middleware(application), {}, 'GET')['body'].lower() == b'called'


@pytest.mark.usefixtures('hops')
def test_the_decorated_is_called_with_a_request_as_well() -> None:
    methods = Methods()
    assert methods.plain(Request.blank('/'), 1, two=2) == "Request (1,) {'two': 2}"
    assert methods.plain.undecorated.__self__ is methods


@pytest.mark.usefixtures('hops')
@pytest.mark.parametrize(('args', 'kwargs'), [((), {}), ((1, 2), {}), ((1,), {'x': 1})])
def test_a_wrong_call_is_a_type_error(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match='wrong signature'):
        Methods().plain({}, *args, **kwargs)
