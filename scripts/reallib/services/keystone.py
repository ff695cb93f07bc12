"""OpenStack's keystone: its own WSGI application over SQLite, with fernet tokens, set up by keystone-manage."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from reallib.client import Client, at_once, equal
from reallib.trial import BIND, Service

if TYPE_CHECKING:
    from pathlib import Path

    from reallib.trial import Trial

CONFIGURATION = """\
[database]
connection = sqlite:///{folder}/keystone.db

[fernet_tokens]
key_repository = {folder}/fernet-keys

[fernet_receipts]
key_repository = {folder}/fernet-keys

[credential]
key_repository = {folder}/credential-keys

[identity]
# The least that is allowed: what is tried is the server, not the hash.
password_hash_rounds = 4
"""

PASSWORD = 'correct horse'
CLIENTS = 4
EACH = 5


def run(trial: Trial) -> None:
    with trial.step('it is set up: keystone-manage db_sync, fernet_setup, credential_setup, bootstrap'):
        environment = configure(trial.folder)
        set_up(trial)
    argv = ('keystone.wsgi.api:application', '--workers', '2', *BIND)
    with trial.serving('its WSGI application', *argv, env=environment) as server:
        with Client(f'{server.url}/v3') as client:
            with trial.step('a password is worth a token, a wrong one is not'):
                client.headers['X-Auth-Token'] = authenticate(client)
                client.ask('POST', '/auth/tokens', expect=401, json_body=credentials('admin', 'wrong'))
            with trial.step('tokens are validated, by GET and HEAD'):
                validate(client)
            with trial.step('projects, users and roles are made, listed, changed and deleted'):
                make_user(client)
            with trial.step('a token that was revoked is worth nothing'):
                revoke(client)
        with trial.step(f'{CLIENTS} clients at once authenticate {EACH} times each'):
            authenticate_many(f'{server.url}/v3')


def configure(folder: Path) -> dict[str, str]:
    (folder / 'keystone.conf').write_text(CONFIGURATION.format(folder=folder))
    return {'OS_KEYSTONE_CONFIG_DIR': str(folder)}


def set_up(trial: Trial) -> None:
    manage = ('keystone-manage', '--config-file', 'keystone.conf')
    trial.command(*manage, 'db_sync')
    # Without a user and a group it leaves the keys to whoever runs it, with a warning.
    owner = ('--keystone-user', str(os.getuid()), '--keystone-group', str(os.getgid())) if os.getuid() == 0 else ()
    trial.command(*manage, 'fernet_setup', *owner)
    trial.command(*manage, 'credential_setup', *owner)
    trial.command(*manage, 'bootstrap', '--bootstrap-password', PASSWORD)


def credentials(name: str, password: str = PASSWORD) -> dict[str, Any]:
    domain = {'id': 'default'}
    identity = {'methods': ['password'], 'password': {'user': {'name': name, 'domain': domain, 'password': password}}}
    return {'auth': {'identity': identity, 'scope': {'project': {'name': 'admin', 'domain': domain}}}}


def authenticate(client: Client) -> str:
    reply = client.ask('POST', '/auth/tokens', expect=201, json_body=credentials('admin'))
    equal(reply.json['token']['user']['name'], 'admin', 'user of the token')
    token: str = reply.headers['X-Subject-Token']
    return token


def validate(client: Client) -> None:
    subject = {'X-Subject-Token': client.headers['X-Auth-Token']}
    by_get = client.ask('GET', '/auth/tokens', headers=subject)
    equal(by_get.json['token']['project']['name'], 'admin', 'project of the token')
    by_head = client.ask('HEAD', '/auth/tokens', headers=subject)
    equal(by_head.body, b'', 'body of a response to HEAD')
    client.ask('GET', '/auth/tokens', expect=404, headers={'X-Subject-Token': 'nonsense'})


def make_user(client: Client) -> None:
    equal([row['name'] for row in client.ask('GET', '/projects').json['projects']], ['admin'], 'projects at first')
    body: dict[str, Any] = {'project': {'name': 'höhe', 'domain_id': 'default'}}
    project = client.ask('POST', '/projects', expect=201, json_body=body).json['project']['id']
    equal(len(client.ask('GET', '/projects?name=h%C3%B6he').json['projects']), 1, 'projects by a name in UTF-8')
    body = {'user': {'name': 'alice', 'domain_id': 'default', 'password': PASSWORD, 'default_project_id': project}}
    user = client.ask('POST', '/users', expect=201, json_body=body).json['user']['id']
    client.ask('POST', '/users', expect=409, json_body=body)
    role = client.ask('GET', '/roles?name=member').json['roles'][0]['id']
    client.ask('PUT', f'/projects/{project}/users/{user}/roles/{role}', expect=204)
    assignments = client.ask('GET', f'/role_assignments?user.id={user}').json['role_assignments']
    equal([row['role']['id'] for row in assignments], [role], 'roles of the user')
    body = {'user': {'description': 'x' * 100_000}}
    changed = client.ask('PATCH', f'/users/{user}', json_body=body).json['user']
    equal(len(changed['description']), 100_000, 'length of the description')
    client.ask('DELETE', f'/users/{user}', expect=204)
    client.ask('GET', f'/users/{user}', expect=404)


def revoke(client: Client) -> None:
    subject = {'X-Subject-Token': authenticate(client)}
    client.ask('DELETE', '/auth/tokens', expect=204, headers=subject)
    client.ask('GET', '/auth/tokens', expect=404, headers=subject)


def authenticate_many(url: str) -> None:
    def work(number: int) -> None:
        with Client(url) as client:
            for _ in range(EACH):
                token = authenticate(client)
                projects = client.ask('GET', '/auth/projects', headers={'X-Auth-Token': token}).json['projects']
                equal([row['name'] for row in projects], ['admin'], 'projects of the token')

    at_once(CLIENTS, work)


SERVICE = Service('keystone', "OpenStack's keystone over SQLite, by module:callable", ('keystone',), run)
