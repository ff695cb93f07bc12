"""Request, and the decorator that makes a WSGI application of a function that takes one.

A pipeline of such applications spends most of its time on what WebOb makes anew for each of them, and most of that is
never looked at.  ``Request.send`` and ``wsgify.__call__`` have what WebOb's have, for less, and what two decorated
applications would tell each other by WSGI is handed on by ``ask``.  Whatever a function is given or returns is of
WebOb's classes, and in the same state.
A percentage says how many more instructions a request takes through three filters and a Router without that trick (the
case chain of ``scripts/bench``); without any of them it takes 2.2 times as many.
"""

from __future__ import annotations

from types import FunctionType
from typing import TYPE_CHECKING, Any, ClassVar

import webob
import webob.dec
from webob.exc import HTTPException
from webob.util import status_reasons

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_ATTRIBUTES = 'webob.adhoc_attrs'
"""Where WebOb keeps what is set on requests, ``response`` among it: all requests of one environ share it."""

_SEEKABLE = 'webob.is_body_seekable'
"""Whether WebOb has read the body, so that each application that it calls is to find it from the beginning."""

_STATUSES = frozenset(f'{code} {reason}' for code, reason in status_reasons.items())


class Request(webob.Request):
    """A WebOb request that can take its scheme from a header of the proxy in front.

    ``secure_proxy_ssl_header`` is the environ key of that header, such as ``HTTP_X_FORWARDED_PROTO``, and is set on
    the class.  Any client can send such a header: set it only behind a proxy that overwrites or drops it.
    """

    secure_proxy_ssl_header: ClassVar[str | None] = None

    def __init__(self, environ: WSGIEnvironment, *args: Any, **kwargs: Any) -> None:
        if type(environ) is dict and not args and not kwargs:
            # All that WebOb does then, but not by way of __dict__, after which attributes cost more: 5 %.
            object.__setattr__(self, 'environ', environ)
        else:
            super().__init__(environ, *args, **kwargs)
        if not self.secure_proxy_ssl_header:
            return
        scheme = environ.get(self.secure_proxy_ssl_header)
        # PEP 3333 expects one of the two; what else a header says mustn't end up in the URLs that applications make.
        if scheme in ('http', 'https'):
            environ['wsgi.url_scheme'] = scheme

    def send(self, application: WSGIApplication | None = None, catch_exc_info: bool = False) -> webob.Response:
        """Ask ``application`` and return its Response; None asks the server that the request names."""
        ours: Any = type(self)
        if (
            application is None
            or catch_exc_info
            or ours.ResponseClass is not webob.Response
            or ours.call_application is not webob.Request.call_application
        ):
            return super().send(application, catch_exc_info)
        environ = self.environ
        if environ.get(_SEEKABLE):
            environ['wsgi.input'].seek(0)
        answer: Any = ask(application, environ)
        given = type(answer) is webob.Response
        if given and not answer.conditional_response and environ['REQUEST_METHOD'] != 'HEAD':
            # What would be captured of the call below, part by part.
            status, headers, app_iter = answer._status, answer._abs_headerlist(environ), answer._app_iter
        else:
            caller = _Caller(environ) if environ.get(_SEEKABLE) else self
            status, headers, app_iter = caller.call_application(answer)
            headers = list(headers)
        if status not in _STATUSES or app_iter is None:
            return webob.Response(status=status, headerlist=headers, app_iter=app_iter)
        # What the line above makes, where nothing is to be parsed and no default to be filled in: 19 %.
        response = webob.Response.__new__(webob.Response)
        state: Any = response
        state._status = status
        state._headers = None
        state._headerlist = headers
        state.conditional_response = webob.Response.default_conditional_response
        state._app_iter = app_iter
        return response

    get_response = send


class _Caller(webob.Request):
    """Calls an application without going back to the beginning of a body that is read already."""

    is_body_seekable = False


