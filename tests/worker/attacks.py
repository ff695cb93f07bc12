"""The attacks that have worked on servers and proxies, as the bytes that a client sends and what must come of them.

Numbers are of the CVE list, each checked against its record there or the advisory that the record refers to; an attack
without one was never given any, or is of a class that none was given for.  Each is told as what it was, wherever it
was, in our words.
"""

from __future__ import annotations

from typing import NamedTuple

SMUGGLED = b'GET /smuggled HTTP/1.1\r\nHost: us\r\n\r\n'
"""What must never be a request; 36 bytes, 24 in hexadecimal."""

NEXT = b'GET /next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'
"""What must still be one, behind what is served."""


class Attack(NamedTuple):
    story: str
    sent: bytes
    status: int
    """Of the refusal.  The connection is closed after it."""
    cves: str = ''
    reached: tuple[str, ...] = ()
    """Targets of the requests that were answered with 200 before it."""


class Disguise(NamedTuple):
    """A request that is valid, with something that other servers took for more than it is."""

    story: str
    sent: bytes
    body: bytes
    """As the application reads it.  The connection goes on behind it."""
    cves: str = ''


def _post(*lines: bytes, body: bytes = b'', version: bytes = b'1.1') -> bytes:
    return b'\r\n'.join([b'POST / HTTP/' + version, b'Host: x', *lines, b'', body])


def _get(*lines: bytes) -> bytes:
    return b'\r\n'.join([b'GET / HTTP/1.1', *lines, b'', b''])


def _chunks(data: bytes) -> bytes:
    return _post(b'Transfer-Encoding: chunked', body=data)


LAST = b'0\r\n\r\n'
CHUNKED = b'Transfer-Encoding: chunked'

# --- where a body ends: two readers that don't agree, and what one takes for data is a request to the other ---------

