"""OpenStack's glance: its own WSGI application over SQLite and a folder of images, without another service.

Its glance-api-paste.ini is installed with it, and is composed twice: by PasteDeploy, which glance calls, and by this
project's loader in its place.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from reallib.client import Client, at_once, equal
from reallib.trial import BIND, Service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reallib.trial import Trial

CONFIGURATION = """\
[DEFAULT]
worker_self_reference_url = http://127.0.0.1
node_staging_uri = file://{folder}/staging

[database]
connection = sqlite:///{folder}/glance.db

[glance_store]
stores = file
default_store = file
filesystem_store_datadir = {folder}/images

[paste_deploy]
config_file = {paste}

[oslo_policy]
policy_file = {folder}/policy.json

[oslo_concurrency]
lock_path = {folder}/locks
"""

# Without keystone there are no roles to go by: everyone may do what is tried here.
ALLOWED = (
    'add_image',
    'delete_image',
    'get_image',
    'get_images',
    'modify_image',
    'publicize_image',
    'upload_image',
    'download_image',
)

WITH_OUR_LOADER = """\
import paste.deploy
import prefork.deploy

composed = []


def loadapp(uri, **options):
    composed.append(uri)
    return prefork.deploy.loadapp(uri, **options)


paste.deploy.loadapp = loadapp

from glance.wsgi.api import application

assert composed, 'glance composed its application otherwise'
"""

PIECE = bytes(range(256)) * 256
CLIENTS = 4
EACH = 10


def run(trial: Trial) -> None:
    with trial.step('its database is made: glance-manage db sync'):
        environment = configure(trial)
        trial.command('glance-manage', '--config-file', 'glance-api.conf', 'db', 'sync')
    argv = ('glance.wsgi.api:application', '--workers', '2', *BIND)
    with trial.serving('its WSGI application', *argv, env=environment) as server:
        use(trial, server.url)
    (trial.folder / 'with_our_loader.py').write_text(WITH_OUR_LOADER)
    argv = ('with_our_loader:application', '--workers', '2', *BIND)
    with trial.serving('its glance-api-paste.ini by our loader', *argv, env=environment) as server:
        use(trial, server.url)


def configure(trial: Trial) -> dict[str, str]:
    folder = trial.folder
    for name in ('images', 'staging'):
        (folder / name).mkdir()
    paste = trial.environment.directory / 'etc' / 'glance' / 'glance-api-paste.ini'
    (folder / 'glance-api.conf').write_text(CONFIGURATION.format(folder=folder, paste=paste))
    (folder / 'policy.json').write_text(json.dumps(dict.fromkeys(ALLOWED, '@')))
    return {'OS_GLANCE_CONFIG_DIR': str(folder)}


def use(trial: Trial, url: str) -> None:
    with Client(url) as client:
        with trial.step('it tells its versions, with 300, and its health'):
            check_versions(client)
        with trial.step('an image is made, sent in chunks, listed, fetched whole and in part, and deleted'):
            keep_image(client)
        with trial.step('schemas, misses and bad input'):
            check_errors(client)
    with trial.step(f'one client sends {EACH} images while {CLIENTS - 1} fetch another'):
        keep_and_fetch(url)


def check_versions(client: Client) -> None:
    versions = client.ask('GET', '/', expect=300).json['versions']
    current = [version for version in versions if version['status'] == 'CURRENT']
    equal([version['links'][0]['href'] for version in current], [f'{client.url}/v2/'], 'link to the current version')
    equal(client.ask('GET', '/healthcheck').body.strip(), b'OK', 'health')


def make_image(client: Client, name: str) -> str:
    body = {'name': name, 'container_format': 'bare', 'disk_format': 'raw'}
    made = client.ask('POST', '/v2/images', expect=201, json_body=body)
    equal(made.headers['Location'], f'{client.url}/v2/images/{made.json["id"]}', 'Location')
    path: str = made.json['file']
    return path.removesuffix('/file')


def keep_image(client: Client) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(64):
            yield PIECE

    image = make_image(client, 'disk')
    content = PIECE * 64
    octets = {'Content-Type': 'application/octet-stream'}
    client.ask('PUT', f'{image}/file', expect=204, body=pieces(), headers=octets)
    described = client.ask('GET', image).json
    digest = hashlib.new(described['os_hash_algo'], content).hexdigest()
    equal((described['status'], described['size']), ('active', len(content)), 'status and size')
    equal(described['os_hash_value'], digest, 'hash')
    equal([row['name'] for row in client.ask('GET', '/v2/images?name=disk').json['images']], ['disk'], 'images')
    equal(client.ask('GET', f'{image}/file').body == content, True, 'the image came back')
    part = client.ask('GET', f'{image}/file', expect=206, headers={'Range': 'bytes=65000-66999'})
    equal(part.body == content[65000:67000], True, 'the part came back')
    patch = json.dumps([{'op': 'replace', 'path': '/name', 'value': 'renamed'}]).encode()
    kind = {'Content-Type': 'application/openstack-images-v2.1-json-patch'}
    equal(client.ask('PATCH', image, body=patch, headers=kind).json['name'], 'renamed', 'name')
    client.ask('DELETE', image, expect=204)
    client.ask('GET', image, expect=404)


def check_errors(client: Client) -> None:
    equal(client.ask('GET', '/v2/schemas/image').json['name'], 'image', 'schema')
    client.ask('GET', '/v2/images/none', expect=404)
    client.ask('POST', '/v2/images', expect=400, json_body={'disk_format': 'paper'})
    client.ask('PUT', '/v2/images', expect=405)
    client.ask('GET', '/v9/', expect=300)


def keep_and_fetch(url: str) -> None:
    """One client sends images, the others fetch one: SQLite refuses a second writer that has read before it writes."""
    octets = {'Content-Type': 'application/octet-stream'}
    content = PIECE * 32

    def send(client: Client, name: str) -> str:
        image = make_image(client, name)
        client.ask('PUT', f'{image}/file', expect=204, body=content, headers=octets)
        return image

    def work(number: int) -> None:
        with Client(url) as client:
            for each in range(EACH):
                image = send(client, f'disk-{each}') if number == 0 else shared
                equal(client.ask('GET', f'{image}/file').body == content, True, 'the image came back')

    with Client(url) as client:
        shared = send(client, 'shared')
        at_once(CLIENTS, work)
        equal(len(client.ask('GET', '/v2/images').json['images']), 1 + EACH, 'images')
        for image in client.ask('GET', '/v2/images').json['images']:
            client.ask('DELETE', f'/v2/images/{image["id"]}', expect=204)


SERVICE = Service(
    'glance', "OpenStack's glance over SQLite, its ini by PasteDeploy and by our loader", ('glance',), run
)
