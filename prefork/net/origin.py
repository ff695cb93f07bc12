"""What environ says of how a request came: all that a run without proxies needs of what there is about them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TRUSTED = 'prefork.trusted_proxy'
"""The environ key that says whether the request was sent by a trusted proxy; there only where any is trusted."""


def set_scheme(environ: dict[str, Any], scheme: str) -> None:
    """Have ``environ`` say that the client used ``scheme``, in PEP 3333's variable and in CGI's."""
    environ['wsgi.url_scheme'] = scheme
    if scheme == 'https':
        environ['HTTPS'] = 'on'
    else:
        environ.pop('HTTPS', None)