FRAMING = {
    'CL.TE': Attack(
        'The front end counts, the back end reads chunks and finds a request behind the last.',
        _post(b'Content-Length: %d' % len(LAST + SMUGGLED), CHUNKED, body=LAST + SMUGGLED),
        400,
        'CVE-2005-2088 CVE-2017-7658 CVE-2019-20445 CVE-2023-47641 CVE-2024-47220',
    ),
    'TE.CL': Attack(
        'The front end reads chunks, the back end counts, and what is left of the chunk is a request.',
        _post(b'Content-Length: 4', CHUNKED, body=b'24\r\n' + SMUGGLED + b'\r\n' + LAST),
        400,
        'CVE-2005-2088 CVE-2020-10109 CVE-2024-6827',
    ),
    'TE.0': Attack(
        'The front end reads chunks, the back end sees no body where it expects none: the size line begins a request.',
        b'OPTIONS / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n24\r\n' + SMUGGLED + b'\r\n' + LAST,
        400,
    ),
    'Transfer-Encoding twice, and the last is not chunked': Attack(
        'Chunks are read because chunked stands somewhere, though the last coding is another.',
        _post(CHUNKED, b'Transfer-Encoding: identity', body=LAST + SMUGGLED),
        400,
        'CVE-2021-21299 CVE-2021-33037 CVE-2024-1135',
    ),
    'chunked twice': Attack(
        'One reader decodes once, the other twice.', _post(CHUNKED, CHUNKED, body=LAST + SMUGGLED), 400, 'CVE-2020-8287'
    ),
    'a coding before chunked': Attack(
        'The field is compared with "chunked" as a whole, so that a list falls back to Content-Length, or to no body.',
        _post(b'Transfer-Encoding: gzip, chunked', body=LAST + SMUGGLED),
        501,
        'CVE-2019-16786',
    ),
    'a coding that nobody knows': Attack(
        "What isn't understood is passed over, and Content-Length counts after all.",
        _post(b'Content-Length: 5', b'Transfer-Encoding: xchunked', body=LAST + SMUGGLED),
        400,
        'CVE-2020-11076 CVE-2020-11077 CVE-2022-24790 CVE-2024-6827',
    ),
    'chunked as a part of another word': Attack(
        'The field is malformed: one reader finds the word in it, the other has no coding.',
        _post(b'Transfer-Encoding: not-chunked-at-all', body=LAST + SMUGGLED),
        501,
        'CVE-2019-15605 CVE-2020-25613 CVE-2020-35884 CVE-2022-32213',
    ),
    'chunked with a letter that is K in lower case alone': Attack(
        "str.lower() makes ASCII of it, the Kelvin sign; bytes.lower() doesn't.",
        _post(b'Transfer-Encoding: chun\xe2\x84\xaaed', body=LAST + SMUGGLED),
        400,
        'CVE-2025-69224',
    ),
    'a vertical tab before chunked': Attack(
        'str.strip() removes more than SP and HTAB, so that one reader sees chunked and the other nonsense.',
        _post(b'Content-Length: 5', b'Transfer-Encoding: \x0bchunked', body=LAST + SMUGGLED),
        400,
        'CVE-2019-16789 CVE-2019-18277 CVE-2022-24801',
    ),
    'a no-break space behind chunked': Attack(
        'The same for what is white space in latin-1 alone.',
        _post(b'Transfer-Encoding: chunked\xa0', body=LAST + SMUGGLED),
        400,
        'CVE-2019-16789',
    ),
    'chunked in quotes': Attack(
        'Quotes are taken off by one of both.', _post(b'Transfer-Encoding: "chunked"', body=LAST + SMUGGLED), 400
    ),
    'a folded Transfer-Encoding': Attack(
        'One reader joins folded lines, the other reads a field without a name.',
        _post(b'Transfer-Encoding:\r\n chunked', body=LAST + SMUGGLED),
        400,
        'CVE-2022-32215',
    ),
    'a blank before the colon': Attack(
        'One reader takes it for another field, the other strips it.',
        _post(b'Content-Length: 5', b'Transfer-Encoding : chunked', body=LAST + SMUGGLED),
        400,
        'CVE-2019-16276 CVE-2019-16869 CVE-2021-22959 CVE-2023-47627',
    ),
    'a blank before the first field': Attack(
        'Stripped by one reader; to the other it continues the request line.',
        b'GET / HTTP/1.1\r\n Host: x\r\n\r\n' + SMUGGLED,
        400,
        'CVE-2026-28369',
    ),
    'a blank before Content-Length': Attack(
        'A field to one reader, more of the field before it to the other, and the body a request.',
        _post(b'A: b', b' Content-Length: 36', body=SMUGGLED),
        400,
        'CVE-2024-27982',
    ),
    'a control character at the end of a name': Attack(
        'Skipped, so that what was forwarded had a name that nobody had checked.',
        _post(b'Transfer-Encoding\x01: chunked', body=LAST + SMUGGLED),
        400,
        'CVE-2021-43797',
    ),
    'a field without a colon': Attack(
        'A field of its own to one reader, more of the field before it to the other.',
        _post(b'A: b', b'Transfer-Encoding', body=SMUGGLED),
        400,
        'CVE-2019-20444',
    ),
    'a field that begins with a colon': Attack(
        'Fields behind an empty name were lost to the one that forwards them.',
        _post(b': x', b'Content-Length: 0', body=SMUGGLED),
        400,
        'CVE-2023-25725',
    ),
    'a blank for the hyphen': Attack(
        'A blank in a name was made a hyphen.',
        _post(b'Transfer Encoding: chunked', body=LAST + SMUGGLED),
        400,
        'CVE-2015-5739',
    ),
    'CR for the hyphen': Attack(
        'A CR in a name was made a hyphen too.',
        _post(b'Transfer\rEncoding: chunked', body=LAST + SMUGGLED),
        400,
        'CVE-2020-8201',
    ),
    'chunks to HTTP/1.0': Attack(
        'HTTP/1.0 has no chunks: a proxy that speaks it forwards them as what follows the request.',
        _post(CHUNKED, body=LAST + SMUGGLED, version=b'1.0'),
        400,
        'CVE-2021-33037 CVE-2026-2835',
    ),
    'Content-Length with a plus sign': Attack(
        "int() takes it; a reader that doesn't goes on as if there were no body.",
        _post(b'Content-Length: +%d' % len(SMUGGLED), body=SMUGGLED),
        400,
        'CVE-2021-32715 CVE-2022-24761 CVE-2022-24801 CVE-2023-38697 CVE-2023-47627',
    ),
    'Content-Length with a minus sign': Attack(
        'A negative length reads to the end, or nothing.',
        _post(b'Content-Length: -1', body=SMUGGLED),
        400,
        'CVE-2022-24801 CVE-2023-47627',
    ),
    'Content-Length with an underscore': Attack(
        'int() takes 3_6 for 36.', _post(b'Content-Length: 3_6', body=SMUGGLED), 400, 'CVE-2023-47627'
    ),
    'Content-Length with a blank in it': Attack(
        "One reader stops at it, the other doesn't.",
        _post(b'Content-Length: 3 6', body=SMUGGLED),
        400,
        'CVE-2018-7159',
    ),
    'Content-Length in hexadecimal': Attack(
        'int(text, 0) and strtol() take it.', _post(b'Content-Length: 0x24', body=SMUGGLED), 400, 'CVE-2023-38697'
    ),
    'Content-Length with digits of another script': Attack(
        'str.isdigit() and int() take them.', _post(b'Content-Length: 3\xb2', body=SMUGGLED), 400
    ),
    'Content-Length without a number': Attack(
        'An empty field was forwarded as it was, and read as 0 or as nothing.',
        _post(b'Content-Length: ', body=SMUGGLED),
        400,
        'CVE-2023-40225 CVE-2023-40175',
    ),
    'Content-Length twice': Attack(
        'Each reader takes another one, or neither: "36, 0" is no number, and no body.',
        _post(b'Content-Length: %d' % len(SMUGGLED), b'Content-Length: 0', body=SMUGGLED),
        400,
        'CVE-2015-5740 CVE-2017-7658 CVE-2019-16792 CVE-2019-20445 CVE-2020-10108 CVE-2022-24790',
    ),
    'Content-Length twice, the same': Attack(
        'Joined to "36, 36", which is no number either.',
        _post(b'Content-Length: 36', b'Content-Length: 36', body=SMUGGLED),
        400,
        'CVE-2019-16792',
    ),
    'Content-Length as a list': Attack(
        'As one field with a comma.', _post(b'Content-Length: 36, 36', body=SMUGGLED), 400
    ),
    'Content-Length longer than an integer': Attack(
        'It overflows to a small number.',
        _post(b'Content-Length: 18446744073709551652', body=SMUGGLED),
        400,
    ),
    'Content-Length larger than any body': Attack(
        'Memory was reserved for what was only announced.', _post(b'Content-Length: 999999999999999999'), 413
    ),
    'a name of 270 bytes that begins like Content-Length': Attack(
        'Its length overflowed eight bits, and left a Content-Length of 0 that nobody had sent.',
        _post(b'Content-Length0' + b'a' * 255 + b':', b'Content-Length: 36', b'Content-Length: 0', body=SMUGGLED),
        400,
        'CVE-2021-40346',
    ),
    'a request cut at its end': Attack(
        'What follows a request without its last line is a field of it, never a request.',
        b'GET / HTTP/1.1\r\nHost: x\r\nX: ' + SMUGGLED,
        400,
    ),
}

