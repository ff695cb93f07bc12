"""Request, and the decorator that makes a WSGI application of a function that takes one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import webob
import webob.dec

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


class Request(webob.Request):
    """A WebOb request that can take its scheme from a header of the proxy in front.

    ``secure_proxy_ssl_header`` is the environ key of that header, such as ``HTTP_X_FORWARDED_PROTO``, and is set on
    the class.  Any client can send such a header: set it only behind a proxy that overwrites or drops it.
    """

    secure_proxy_ssl_header: ClassVar[str | None] = None

    def __init__(self, environ: WSGIEnvironment, *args: Any, **kwargs: Any) -> None:
        super().__init__(environ, *args, **kwargs)
        if not self.secure_proxy_ssl_header:
            return
        scheme = environ.get(self.secure_proxy_ssl_header)
        # PEP 3333 expects one of the two; what else a header says mustn't end up in the URLs that applications make.
        if scheme in ('http', 'https'):
            environ['wsgi.url_scheme'] = scheme


wsgify = webob.dec.wsgify(RequestClass=Request)
"""WebOb's decorator with our Request.  The function may return text or bytes, a Response, an HTTP exception, or any
WSGI application, which then answers; or None, and ``req.response`` is sent.  An HTTP exception may also be raised."""
