"""A Django project in one file, served as django_hello:application."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from django.urls import path

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA_FILE = Path(os.environ['DATA_FILE'])

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=['*'],
        DATABASES={'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': DATA_FILE.with_name('db.sqlite3')}},
        DATA_UPLOAD_MAX_MEMORY_SIZE=None,
        MIDDLEWARE=['django.middleware.common.CommonMiddleware'],
        ROOT_URLCONF=__name__,
        SECRET_KEY='for tests',
    )

# 400 rows of 50,000 bytes: more than the sockets between a server and a client take, whatever their buffers.
ROWS = """
    WITH RECURSIVE numbers(number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < 400)
    SELECT number, hex(zeroblob(25000)) FROM numbers
"""


def hello(request: Any) -> Any:
    return HttpResponse(f'Hello, {request.GET.get("name", "world")}, from Django')


def echo(request: Any) -> Any:
    return HttpResponse(request.body, content_type=request.content_type)


def lines(request: Any) -> Any:
    return StreamingHttpResponse((f'line {number}\n' for number in range(10_000)), content_type='text/plain')


def file(request: Any) -> Any:
    return FileResponse(DATA_FILE.open('rb'), content_type='application/octet-stream')


def rows(request: Any) -> Any:
    """Rows of a query that is open for as long as the response is.

    Its connection is the thread's, and Django closes that when the thread ends a request, whichever that is.
    """

    def read() -> Iterator[str]:
        with connection.cursor() as cursor:
            cursor.execute(ROWS)
            while (row := cursor.fetchone()) is not None:
                yield f'{row[0]} {row[1]}\n'

    return StreamingHttpResponse(read(), content_type='text/plain')


urlpatterns = [
    path('', hello),
    path('echo', echo),
    path('lines', lines),
    path('file', file),
    path('rows', rows),
]

application = get_wsgi_application()