# --- chunks -----------------------------------------------------------------------------------------------------

CHUNKS = {
    'a size with an underscore': Attack(
        'int(text, 16) takes it.', _chunks(b'2_4\r\n' + SMUGGLED + b'\r\n' + LAST), 400, 'CVE-2022-24790'
    ),
    'a size with a plus sign': Attack(
        'int(text, 16) takes it.', _chunks(b'+24\r\n' + SMUGGLED + b'\r\n' + LAST), 400, 'CVE-2022-24761 CVE-2023-38697'
    ),
    'a size with a minus sign': Attack(
        'A negative size passed the check against the limit.', _chunks(b'-1\r\n' + SMUGGLED), 400
    ),
    'a size with 0x': Attack(
        'int(text, 16) takes 0x24; others read 0 and stop, and have the last chunk.',
        _chunks(b'0x24\r\n' + SMUGGLED + b'\r\n' + LAST),
        400,
        'CVE-2022-24761 CVE-2022-24801 CVE-2023-38697',
    ),
    'a size behind a blank': Attack('int() strips it.', _chunks(b' 24\r\n' + SMUGGLED + b'\r\n' + LAST), 400),
    'a size without a digit': Attack(
        'Taken for 0, and with it the end of the body.', _chunks(b'\r\n\r\n' + SMUGGLED), 400
    ),
    'a size of sixteen digits': Attack(
        'Signed or added to, it is a small or negative number.',
        _chunks(b'ffffffffffffffff\r\n' + SMUGGLED),
        413,
        'CVE-2002-0392 CVE-2013-2028 CVE-2014-0075 CVE-2021-32714',
    ),
    'a size of seventeen digits': Attack(
        'It loses its first digit in 64 bits, and is 0x24.',
        _chunks(b'10000000000000024\r\n' + SMUGGLED + b'\r\n' + LAST),
        400,
        'CVE-2015-3183 CVE-2017-7657 CVE-2021-32714',
    ),
    'data longer than its size': Attack(
        'Two bytes behind the data were skipped without a look at them.',
        _chunks(b'1\r\naXX' + LAST + SMUGGLED),
        400,
        'CVE-2022-24790 CVE-2025-4600 CVE-2025-43859 CVE-2025-66373',
    ),
    'nothing behind the data': Attack(
        'The line end that belongs there was passed over where it was missing.',
        _chunks(b'1\r\na' + LAST + SMUGGLED),
        400,
        'CVE-2025-47905',
    ),
    'a bare LF behind a size': Attack(
        'One reader ends the line there, the other looks for CRLF.',
        _chunks(b'1\na\r\n' + LAST + SMUGGLED),
        400,
        'CVE-2025-22871',
    ),
    'a bare LF behind the data': Attack('The same where a chunk ends.', _chunks(b'1\r\na\n' + LAST + SMUGGLED), 400),
    'a bare LF in an extension': Attack(
        'Extensions were skipped up to CRLF, while others end the line at LF and read on as chunks.',
        _chunks(b'5;a\n24\r\n' + SMUGGLED + b'\r\n' + LAST),
        400,
        'CVE-2021-22960 CVE-2022-24801 CVE-2023-38697 CVE-2024-52304 CVE-2024-53868 CVE-2025-55315 CVE-2025-58056',
    ),
    'a bare CR in an extension': Attack('The same at CR.', _chunks(b'1;a\rb\r\na\r\n' + LAST + SMUGGLED), 400),
    'a quoted extension that nobody closes': Attack(
        'One reader ends the line at its CRLF, the other reads on to a quote that never comes.',
        _chunks(b'1;a="b\r\nX\r\n' + LAST + SMUGGLED),
        400,
        'CVE-2026-2332 CVE-2026-33870',
    ),
    'a quoted extension with a line end in it': Attack(
        'The same where the quote does come: behind what is a chunk to one reader.',
        _chunks(b'1;a="\r\nX\r\n' + LAST + SMUGGLED + b'"\r\nX\r\n' + LAST),
        400,
        'CVE-2026-33870',
    ),
    'NUL in an extension': Attack(
        'Extensions were skipped, whatever was in them.',
        _chunks(b'1;\0\r\na\r\n' + LAST + SMUGGLED),
        400,
        'CVE-2022-24761 CVE-2015-3183',
    ),
    'an extension without end': Attack(
        'Read and thrown away as long as it came.',
        _chunks(b'1;' + b'a' * 100_000),
        400,
        'CVE-2024-22019 CVE-2024-21647',
    ),
    'hardly anything but extensions': Attack(
        'Each is short enough, their sum is thousands of times what the limit of the body counts.',
        _chunks((b'1;' + b'a' * 4000 + b'\r\na\r\n') * 50),
        400,
        'CVE-2023-39326 CVE-2024-21647',
    ),
    'a request for a trailer': Attack(
        'The body ended at the last chunk, and its trailers were read as the next request.',
        _chunks(b'0\r\n' + SMUGGLED),
        400,
        'CVE-2023-40175 CVE-2023-41419 CVE-2025-53643 CVE-2025-58068 CVE-2025-59822',
    ),
    'a trailer that is no field': Attack(
        'Bad trailers ended the body early.',
        _chunks(b'0\r\nx\r\n\r\n' + SMUGGLED),
        400,
        'CVE-2023-45648 CVE-2024-35161',
    ),
    'a trailer that is too long': Attack(
        'The error came after the body had been given up, and the rest was a request.',
        _chunks(b'0\r\nA: ' + b'b' * 70_000 + b'\r\n\r\n' + SMUGGLED),
        400,
        'CVE-2023-46589',
    ),
    'trailers without end': Attack(
        'All of them were kept.', _chunks(b'0\r\n' + b'A: b\r\n' * 10_000), 431, 'CVE-2026-22815'
    ),
    'a trailer that frames': Attack(
        'Merged into the head, it changes what was decided by it.',
        _chunks(b'0\r\nContent-Length: 36\r\n\r\n' + SMUGGLED),
        400,
    ),
    'a trailer that routes': Attack('The same for Host.', _chunks(b'0\r\nHost: y\r\n\r\n' + SMUGGLED), 400),
}

