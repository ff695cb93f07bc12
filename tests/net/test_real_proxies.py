"""HAProxy and nginx in front: what the application sees is the client, whatever way the proxy says who that is."""

from __future__ import annotations

import contextlib
import hashlib
import os
from typing import TYPE_CHECKING

import pytest

from tests.net.proxies import (
    CLIENT,
    HAPROXY,
    NGINX,
    OTHER_CLIENT,
    PROXY,
    STREAM_MODULE,
    Front,
    backend,
    exchange,
    haproxy,
    nginx,
    pem_of,
)
from tests.worker.harness import trusting

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.certificates import Certificates

with_haproxy = pytest.mark.skipif(HAPROXY is None, reason='haproxy is not installed; on Debian: apt install haproxy')
with_nginx = pytest.mark.skipif(NGINX is None, reason='nginx is not installed; on Debian: apt install nginx-light')
with_stream = pytest.mark.skipif(
    not STREAM_MODULE.exists(), reason='nginx has no stream module; on Debian: apt install libnginx-mod-stream'
)
on_both = pytest.mark.parametrize('kind', ['tcp', 'unix'])

PROXY_PROTOCOL = '--proxy-protocol', 'on'
ALL = 'proxy-v2-options ssl,cert-cn,ssl-cipher,cert-sig,cert-key,authority,crc32c,unique-id'


# --- HAProxy ------------------------------------------------------------------------------------------------------


@with_haproxy
@on_both
@pytest.mark.parametrize('mode', ['tcp', 'http'])
@pytest.mark.parametrize('options', ['send-proxy', 'send-proxy-v2', f'send-proxy-v2 {ALL}'], ids=['1', '2', '2, all'])
def test_haproxy_names_the_client(tmp_path: Path, kind: str, mode: str, options: str) -> None:
    with (
        backend(kind, tmp_path, *PROXY_PROTOCOL) as behind,
        haproxy(tmp_path, f'{{bind}}\nmode {mode}\nunique-id-format %pid-%ts', f'{behind.haproxy} {options}') as front,
    ):
        for source in (CLIENT, OTHER_CLIENT):
            with contextlib.closing(front.connect(source)) as client:
                for path in ('/1', '/2'):
                    seen = exchange(client, path)
                    assert (seen['REMOTE_ADDR'], seen['REMOTE_PORT']) == (source, str(client.sock.getsockname()[1]))
                    assert (seen['PATH_INFO'], seen['wsgi.url_scheme']) == (path, 'http')
                    assert seen['HTTP_HOST'] == f'127.0.0.1:{front.port}'
        behind.server.stdout.wait_for(rf'(?m)^{CLIENT} - - .* "GET /2 HTTP/1.1" 200')


@with_haproxy
@pytest.mark.parametrize('version', ['send-proxy', 'send-proxy-v2'])
def test_haproxy_names_a_client_of_ipv6(tmp_path: Path, version: str) -> None:
    try:
        front = Front('::1')
    except OSError:
        pytest.skip('this machine has no IPv6')
    with (
        backend('tcp', tmp_path, *PROXY_PROTOCOL) as behind,
        haproxy(tmp_path, '{bind}\nmode tcp', f'{behind.haproxy} {version}', front),
    ):
        assert front.ask(source='::1')['REMOTE_ADDR'] == '::1'


@with_haproxy
@on_both
@pytest.mark.parametrize(('options', 'scheme'), [('send-proxy-v2-ssl', 'https'), ('send-proxy-v2', 'http')])
def test_haproxy_takes_tls_off(
    tmp_path: Path, certificates: Certificates, kind: str, options: str, scheme: str
) -> None:
    pem = pem_of(certificates, tmp_path)
    with (
        backend(kind, tmp_path, *PROXY_PROTOCOL) as behind,
        haproxy(
            tmp_path, f'{{bind}} ssl crt {pem}\nmode tcp', f'{behind.haproxy} {options} proxy-v2-options crc32c'
        ) as front,
    ):
        seen = front.ask(context=trusting(certificates))
    assert (seen['REMOTE_ADDR'], seen['wsgi.url_scheme']) == (CLIENT, scheme)
    assert seen.get('HTTPS') == ('on' if scheme == 'https' else None)


@with_haproxy
@on_both
@pytest.mark.parametrize('version', ['send-proxy', 'send-proxy-v2', f'send-proxy-v2 {ALL}'], ids=['1', '2', '2, all'])
def test_haproxy_passes_tls_on(tmp_path: Path, certificates: Certificates, kind: str, version: str) -> None:
    files = '--ssl-cert-file', str(certificates.cert), '--ssl-key-file', str(certificates.key)
    with (
        backend(kind, tmp_path, *PROXY_PROTOCOL, *files) as behind,
        haproxy(tmp_path, '{bind}\nmode tcp\nunique-id-format %pid', f'{behind.haproxy} {version}') as front,
        contextlib.closing(front.connect(context=trusting(certificates))) as client,
    ):
        for path in ('/1', '/2'):
            seen = exchange(client, path)
            assert (seen['PATH_INFO'], seen['REMOTE_ADDR'], seen['HTTPS']) == (path, CLIENT, 'on')