class _Attributes(dict[str, Any]):
    """What is set on the requests of an environ, with ``response`` made when it is first asked for.

    WebOb makes one for each application, most of which return another, and then looks for cookies in it: 57 %.
    """

    response_class: type[webob.Response]

    def __missing__(self, name: str) -> webob.Response:
        if name != 'response':
            raise KeyError(name)
        response = self[name] = self.response_class()
        return response


class wsgify(webob.dec.wsgify):  # type: ignore[type-arg]  # its type takes parameters, the class none
    """WebOb's decorator with our Request.

    The function may return text or bytes, a Response, an HTTP exception, or any WSGI application, which then answers;
    or None, and ``req.response`` is sent.  An HTTP exception may also be raised.
    """

    RequestClass = Request
    func: Any
    _of_class = False  # whether a class has this as it is, and not what WebOb makes of it for the class

    def __init__(self, func: Any = None, *args: Any, **kwargs: Any) -> None:
        super().__init__(func, *args, **kwargs)
        # Whether WebOb would do nothing that our __call__ doesn't; asking its hooks at each call instead: 6 %.
        self._plain = (
            type(self) is wsgify
            and type(func) is FunctionType
            and not (self.args or self.kwargs or self.middleware_wraps)
            and issubclass(self.RequestClass, Request)
            and not hasattr(self.RequestClass, 'response')
        )

    def __set_name__(self, owner: type, name: str) -> None:
        self._of_class = self._plain

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        if not self._plain:
            return super().__get__(instance, owner)
        if instance is None:
            return self
        # What WebOb's clone() makes, here at each call of an object whose __call__ is decorated: 45 %.
        bound = wsgify.__new__(wsgify)
        bound.func = self.func.__get__(instance, owner)
        bound.RequestClass = self.RequestClass
        bound.args, bound.kwargs, bound.middleware_wraps = (), {}, None
        bound._plain = True
        return bound

    def __call__(self, req: Any, *args: Any, **kw: Any) -> Any:
        if not self._plain or type(req) is not dict or len(args) != 1 or kw:
            return super().__call__(req, *args, **kw)
        return self.answer(req, self.func)(req, *args)

    def answer(self, environ: WSGIEnvironment, func: Callable[[Any], Any]) -> WSGIApplication:
        """What ``func``, which is decorated by this, or that bound to its object, wants to be called in its place."""
        request: Any = self.RequestClass(environ)
        attributes = _renewed(environ, request.ResponseClass)
        try:
            answer = func(request)
        except HTTPException as exception:
            answer = exception
        if answer is None:
            answer = request.response
        elif isinstance(answer, str | bytes):
            request.response.write(answer.encode(request.charset) if isinstance(answer, str) else answer)
            answer = request.response
        elif 'response' in attributes and answer is not request.response:
            answer = request.response.merge_cookies(answer)
        return answer  # type: ignore[no-any-return]


class Relay:
    """A WSGI application that only says which one to call in its place."""

    def ask(self, environ: WSGIEnvironment) -> WSGIApplication:
        """The application to call, with ``environ`` as this has changed it."""
        raise NotImplementedError

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return self.ask(environ)(environ, start_response)


def ask(application: WSGIApplication, environ: WSGIEnvironment) -> WSGIApplication:
    """What is left to be called after ``application`` and those that it names in its place have done their part.

    Theirs are the classes of this package; after them there is a Response, or an application of another kind.  They
    would do the same when called, and call what they name: 17 %.
    """
    while type(application) is not webob.Response:
        decorated = type(application).__call__
        if type(decorated) is wsgify and decorated._of_class:
            application = decorated.answer(environ, decorated.func.__get__(application))
        elif isinstance(application, Relay):
            application = application.ask(environ)
        else:
            break
    return application


def _renewed(environ: WSGIEnvironment, response_class: type[webob.Response]) -> _Attributes:
    """The attributes of an environ's requests, without the response of an application that had it before."""
    attributes = environ.get(_ATTRIBUTES)
    if type(attributes) is not _Attributes:
        attributes = environ[_ATTRIBUTES] = _Attributes(attributes or {})
    attributes.pop('response', None)
    attributes.response_class = response_class
    return attributes
