"""A Flask application, served as flask_hello:app."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from flask import Flask, Response, request, send_file

if TYPE_CHECKING:
    from collections.abc import Iterator

app = Flask(__name__)


@app.get('/')
def hello() -> str:
    return f'Hello, {request.args.get("name", "world")}, from Flask'


@app.post('/echo')
def echo() -> Response:
    return Response(request.get_data(), content_type=request.content_type)


@app.get('/lines')
def lines() -> Response:
    def numbered() -> Iterator[str]:
        for number in range(10_000):
            yield f'line {number}\n'

    return Response(numbered(), content_type='text/plain')


@app.get('/file')
def file() -> Response:
    return send_file(os.environ['DATA_FILE'], mimetype='application/octet-stream')
