"""Kinto, with its memory backend: the ini file that ``kinto init`` writes, and the functional tests that are published
with Kinto and with its client.

One worker each, because the memory backend is a process's own.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING
from urllib.parse import quote

from reallib.client import Client, at_once, equal
from reallib.trial import BIND, Failed, Service

if TYPE_CHECKING:
    from pathlib import Path

    from reallib.trial import Trial

REQUIREMENTS = (
    'kinto',
    'kinto-http',
    'kinto-attachment',
    'prometheus-client',
    'setuptools<82',  # Pyramid imports pkg_resources, which later ones don't have
    'pytest',
    'pytest-asyncio',
    'pytest-mock',
)

ONE = ('--workers', '1')

LOCAL = 'http://localhost:8888/v1'
"""Where both suites look for the server: a constant, which is changed to where ours is."""

# Kinto's functional.ini wants PostgreSQL; all the rest of it is used as it is.
IN_MEMORY = """\
[app:main]
use = config:{functional}
kinto.storage_backend = kinto.core.storage.memory
kinto.storage_url =
kinto.cache_backend = kinto.core.cache.memory
kinto.cache_url =
kinto.permission_backend = kinto.core.permission.memory
kinto.permission_url =
"""

CLIENTS = 8
EACH = 25


def run(trial: Trial) -> None:
    with trial.step('kinto init writes its ini file'):
        backends = ('--backend', 'memory', '--cache-backend', 'memory')
        trial.command('kinto', 'init', '--ini', 'kinto.ini', '--host', '127.0.0.1', *backends)
    # Its [server:main] says port = %(http_port)s, which `kinto start` sets too.
    with trial.serving('its ini file', 'kinto.ini', 'http_port=0', *ONE) as server:
        use(trial, f'{server.url}/v1')
    run_client_tests(trial)
    run_own_tests(trial)


def run_client_tests(trial: Trial) -> None:
    with trial.step("the source of Kinto's client is there, with its functional tests"):
        source = trial.environment.unpack_source('kinto-http', trial.folder)
    environment = {'KINTO_ATTACHMENT_BASE_PATH': str(trial.folder)}
    argv = ('tests/config/kinto.ini', *ONE, *BIND)
    with (
        trial.serving("the ini file of the client's tests", *argv, env=environment, cwd=source) as server,
        trial.step("the client's functional tests pass"),
    ):
        redirect(source / 'src' / 'kinto_http' / 'constants.py', server.url)
        run_functional_tests(trial, source, 'tests/test_functional.py', {'PYTHONPATH': str(source / 'src')})


def run_own_tests(trial: Trial) -> None:
    with trial.step('the source of Kinto is there, with its functional tests'):
        source = trial.environment.unpack_source('kinto', trial.folder)
        ini = trial.folder / 'memory.ini'
        ini.write_text(IN_MEMORY.format(functional=quote(str(source / 'tests' / 'functional.ini'))))
    with (
        trial.serving("the ini file of Kinto's tests", str(ini), *ONE, *BIND, cwd=source) as server,
        trial.step("Kinto's functional tests pass"),
    ):
        redirect(source / 'tests' / 'functional.py', server.url)
        run_functional_tests(trial, source, 'tests/functional.py', {})


def redirect(path: Path, url: str) -> None:
    text = path.read_text()
    if LOCAL not in text:
        raise Failed(f'{path}: there is no {LOCAL} in it any more')
    path.write_text(text.replace(LOCAL, f'{url}/v1'))


def run_functional_tests(trial: Trial, source: Path, tests: str, environment: dict[str, str]) -> None:
    # Their own options are for plugins that measure coverage, and spread tests over processes.
    trial.run_tests('-o', 'addopts=', tests, env=environment, cwd=source)


def use(trial: Trial, url: str) -> None:
    with Client(url) as client:
        with trial.step('an account, a bucket and a collection are made'):
            records = make_collection(client)
        with trial.step('records are paged through'):
            page_through(client, records)
        with trial.step('ETags: 304 for what is known, 412 for what changed meanwhile'):
            check_preconditions(client, records)
        with trial.step('a batch of requests in one, and a record of a megabyte'):
            send_much(client, records)
        with trial.step('the administration page and its files'):
            fetch_admin(client)
        with trial.step(f'{CLIENTS} clients at once make {EACH} records each'):
            make_many(client, f'{records.rpartition("/collections/")[0]}/collections/many')


def make_collection(client: Client) -> str:
    equal(client.ask('GET', '/').json['url'], f'{client.url}/', 'its own URL')
    client.ask('PUT', '/accounts/admin', expect=201, json_body={'data': {'password': 'secret'}})
    client.ask('PUT', '/buckets/blog', expect=401)
    client.headers['Authorization'] = 'Basic ' + base64.b64encode(b'admin:secret').decode()
    client.ask('PUT', '/buckets/blog', expect=201)
    client.ask('PUT', '/buckets/blog/collections/articles', expect=201)
    return '/buckets/blog/collections/articles/records'


def page_through(client: Client, records: str) -> None:
    for number in range(10):
        client.ask('PUT', f'{records}/a{number}', expect=201, json_body={'data': {'number': number}})
    pages, path = [], f'{records}?_limit=4&_sort=number'
    while path:
        reply = client.ask('GET', path)
        pages.append([row['number'] for row in reply.json['data']])
        path = reply.headers['Next-Page'] or ''
    equal(pages, [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]], 'pages')
    counted = client.ask('HEAD', records)
    equal((counted.headers['Total-Records'], counted.body), ('10', b''), 'HEAD')
    equal(len(client.ask('GET', f'{records}?min_number=7').json['data']), 3, 'records by a filter')


def check_preconditions(client: Client, records: str) -> None:
    known = client.ask('GET', f'{records}/a1').headers['ETag']
    unchanged = client.ask('GET', f'{records}/a1', expect=304, headers={'If-None-Match': known})
    equal(unchanged.body, b'', 'body of a 304')
    changed = {'data': {'number': 100}}
    client.ask('PUT', f'{records}/a1', json_body=changed, headers={'If-Match': known})
    client.ask('PUT', f'{records}/a1', expect=412, json_body=changed, headers={'If-Match': known})
    client.ask('PUT', f'{records}/a1', expect=412, json_body=changed, headers={'If-None-Match': '*'})
    client.ask('GET', f'{records}/none', expect=404)
    client.ask('DELETE', f'{records}/a1')
    client.ask('GET', f'{records}/a1', expect=404)


def send_much(client: Client, records: str) -> None:
    create = [{'method': 'PUT', 'path': f'/v1{records}/b{number}', 'body': {'data': {}}} for number in range(20)]
    answers = client.ask('POST', '/batch', json_body={'requests': create}).json['responses']
    equal([answer['status'] for answer in answers], [201] * 20, 'statuses of the batch')
    text = 'ü€' * 250_000
    body = {'data': {'text': text}}
    client.ask('PUT', f'{records}/large', expect=201, json_body=body)
    equal(client.ask('GET', f'{records}/large').json['data']['text'] == text, True, 'the large record came back')


def fetch_admin(client: Client) -> None:
    page = client.ask('GET', '/admin/')
    equal(page.headers.get_content_type(), 'text/html', 'type of the page')
    script = page.body.decode().partition('src="')[2].partition('"')[0].removeprefix('./')
    found = client.ask('GET', f'/admin/{script}')
    equal(len(found.body), int(found.headers['Content-Length']), f'length of {script}')


def make_many(client: Client, collection: str) -> None:
    client.ask('PUT', collection, expect=201)

    def work(number: int) -> None:
        with Client(client.url, client.headers) as mine:
            for each in range(EACH):
                body = {'data': {'number': number, 'each': each}}
                mine.ask('POST', f'{collection}/records', expect=201, json_body=body)

    at_once(CLIENTS, work)
    equal(client.ask('HEAD', f'{collection}/records').headers['Total-Records'], str(CLIENTS * EACH), 'records')


SERVICE = Service('kinto', 'Kinto in memory, by its ini files, and asked by its functional tests', REQUIREMENTS, run)