# --- lines, fields and request lines ------------------------------------------------------------------------------

HEADS = {
    'bare LF for every line end': Attack(
        'One reader takes LF for a line end, the other waits for CRLF.',
        b'GET / HTTP/1.1\nHost: x\n\n' + SMUGGLED,
        400,
        'CVE-2019-16785 CVE-2021-37147 CVE-2021-41136',
    ),
    'a bare LF within a field': Attack(
        'Forwarded as it was, it is a field more for who reads LF as a line end.',
        _get(b'Host: x', b'A: b\nTransfer-Encoding: chunked') + LAST + SMUGGLED,
        400,
        'CVE-2022-32214 CVE-2023-47627',
    ),
    'a bare CR within a field': Attack(
        'The same for CR.',
        _get(b'Host: x', b'A: \rTransfer-Encoding: chunked') + LAST + SMUGGLED,
        400,
        'CVE-2015-8852 CVE-2022-35256 CVE-2023-30589 CVE-2023-37276 CVE-2023-47627',
    ),
    'CR and another byte for the empty line': Attack(
        'One reader ends the head there, the other has another field.',
        b'GET / HTTP/1.1\r\nHost: x\r\n\rX' + SMUGGLED,
        400,
        'CVE-2025-23167',
    ),
    'three CR for the empty line': Attack(
        'The same without any LF.', b'GET / HTTP/1.1\r\nHost: x\r\r\r' + SMUGGLED, 400, 'CVE-2026-28367'
    ),
    'a vertical tab for a line end': Attack(
        'str.splitlines() ends a line at it: the value of one field is two fields.',
        _get(b'Host: x', b'A: b\x0bX-Auth-User: root') + SMUGGLED,
        400,
        'CVE-2026-44546',
    ),
    'a folded field': Attack(
        'Two servers of one chain unfolded it differently; the expectation was seen by one of them.',
        b'OPTIONS / HTTP/1.1\r\nHost: x\r\nExpect:\r\n 100-continue\r\nContent-Length: 36\r\n\r\n' + SMUGGLED,
        400,
        'CVE-2025-32094',
    ),
    'NUL in a field': Attack('C ends a string there.', _get(b'Host: x', b'A: b\0c') + SMUGGLED, 400, 'CVE-2023-47627'),
    'NUL in the target': Attack('C ends a string there.', b'GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n' + SMUGGLED, 400),
    'white space that is not SP': Attack(
        "Servers that split at any white space read another target than those that don't.",
        b'GET /\x0b HTTP/1.1\r\nHost: x\r\n\r\n' + SMUGGLED,
        400,
        'CVE-2016-8743',
    ),
    'two blanks in the request line': Attack(
        'The same for more of it than one.', b'GET  / HTTP/1.1\r\nHost: x\r\n\r\n' + SMUGGLED, 400, 'CVE-2016-8743'
    ),
    'a fragment in the target': Attack(
        'A rule for paths that end in something matched what stands behind "#".',
        b'GET /admin#.png HTTP/1.1\r\nHost: x\r\n\r\n' + SMUGGLED,
        400,
        'CVE-2023-45539',
    ),
    'a method that is no token': Attack(
        'A method with separators was let through by a lenient parser.',
        b'GET: / HTTP/1.1\r\nHost: x\r\n\r\n' + SMUGGLED,
        400,
        'CVE-2024-23829',
    ),
    'a name that is no token': Attack(
        'The same for field names.', _get(b'Host: x', b'A?: b') + SMUGGLED, 400, 'CVE-2024-23829'
    ),
    'a version without a dot': Attack(
        'The dot of a regular expression takes any character.',
        b'GET / HTTP/1:1\r\nHost: x\r\n\r\n' + SMUGGLED,
        400,
        'CVE-2024-23829',
    ),
    'a version with digits of another script': Attack(
        'str.isdigit() and \\d take them.',
        b'GET / HTTP/1.\xd9\xa1\r\nHost: x\r\n\r\n' + SMUGGLED,
        400,
        'CVE-2024-23829',
    ),
    'a version with two digits': Attack(
        'Read as 1.1, or as higher than it.', b'GET / HTTP/1.10\r\nHost: x\r\n\r\n' + SMUGGLED, 400
    ),
    'HTTP/0.9': Attack(
        'The answer has no head: whatever of it looks like one was written by who controls the page.',
        b'GET /\r\n' + SMUGGLED,
        400,
    ),
    'HTTP/0.9 by name': Attack('The same.', b'GET / HTTP/0.9\r\nHost: x\r\n\r\n' + SMUGGLED, 505, 'CVE-2017-7656'),
    'HTTP/2 to a server of HTTP/1': Attack(
        'The preface is a request to who reads only its first line.',
        b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n' + SMUGGLED,
        505,
    ),
    'CONNECT': Attack(
        'An origin server that answers with 2xx has the proxy pass everything behind it on as a tunnel.',
        b'CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n' + SMUGGLED,
        501,
    ),
    'Host twice': Attack(
        'One routes by the first, the other by the last.',
        _get(b'Host: public', b'Host: internal') + SMUGGLED,
        400,
        'CVE-2026-34525',
    ),
    'no Host': Attack("What a cache stores it under is anybody's guess.", _get(b'A: b') + SMUGGLED, 400),
    'userinfo in Host': Attack(
        'The link that is made of it leads to what stands behind the "@".',
        _get(b'Host: good.example:80@evil.example') + SMUGGLED,
        400,
        'CVE-2012-4520',
    ),
    'a path in Host': Attack(
        'Concatenated to a URL, it moves the path.', _get(b'Host: evil.example/?') + SMUGGLED, 400
    ),
    'userinfo in an absolute target': Attack(
        'One reader takes the host before the "@", the other the one behind it.',
        b'GET http://good.example@evil.example/ HTTP/1.1\r\nHost: good.example\r\n\r\n' + SMUGGLED,
        400,
    ),
    'an absolute target of another scheme': Attack(
        'A gateway fetched it.', b'GET file:///etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n' + SMUGGLED, 400
    ),
    'an absolute target without a host': Attack(
        'Routed by nothing.', b'GET http:/// HTTP/1.1\r\nHost: x\r\n\r\n' + SMUGGLED, 400
    ),
    'an expectation that nobody knows': Attack(
        'Passed over by one reader; the other answers it, and takes the body for a request.',
        _post(b'Expect: 100-continue, x', b'Content-Length: 36', body=SMUGGLED),
        417,
    ),
    'a pipelined request behind a refused one': Attack(
        'The connection was being closed, and the next request read and executed meanwhile.',
        b'GET /first HTTP/1.1\r\nHost: x\r\n\r\n' + _get(b'Host: x', b'A : b') + SMUGGLED,
        400,
        'CVE-2024-49768',
        ('/first',),
    ),
}

