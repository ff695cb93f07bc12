"""Whether what the server did is what a corpus says, or what the table of arguments says instead."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from corporalib.case import Case, Ending, Outcome, as_far_as_hosts_go, with_end, with_host
from corporalib.exchange import Feed, Misbehaved

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from corporalib.arguments import Argument
    from corporalib.case import Request

    Exchange = Callable[[bytes, Feed], Outcome]
    """A client of the server on trial; it raises Misbehaved."""

_AUTHORITY = re.compile(r'https?://([^/?#]*)', re.IGNORECASE)


def judge(case: Case, argument: Argument | None, exchange: Exchange) -> Iterator[str]:
    """Try the case in each form and feed; a text for each disagreement that ``argument`` doesn't settle."""
    for form, expected in _forms(case):
        for feed in Feed:
            try:
                found = _try(expected, feed, exchange)
            except Misbehaved as error:
                yield f'{case.name} ({form}{feed.value}): {error}'
                continue
            objection = disagreement(expected, found)
            if objection and not (argument and _settles(argument, expected, found)):
                yield f'{case.name} ({form}{feed.value}): {objection}'


def _forms(case: Case) -> Iterator[tuple[str, Case]]:
    """Cases that lack a Host are tried as they are, and with one, so that they aren't refused for that alone."""
    complete = with_host(case)
    if complete is case:
        yield '', case
    else:
        yield 'without a Host, ', as_far_as_hosts_go(case)
        yield 'with a Host, ', complete


def _try(case: Case, feed: Feed, exchange: Exchange) -> Outcome:
    found = exchange(case.data, feed)
    if case.ending is Ending.REFUSED and found.refusal is None and len(found.served) == len(case.requests):
        # A head or body that is wrong and not whole: it was dropped without a word, but it must be refused when it is.
        return exchange(with_end(case).data, feed)
    return found


def disagreement(case: Case, outcome: Outcome) -> str | None:
    """What differs between a case and what was made of it; None where nothing does."""
    served = len(outcome.served)
    refused = outcome.refusal is not None
    if served != len(case.requests) or (case.ending is not Ending.CUT and refused != (case.ending is Ending.REFUSED)):
        return f'{outcome}; the corpus says: {case}'
    return _difference(case, outcome)


def _settles(argument: Argument, case: Case, outcome: Outcome) -> bool:
    return str(outcome) == argument.outcome and _difference(case, outcome) is None


def _difference(case: Case, outcome: Outcome) -> str | None:
    """The first difference between the requests that were served and as many of those that were expected."""
    for number, (found, request) in enumerate(zip(outcome.served, case.requests, strict=False), 1):
        for name, seen, wanted in zip(found._fields, found, delivered(request), strict=True):
            if seen != wanted:
                return f'request {number}: its {name} is {seen!r}; the corpus says: {wanted!r}'
    return None


def delivered(request: Request) -> Request:
    """A request as an application sees it: its chunks are a body with a length, and the host of its target wins.

    RFC 9112 7.1.3 takes Transfer-Encoding away where a body is decoded, and 3.2.2 has Host ignored for absolute-form.
    """
    fields = dict(request.fields)
    if authority := _AUTHORITY.match(request.target):
        fields['HTTP_HOST'] = authority[1]
    if fields.get('HTTP_TRANSFER_ENCODING', '').lower() == 'chunked':
        del fields['HTTP_TRANSFER_ENCODING']
        fields['CONTENT_LENGTH'] = str(len(request.body))
    return request._replace(fields=fields)