@with_haproxy
@on_both
@pytest.mark.parametrize('options', ['send-proxy', 'send-proxy-v2'])
def test_haproxy_checks_our_health(tmp_path: Path, kind: str, options: str) -> None:
    """For itself: with LOCAL in version 2, and with its own address or none in version 1."""
    checks = 'option httpchk\nhttp-check send meth GET uri /health ver HTTP/1.1 hdr Host check'
    server = f'{{}} {options} check inter 50ms fall 1 rise 1 on-marked-down shutdown-sessions'
    with (
        backend(kind, tmp_path, *PROXY_PROTOCOL) as behind,
        haproxy(tmp_path, f'{{bind}}\nmode http\n{checks}', server.format(behind.haproxy)) as front,
    ):
        address = PROXY if kind == 'tcp' else '-'
        for _ in range(3):
            behind.server.stdout.wait_for(rf'(?m)^{address} - - .* "GET /health HTTP/1.[01]" 200')
        assert front.ask()['REMOTE_ADDR'] == CLIENT, 'a server whose checks fail gets no requests'
        assert 'refused' not in behind.server.stderr.text


@with_haproxy
@on_both
def test_haproxy_connects_to_see_whether_we_listen(tmp_path: Path, kind: str) -> None:
    """A check that says nothing, not even a preface."""
    server = '{} send-proxy check inter 50ms fall 1 rise 1'
    with backend(kind, tmp_path, *PROXY_PROTOCOL) as behind:
        with haproxy(tmp_path, '{bind}\nmode http', server.format(behind.haproxy)) as front:
            for _ in range(3):
                assert front.ask()['REMOTE_ADDR'] == CLIENT
        assert 'refused' not in behind.server.stderr.text


@with_haproxy
def test_haproxy_without_the_protocol_is_refused(tmp_path: Path) -> None:
    with (
        backend('tcp', tmp_path, *PROXY_PROTOCOL) as behind,
        haproxy(tmp_path, '{bind}\nmode http\nretries 0', behind.haproxy) as front,
        contextlib.closing(front.connect()) as client,
    ):
        client.request('GET', '/')
        assert client.getresponse().status in (502, 503)
        behind.server.stderr.wait_for(rf'refused a connection from {PROXY}: ')
        assert '"GET / ' not in behind.server.stdout.text


@with_haproxy
@on_both
def test_haproxy_forwards_for(tmp_path: Path, certificates: Certificates, kind: str) -> None:
    pem = pem_of(certificates, tmp_path)
    fields = [
        'option forwardfor',
        'http-request set-header X-Forwarded-Proto https if { ssl_fc }',
        'http-request set-header X-Forwarded-Host %[req.hdr(host)]',
        'http-request set-header X-Forwarded-Port 443',
    ]
    with (
        backend(kind, tmp_path) as behind,
        haproxy(tmp_path, '\n'.join([f'{{bind}} ssl crt {pem}', 'mode http', *fields]), behind.haproxy) as front,
        contextlib.closing(front.connect(context=trusting(certificates))) as client,
    ):
        # What the client claims to be is there, too: in a field of its own, left of HAProxy's.
        seen = exchange(client, '/', {'X-Forwarded-For': '1.1.1.1', 'Host': 'a.example:444'})
        assert seen['HTTP_X_FORWARDED_FOR'] == f'1.1.1.1, {CLIENT}'
        assert (seen['REMOTE_ADDR'], seen['REMOTE_PORT'], seen['wsgi.url_scheme']) == (CLIENT, '0', 'https')
        assert (seen['HTTP_HOST'], seen['SERVER_PORT'], seen['HTTPS']) == ('a.example', '443', 'on')
        behind.server.stdout.wait_for(rf'(?m)^{CLIENT} - - ')


# --- nginx --------------------------------------------------------------------------------------------------------

FIELDS = """
    proxy_http_version 1.1;
    proxy_set_header Connection '';
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
"""
ALL_FIELDS = f"""{FIELDS}
    proxy_set_header Forwarded '';
    proxy_set_header X-Forwarded-Host a.example;
    proxy_set_header X-Forwarded-Port 8443;
    proxy_set_header X-Forwarded-Prefix /app;
"""


def service(address: str, location: str, *, listen: str = '{address}') -> str:
    """The http context of an nginx that keeps its connections to ``address``."""
    return f"""
        upstream backend {{ server {address}; keepalive 1; }}
        server {{
            listen {listen};
            client_max_body_size 0;
            {location}
        }}
    """


@with_nginx
@on_both
def test_nginx_shares_a_connection_among_clients(tmp_path: Path, kind: str) -> None:
    location = f'location / {{ proxy_pass http://backend; {FIELDS} }}'
    with backend(kind, tmp_path) as behind, nginx(tmp_path, service(behind.nginx, location)) as front:
        with contextlib.closing(front.connect(CLIENT)) as one, contextlib.closing(front.connect(OTHER_CLIENT)) as two:
            for client, source in ((one, CLIENT), (two, OTHER_CLIENT)) * 3:
                seen = exchange(client, '/', {'X-Forwarded-For': '1.1.1.1, 10.0.0.1'})
                assert seen['REMOTE_ADDR'] == source
        behind.server.stdout.wait_for(rf'(?m)^{CLIENT} - - .*\n{OTHER_CLIENT} - - ')