# --- floods: each is refused at its limit, not when it ends, and none of these ends --------------------------------

FLOODS = {
    'fields without end': Attack(
        'All of them were kept until the empty line that never comes.',
        b'GET / HTTP/1.1\r\nHost: x\r\n' + b''.join(b'A%d: b\r\n' % i for i in range(30_000)),
        431,
        'CVE-2018-12121',
    ),
    'a field without end': Attack(
        'The same for one line.', b'GET / HTTP/1.1\r\nHost: x\r\nA: ' + b'b' * 300_000, 431, 'CVE-2018-12121'
    ),
    'a field name without end': Attack('The same for what has no colon.', b'GET / HTTP/1.1\r\n' + b'A' * 300_000, 431),
    'a target without end': Attack('The same for the target.', b'GET /' + b'a' * 300_000, 414),
    'a method without end': Attack('The same for the method.', b'G' * 300_000, 501),
    'one field again and again': Attack(
        'Each was appended to a string that was copied for it: quadratic time, while nobody else is served.',
        b'GET / HTTP/1.1\r\nHost: x\r\n' + b'A: b\r\n' * 9000 + b'\r\n',
        431,
        'CVE-2025-67725',
    ),
    'a value that a bad expression takes for ever over': Attack(
        'Blanks between words could be matched in exponentially many ways before the byte that is wrong.',
        _get(b'Host: x', b'A: ' + b'x ' * 8000 + b'\x10'),
        400,
        'CVE-2020-5236',
    ),
}

