"""The base classes of applications and middleware, with the factories that an ini file names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefork.toolkit.request import Request, wsgify

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed.wsgi import WSGIApplication
    from webob import Response


class Application:
    """A WSGI application: subclasses define ``__call__``, as WSGI has it or, simpler, decorated with ``wsgify``.

    @wsgify
    def __call__(self, req: Request) -> ...:
        return 'text'                                 # a str or bytes
        return webob.exc.HTTPForbidden('Not you.')    # an HTTP exception, which may also be raised
        return Response(app_iter=open(name, 'rb'))    # a Response
        return self.other                             # any WSGI application, which answers in our place
        return req.get_response(self.other)           # the Response of one, after a change perhaps
        req.response = Response('text')               # or this, and None returned
    """

    @classmethod
    def factory(cls, global_config: dict[str, str], **local_config: str) -> Any:
        """A ``paste.app_factory``: the options of the ini's section are the arguments of the class, always text.

        What the ini's [DEFAULT] has, in ``global_config``, is not passed on.
        """
        return cls(**local_config)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # so typed, a subclass may define either kind
        raise NotImplementedError('You must implement __call__')


class Middleware(Application):
    """An application around another.  Subclasses define ``process_request``, ``process_response`` or both."""

    @classmethod
    def factory(cls, global_config: dict[str, str], **local_config: str) -> Callable[[WSGIApplication], Middleware]:
        """A ``paste.filter_factory``: what it returns is called with the application to wrap."""

        def wrap(application: WSGIApplication) -> Middleware:
            return cls(application, **local_config)

        return wrap

    def __init__(self, application: WSGIApplication) -> None:
        self.application = application

    def process_request(self, req: Request) -> Any:
        """Called with each request before the application is.

        A true result, of any kind that ``wsgify`` takes, is the answer: then neither the application nor
        ``process_response`` is called.
        """
        return None

    def process_response(self, response: Response) -> Any:
        """Called with each response of the application; what it returns is the answer."""
        return response

    @wsgify
    def __call__(self, req: Request) -> Any:
        answer = self.process_request(req)
        if answer:
            return answer
        return self.process_response(req.get_response(self.application))