@with_nginx
@on_both
def test_nginx_says_what_was_asked_for(tmp_path: Path, kind: str) -> None:
    """The slash behind the upstream's name has nginx take the prefix off."""
    location = f'location /app/ {{ proxy_pass http://backend/; {ALL_FIELDS} }}'
    with backend(kind, tmp_path) as behind, nginx(tmp_path, service(behind.nginx, location)) as front:
        seen = front.ask(
            '/app/path', {'X-Forwarded-Prefix': '/evil', 'Forwarded': 'for=1.1.1.1', 'X-Forwarded-Port': '1'}
        )
        urls = [seen[key] for key in ('wsgi.url_scheme', 'HTTP_HOST', 'SERVER_PORT', 'SCRIPT_NAME', 'PATH_INFO')]
    assert urls == ['http', 'a.example:8443', '8443', '/app', '/path']
    assert seen['REMOTE_ADDR'] == CLIENT
    assert 'HTTP_FORWARDED' not in seen


@with_nginx
def test_nginx_takes_tls_off(tmp_path: Path, certificates: Certificates) -> None:
    location = f"""
        ssl_certificate {certificates.cert};
        ssl_certificate_key {certificates.key};
        ssl_protocols TLSv1.2 TLSv1.3;
        location / {{ proxy_pass http://backend; {FIELDS} }}
    """
    with (
        backend('tcp', tmp_path) as behind,
        nginx(tmp_path, service(behind.nginx, location, listen='{address} ssl')) as front,
    ):
        seen = front.ask(context=trusting(certificates))
    assert (seen['REMOTE_ADDR'], seen['wsgi.url_scheme'], seen['HTTPS']) == (CLIENT, 'https', 'on')


@with_nginx
def test_a_field_that_nginx_lets_pass_does_not_make_another_client(tmp_path: Path) -> None:
    location = f'location / {{ proxy_pass http://backend; {FIELDS} }}'
    with backend('tcp', tmp_path) as behind, nginx(tmp_path, service(behind.nginx, location)) as front:
        for forwarded in ('for=1.1.1.1', 'for=unknown', 'for="'):
            with contextlib.closing(front.connect()) as client:
                client.request('GET', '/', headers={'Forwarded': forwarded})
                assert client.getresponse().status == 400
        assert front.ask(headers={'Forwarded': f'for={CLIENT}'})['REMOTE_ADDR'] == CLIENT


LARGE = os.urandom(1 << 20) * 8


def in_pieces() -> Iterator[bytes]:
    return (LARGE[at : at + 50_000] for at in range(0, len(LARGE), 50_000))


@with_nginx
@on_both
@pytest.mark.parametrize('buffering', ['true', 'false'], ids=['buffered', 'streamed'])
@pytest.mark.parametrize('framing', ['counted', 'chunked'])
def test_a_large_body_through_nginx_as_it_comes(tmp_path: Path, kind: str, buffering: str, framing: str) -> None:
    location = f'location / {{ proxy_pass http://backend; proxy_request_buffering off; {FIELDS} }}'
    flags = '--request-buffering', buffering, '--spool-dir', str(tmp_path)
    with (
        backend(kind, tmp_path, *flags) as behind,
        nginx(tmp_path, service(behind.nginx, location)) as front,
        contextlib.closing(front.connect()) as client,
    ):
        for _ in range(2):
            seen = exchange(client, '/', body=LARGE if framing == 'counted' else in_pieces())
            assert seen['body'] == [len(LARGE), hashlib.sha256(LARGE).hexdigest()]
            assert seen['REMOTE_ADDR'] == CLIENT


@with_nginx
@with_stream
@on_both
def test_nginx_names_the_client(tmp_path: Path, kind: str) -> None:
    with (
        backend(kind, tmp_path, *PROXY_PROTOCOL) as behind,
        nginx(
            tmp_path, stream=f'server {{ listen {{address}}; proxy_pass {behind.nginx}; proxy_protocol on; }}'
        ) as front,
        contextlib.closing(front.connect()) as client,
    ):
        for path in ('/1', '/2'):
            seen = exchange(client, path)
            assert (seen['REMOTE_ADDR'], seen['REMOTE_PORT']) == (CLIENT, str(client.sock.getsockname()[1]))


@with_nginx
@with_stream
@on_both
def test_nginx_passes_tls_on(tmp_path: Path, certificates: Certificates, kind: str) -> None:
    files = '--ssl-cert-file', str(certificates.cert), '--ssl-key-file', str(certificates.key)
    with (
        backend(kind, tmp_path, *PROXY_PROTOCOL, *files) as behind,
        nginx(
            tmp_path, stream=f'server {{ listen {{address}}; proxy_pass {behind.nginx}; proxy_protocol on; }}'
        ) as front,
    ):
        seen = front.ask(context=trusting(certificates))
    assert (seen['REMOTE_ADDR'], seen['wsgi.url_scheme']) == (CLIENT, 'https')