REFUSED = FRAMING | CHUNKS | HEADS | FLOODS

# --- what is served, and must be no more than it is ---------------------------------------------------------------

SERVED = {
    'CL.0: a request in the body of a GET': Disguise(
        'A server that expects no body of a GET takes it for the next request.',
        b'GET / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b' % (len(SMUGGLED), SMUGGLED),
        SMUGGLED,
    ),
    'a request in a chunked body of a GET': Disguise(
        'The same with chunks.',
        b'GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n'
        % (len(SMUGGLED), SMUGGLED),
        SMUGGLED,
    ),
    'a request in a body': Disguise(
        "The application didn't read it, so that the server did: as a request.",
        _post(b'Content-Length: %d' % len(SMUGGLED), body=SMUGGLED),
        SMUGGLED,
        'CVE-2022-29361 CVE-2019-20372',
    ),
    'a request deep in a body': Disguise(
        'What had not been read of the body when the response was sent was the next request.',
        _post(b'Content-Length: %d' % (100_000 + len(SMUGGLED)), body=b'a' * 100_000 + SMUGGLED),
        b'a' * 100_000 + SMUGGLED,
        'CVE-2020-26281',
    ),
    'a last chunk in a chunk': Disguise(
        'A reader that looks for the end instead of counting finds it too early.',
        _chunks(b'%x\r\n%b\r\n0\r\n\r\n' % (len(LAST + SMUGGLED), LAST + SMUGGLED)),
        LAST + SMUGGLED,
    ),
    'a size with many zeros': Disguise(
        'Zeros in front filled the digits that were read.',
        _chunks(b'%016x\r\n%b\r\n0\r\n\r\n' % (len(SMUGGLED), SMUGGLED)),
        SMUGGLED,
    ),
    'a size in an extension': Disguise(
        'Extensions were taken for the size.',
        _chunks(b'%x;0\r\n%b\r\n0;24\r\n\r\n' % (len(SMUGGLED), SMUGGLED)),
        SMUGGLED,
    ),
    'Transfer-Encoding named by Connection': Disguise(
        'A proxy removed what Connection names, and with it the framing.',
        _post(b'Connection: Transfer-Encoding', CHUNKED, body=b'%x\r\n%b\r\n0\r\n\r\n' % (len(SMUGGLED), SMUGGLED)),
        SMUGGLED,
        'CVE-2026-26365',
    ),
    'Content_Length': Disguise(
        'With "-" and "_" the same in CGI names, it replaced the real one.',
        _post(b'Content_Length: 0', b'Content-Length: %d' % len(SMUGGLED), body=SMUGGLED),
        SMUGGLED,
    ),
    'Transfer_Encoding': Disguise(
        'The same for the coding.',
        _post(b'Transfer_Encoding: chunked', b'Content-Length: %d' % len(LAST + SMUGGLED), body=LAST + SMUGGLED),
        LAST + SMUGGLED,
    ),
    'an upgrade to HTTP/2': Disguise(
        'A proxy that passes it on makes a tunnel of what the server has never agreed to.',
        _get(b'Host: x', b'Connection: Upgrade, HTTP2-Settings', b'Upgrade: h2c', b'HTTP2-Settings: AAMAAABk'),
        b'',
        'CVE-2026-2833',
    ),
    'many chunks of a byte': Disguise(
        'Chunks were kept in a list that was moved for each of them: seconds, while nobody else is served.',
        _chunks(b'1\r\na\r\n' * 50_000 + LAST),
        b'a' * 50_000,
        'CVE-2025-69229',
    ),
}
