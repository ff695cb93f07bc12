"""OpenStack's placement: its own WSGI application over SQLite, with the authentication strategy that needs no other
service."""

from __future__ import annotations

import signal
import threading
import uuid
from typing import TYPE_CHECKING

from reallib.client import Client, at_once, equal
from reallib.trial import BIND, START_TIME, Service

if TYPE_CHECKING:
    from pathlib import Path

    from reallib.trial import Trial
    from tests.serving import Server

CONFIGURATION = """\
[api]
auth_strategy = noauth2

[placement_database]
connection = sqlite:///{folder}/placement.db
"""

AS_ADMIN = {'X-Auth-Token': 'admin', 'OpenStack-API-Version': 'placement latest'}

RELOADED = r'generation 2: loaded'

CLIENTS = 4
EACH = 25


def run(trial: Trial) -> None:
    with trial.step('its database is made: placement-manage db sync'):
        environment = configure(trial.folder)
        trial.command('placement-manage', '--config-file', 'placement.conf', 'db', 'sync')
    argv = ('placement.wsgi.api:application', '--workers', '2', *BIND)
    with trial.serving('its WSGI application', *argv, env=environment) as server:
        with Client(server.url, AS_ADMIN) as client:
            with trial.step('it tells its versions and refuses those who show no token'):
                check_access(server.url, client)
            with trial.step('providers, inventories and traits are made'):
                provider = make_provider(client)
            with trial.step('candidates are found, allocated, counted and freed'):
                allocate(client, provider)
            with trial.step('conflicts, misses and bad input are answered 409, 404 and 400'):
                check_errors(client, provider)
        with trial.step(f'one client makes {EACH} providers while {CLIENTS - 1} look one up'):
            make_and_list(server.url)
        with trial.step(f'a reload by SIGHUP, while {CLIENTS - 1} clients ask, fails no request'):
            reload_under_load(server)


def configure(folder: Path) -> dict[str, str]:
    (folder / 'placement.conf').write_text(CONFIGURATION.format(folder=folder))
    return {'OS_PLACEMENT_CONFIG_DIR': str(folder)}


def check_access(url: str, client: Client) -> None:
    versions = client.ask('GET', '/').json['versions']
    equal([version['id'] for version in versions], ['v1.0'], 'versions')
    with Client(url) as anonymous:
        anonymous.ask('GET', '/resource_providers', expect=401)
    equal(client.ask('GET', '/resource_providers').json, {'resource_providers': []}, 'providers of an empty database')


def make_provider(client: Client) -> str:
    made = client.ask('POST', '/resource_providers', json_body={'name': 'node'})
    provider: str = made.json['uuid']
    equal(made.headers['Location'], f'{client.url}/resource_providers/{provider}', 'Location')
    child = {'name': 'device', 'parent_provider_uuid': provider}
    equal(client.ask('POST', '/resource_providers', json_body=child).json['root_provider_uuid'], provider, 'root')
    inventories = {'VCPU': {'total': 8}, 'MEMORY_MB': {'total': 4096, 'reserved': 512}}
    body = {'resource_provider_generation': 0, 'inventories': inventories}
    stored = client.ask('PUT', f'/resource_providers/{provider}/inventories', json_body=body).json
    equal({name: row['total'] for name, row in stored['inventories'].items()}, {'VCPU': 8, 'MEMORY_MB': 4096}, 'totals')
    client.ask('PUT', '/traits/CUSTOM_FAST', expect=201)
    equal(client.ask('PUT', '/traits/CUSTOM_FAST', expect=204).body, b'', 'body of a 204')
    body = {'resource_provider_generation': 1, 'traits': ['CUSTOM_FAST']}
    equal(
        client.ask('PUT', f'/resource_providers/{provider}/traits', json_body=body).json['traits'], ['CUSTOM_FAST'], ''
    )
    return provider


def allocate(client: Client, provider: str) -> None:
    found = client.ask('GET', '/allocation_candidates?resources=VCPU:2,MEMORY_MB:1024&required=CUSTOM_FAST').json
    equal([list(each['allocations']) for each in found['allocation_requests']], [[provider]], 'candidates')
    wanted = found['allocation_requests'][0]['allocations']
    consumer = f'/allocations/{uuid.uuid4()}'
    body = {'allocations': wanted, 'project_id': 'project', 'user_id': 'user', 'consumer_generation': None}
    body |= {'consumer_type': 'INSTANCE'}
    client.ask('PUT', consumer, expect=204, json_body=body)
    usages = client.ask('GET', f'/resource_providers/{provider}/usages').json['usages']
    equal(usages, {'VCPU': 2, 'MEMORY_MB': 1024}, 'usages while allocated')
    found = client.ask('GET', '/allocation_candidates?resources=VCPU:7').json
    equal(found['allocation_requests'], [], 'candidates for more than is left')
    client.ask('DELETE', consumer, expect=204)
    usages = client.ask('GET', f'/resource_providers/{provider}/usages').json['usages']
    equal(usages, {'VCPU': 0, 'MEMORY_MB': 0}, 'usages when freed')


def check_errors(client: Client, provider: str) -> None:
    client.ask('POST', '/resource_providers', expect=409, json_body={'name': 'node'})
    stale = {'resource_provider_generation': 0, 'inventories': {}}
    conflict = client.ask('PUT', f'/resource_providers/{provider}/inventories', expect=409, json_body=stale)
    equal(conflict.json['errors'][0]['code'], 'placement.concurrent_update', 'code of the conflict')
    client.ask('GET', f'/resource_providers/{uuid.uuid4()}', expect=404)
    client.ask('POST', '/resource_providers', expect=400, json_body={'name': ''})
    client.ask('DELETE', '/resource_providers', expect=405)
    client.ask('GET', '/resource_providers', expect=406, headers={'OpenStack-API-Version': 'placement 9.99'})


def make_and_list(url: str) -> None:
    """One client writes, the others read: SQLite refuses a second writer that has read before it writes."""

    def work(number: int) -> None:
        with Client(url, AS_ADMIN) as client:
            for each in range(EACH):
                if number == 0:
                    client.ask('POST', '/resource_providers', json_body={'name': f'node-{each}'})
                else:
                    client.ask('GET', '/resource_providers?name=node')

    at_once(CLIENTS, work)
    with Client(url, AS_ADMIN) as client:
        names = {row['name'] for row in client.ask('GET', '/resource_providers').json['resource_providers']}
    equal(names, {'node', 'device'} | {f'node-{each}' for each in range(EACH)}, 'providers')


def reload_under_load(server: Server) -> None:
    """The clients go on until the old workers have been told to go, and then a little: kept connections are moved."""
    reloaded = threading.Event()

    def work(number: int) -> None:
        with Client(server.url, AS_ADMIN) as client:
            while not reloaded.is_set():
                client.ask('GET', '/resource_providers?name=node')
            for _ in range(EACH):
                client.ask('GET', '/resource_providers?name=node')

    def reload() -> None:
        try:
            server.send_signal(signal.SIGHUP)
            server.stderr.wait_for(RELOADED, START_TIME)
        finally:
            reloaded.set()

    at_once(CLIENTS, lambda number: reload() if number == 0 else work(number))


SERVICE = Service('placement', "OpenStack's placement over SQLite, by module:callable", ('openstack-placement',), run)
