"""How scripts/try-corpora judges: what was made of a case against what its corpus, or the table, says."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from corporalib.arguments import ARGUMENTS, NOT_APPLICABLE, Argument
from corporalib.case import HOST, Case, Ending, Outcome, Request, as_far_as_hosts_go, with_host
from corporalib.exchange import Feed, Misbehaved, read_statuses
from corporalib.judge import delivered, disagreement, judge

if TYPE_CHECKING:
    from collections.abc import Callable

GET = Request('GET', '/', '1.0', {}, b'')
POST = Request('POST', '/', '1.0', {'CONTENT_LENGTH': '1'}, b'a')
HOSTLESS = GET._replace(version='1.1')
HOSTED = HOSTLESS._replace(fields={'HTTP_HOST': HOST})

NOTHING = Outcome((), None)
REFUSED = Outcome((), 400)


def case(*requests: Request, ending: Ending = Ending.COMPLETE, data: bytes = b'') -> Case:
    return Case('a:case', data, requests, ending)


@pytest.mark.parametrize(
    ('expected', 'outcome', 'objection'),
    [
        pytest.param(case(GET), Outcome((GET,), None), None, id='served'),
        pytest.param(case(GET, POST), Outcome((GET, POST), None), None, id='both served'),
        pytest.param(case(GET, POST), Outcome((GET,), None), 'served 1', id='one of two served'),
        pytest.param(case(GET), Outcome((GET, GET), None), 'served 2', id='one too many'),
        pytest.param(case(GET), REFUSED, 'refused 400', id='valid, refused'),
        pytest.param(case(GET), Outcome((GET,), 400), 'served 1, refused 400', id='valid, served and refused'),
        pytest.param(case(ending=Ending.REFUSED), REFUSED, None, id='invalid, refused'),
        pytest.param(case(ending=Ending.REFUSED), NOTHING, 'served 0', id='invalid, dropped'),
        pytest.param(case(ending=Ending.REFUSED), Outcome((GET,), None), 'served 1', id='invalid, served'),
        pytest.param(case(ending=Ending.REFUSED), Outcome((GET,), 400), 'served 1, refused 400', id='served first'),
        pytest.param(case(GET, ending=Ending.REFUSED), Outcome((GET,), 400), None, id='one valid, the next refused'),
        pytest.param(case(GET, ending=Ending.REFUSED), REFUSED, 'refused 400', id='one valid, refused at once'),
        pytest.param(case(ending=Ending.CUT), NOTHING, None, id='cut, dropped'),
        pytest.param(case(ending=Ending.CUT), REFUSED, None, id='cut, refused'),
        pytest.param(case(ending=Ending.CUT), Outcome((GET,), None), 'served 1', id='cut, executed'),
        pytest.param(
            case(POST), Outcome((POST._replace(body=b'b'),), None), "its body is b'b'", id='served with another body'
        ),
        pytest.param(
            case(GET, GET),
            Outcome((GET, GET._replace(method='get')), None),
            "request 2: its method is 'get'",
            id='served with another method',
        ),
        pytest.param(
            case(GET), Outcome((POST._replace(method='GET', body=b''),), None), 'its fields are', id='another field'
        ),
    ],
)
def test_disagreement(expected: Case, outcome: Outcome, objection: str | None) -> None:
    found = disagreement(expected, outcome)
    if objection is None:
        assert found is None
    else:
        assert objection.replace('fields are', 'fields is') in str(found)


def test_chunks_are_delivered_as_a_body_with_a_length() -> None:
    sent = HOSTED._replace(fields={'HTTP_TRANSFER_ENCODING': 'Chunked', 'HTTP_A': 'b'}, body=b'abc')
    assert delivered(sent).fields == {'CONTENT_LENGTH': '3', 'HTTP_A': 'b'}


def test_the_host_of_the_target_wins() -> None:
    assert delivered(HOSTED._replace(target='HTTP://a:1?b')).fields == {'HTTP_HOST': 'a:1'}


@pytest.mark.parametrize(
    ('before', 'data'),
    [
        pytest.param(
            case(HOSTLESS, data=b'GET / HTTP/1.1\r\nA: b\r\n\r\n'),
            b'GET / HTTP/1.1\r\nHost: %b\r\nA: b\r\n\r\n',
            id='without',
        ),
        pytest.param(
            case(HOSTED, HOSTLESS, data=b'GET / HTTP/1.1\r\nhOST:a\r\n\r\nGET / HTTP/1.1\r\n\r\n'),
            b'GET / HTTP/1.1\r\nhOST:a\r\n\r\nGET / HTTP/1.1\r\nHost: %b\r\n\r\n',
            id='the second without',
        ),
        pytest.param(
            case(data=b'GET / HTTP/1.1\r\nA : b\r\n\r\n', ending=Ending.REFUSED),
            b'GET / HTTP/1.1\r\nHost: %b\r\nA : b\r\n\r\n',
            id='invalid, and without',
        ),
    ],
)
def test_a_host_is_added_where_it_is_needed(before: Case, data: bytes) -> None:
    after = with_host(before)
    assert after.data == data % HOST.encode()
    assert all('HTTP_HOST' in request.fields for request in after.requests)


@pytest.mark.parametrize(
    'before',
    [
        pytest.param(case(GET, data=b'GET / HTTP/1.0\r\n\r\n'), id='HTTP/1.0'),
        pytest.param(case(HOSTED, data=b'GET / HTTP/1.1\r\nHost: a\r\n\r\n'), id='with'),
        pytest.param(case(POST, data=b'POST / HTTP/1.0\r\n\r\nGET / HTTP/1.1\r\n\r\n'), id='in a body'),
    ],
)
def test_no_host_is_added_where_none_is_needed(before: Case) -> None:
    assert with_host(before) is before
    assert as_far_as_hosts_go(before) is before


def test_the_first_request_without_a_host_is_where_it_ends() -> None:
    assert as_far_as_hosts_go(case(HOSTED, HOSTLESS, HOSTED)) == case(HOSTED, ending=Ending.REFUSED)


def answering(outcomes: dict[bytes, Outcome]) -> Callable[[bytes, Feed], Outcome]:
    return lambda data, feed: outcomes[data]


def test_a_case_without_a_host_is_tried_with_one_too() -> None:
    without, complete = b'GET / HTTP/1.1\r\n\r\n', f'GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n'.encode()
    served = Outcome((HOSTED,), None)
    tried = case(HOSTLESS, data=without)
    assert list(judge(tried, None, answering({without: REFUSED, complete: served}))) == []
    assert list(judge(tried, None, answering({without: served, complete: served}))) == [
        f'a:case (without a Host, {feed}): served 1; the corpus says: served 0, the rest to be refused'
        for feed in ('whole', 'byte by byte')
    ]
    assert list(judge(tried, None, answering({without: REFUSED, complete: REFUSED}))) == [
        f'a:case (with a Host, {feed}): refused 400; the corpus says: served 1, the rest complete'
        for feed in ('whole', 'byte by byte')
    ]


def test_what_is_dropped_because_it_is_cut_has_to_be_refused_when_it_is_whole() -> None:
    tried = case(data=b'a', ending=Ending.REFUSED)
    whole = b'a\r\n\r\n'
    assert list(judge(tried, None, answering({b'a': NOTHING, whole: REFUSED}))) == []
    assert len(list(judge(tried, None, answering({b'a': NOTHING, whole: Outcome((GET,), None)})))) == 2
    assert len(list(judge(tried, None, answering({b'a': NOTHING, whole: NOTHING})))) == 2


def test_an_argument_settles_its_own_outcome_alone() -> None:
    argument = Argument('refused 400', 'RFC 9110 1', 'so be it', ('a:case',))
    assert list(judge(case(GET), argument, answering({b'': REFUSED}))) == []
    assert len(list(judge(case(GET), argument, answering({b'': Outcome((), 501)})))) == 2


def test_an_argument_does_not_excuse_another_request() -> None:
    argument = Argument('served 1', 'RFC 9110 1', 'the second is not read', ('a:case',))
    assert list(judge(case(GET, POST), argument, answering({b'': Outcome((GET,), None)}))) == []
    assert len(list(judge(case(GET, POST), argument, answering({b'': Outcome((POST,), None)})))) == 2


def test_misbehaviour_is_told_of_the_feed_it_happened_with() -> None:
    def exchange(data: bytes, feed: Feed) -> Outcome:
        if feed is Feed.BYTEWISE:
            raise Misbehaved('it does not close')
        return Outcome((GET,), None)

    assert list(judge(case(GET), None, exchange)) == ['a:case (byte by byte): it does not close']


@pytest.mark.parametrize(
    ('stream', 'statuses'),
    [
        pytest.param(b'', [], id='nothing'),
        pytest.param(b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n', [200], id='one'),
        pytest.param(
            b'HTTP/1.1 200 OK\r\ncontent-length: 19\r\nA: b\r\n\r\nHTTP/1.1 500 No\r\n\r\nHTTP/1.0 400 Bad\r\n\r\nwhy',
            [200, 400],
            id='one in a body, and one up to the end',
        ),
        pytest.param(
            b'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na', [200], id='interim'
        ),
    ],
)
def test_statuses(stream: bytes, statuses: list[int]) -> None:
    assert read_statuses(stream) == statuses


@pytest.mark.parametrize(
    'stream',
    [b'hello', b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n', b'HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab'],
)
def test_what_is_no_response_is_misbehaviour(stream: bytes) -> None:
    with pytest.raises(Misbehaved, match='this is not a response'):
        read_statuses(stream)


def test_each_case_has_one_place_in_the_table() -> None:
    names = [name for argument in ARGUMENTS for name in argument.cases] + list(NOT_APPLICABLE)
    assert [name for name, count in Counter(names).items() if count > 1] == []


@pytest.mark.parametrize('argument', ARGUMENTS, ids=lambda argument: argument.cases[0])
def test_arguments_name_an_outcome_that_there_is_and_a_section(argument: Argument) -> None:
    assert re.fullmatch(r'refused [45]\d\d|served \d(, refused [45]\d\d)?', argument.outcome)
    assert re.fullmatch(r'RFC 911[02] \d+(\.\d+)*', argument.section)
    assert argument.reason
