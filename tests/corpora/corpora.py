"""Corpora of our own in the forms of the two that scripts/try-corpora reads, a few cases each."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

GUNICORN = {
    'valid/post.http': 'POST /form?a=b HTTP/1.0\\r\\n\nContent-Length: 4\\r\\n\n\\r\\n\nx\\ty\\x21\n',
    'valid/post.py': """
from gunicorn.config import Config
cfg = Config()
cfg.set('limit_request_fields', 2)
request = {
    'method': 'POST',
    'uri': uri('/form?a=b'),
    'version': (1, 0),
    'headers': [('CONTENT-LENGTH', '4')],
    'body': 'x\\ty|'.replace('|', '!').encode('ascii'),
}
""",
    'valid/two.http': 'GET /1 HTTP/1.1\\r\\n\n\\r\\n\nGET /2 HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n',
    'valid/two.py': """
first = {'method': 'GET', 'uri': uri('/1'), 'version': (1, 1), 'headers': [], 'body': b''}
second = {'method': 'GET', 'uri': uri('/2'), 'version': (1, 1), 'headers': [('HOST', 'a')], 'body': b''}
request = [first, second]
""",
    'invalid/colon.http': 'GET / HTTP/1.1\\r\\n\nHost : a\\r\\n\n\\r\\n',
    'invalid/colon.py': 'from gunicorn.http.errors import InvalidHeaderName\nrequest = InvalidHeaderName\n',
    'invalid/cut.http': 'GET / HTTP/1.0\\r\\n\nbaz',
    'invalid/cut.py': 'from gunicorn.http.errors import NoMoreData\nrequest = NoMoreData\n',
}

LLHTTP = r"""Sample
======

## Requests

### Chunks and a trailer

<!-- meta={"type": "request"} -->
```http
PUT / HTTP/1.1
Transfer-Encoding: chunked

3
a\r\x21
0
T: u


```
_The trailer is not part of the head._

```log
off=0 message begin
off=0 len=3 span[method]="PUT"
off=3 method complete
off=4 len=1 span[url]="/"
off=11 len=3 span[version]="1.1"
off=16 len=17 span[header_field]="Transfer-Encoding"
off=34 header_field complete
off=35 len=7 span[header_value]="chunked"
off=44 header_value complete
off=46 headers complete method=4 v=1/1 flags=208 content_length=0
off=49 chunk header len=3
off=49 len=2 span[body]="a\r"
off=51 len=1 span[body]="!"
off=54 chunk complete
off=57 len=1 span[header_field]="T"
off=59 header_field complete
off=60 len=1 span[header_value]="u"
off=63 header_value complete
off=65 message complete
```

### Data after close

<!-- meta={"type": "request" } -->
```http
GET /a HTTP/1.0

GET /b HTTP/1.0


```

```log
off=0 message begin
off=0 len=3 span[method]="GET"
off=4 len=2 span[url]="/a"
off=12 len=3 span[version]="1.0"
off=19 headers complete method=1 v=1/0 flags=0 content_length=0
off=19 message complete
off=20 error code=5 reason="Data after `Connection: close`"
```

## Errors

### No number

<!-- meta={"type": "request", "noScan": true} -->
```http
PUT / HTTP/1.0
Content-Length: 4 \
2

```

```log
off=0 message begin
off=0 len=3 span[method]="PUT"
off=33 error code=11 reason="Invalid character in Content-Length"
```

### Unfinished

<!-- meta={"type": "request-finish"} -->
```http
PUT / HTTP/1.0
Content-Le
```

```log
off=0 message begin
off=0 len=3 span[method]="PUT"
off=NULL finish=2
```

### Unfinished

<!-- meta={"type": "request-lenient-headers"} -->
```http
GET / HTTP/1.0
a: \x01


```

```log
off=0 message begin
off=0 message complete
```
"""


def write_gunicorn(folder: Path, files: Mapping[str, str] = GUNICORN) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


def write_llhttp(folder: Path, text: str = LLHTTP) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'sample.md').write_text(text)
    return folder
