"""Certificates on disk change, and HUP: who is shown which, and whose sessions go on, in all workers."""

from __future__ import annotations

import datetime
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.master.site import Load, hang_up, molds, reload, workers

if TYPE_CHECKING:
    from pathlib import Path

    from tests.certificates import Certificates
    from tests.master.site import Site
    from tests.serving import Server

REQUEST = b'GET /pid HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'


class Disk:
    """The certificate and key that the server is told of: ``first`` is there, ``second`` may come."""

    def __init__(self, folder: Path, certificates: Certificates) -> None:
        self.cert, self.key = folder / 'live.pem', folder / 'live.key'
        self.first = certificates.issue('first', 'localhost', '127.0.0.1')
        self.second = certificates.issue('second', 'localhost', '127.0.0.1')
        self.flags = ('--ssl-cert-file', str(self.cert), '--ssl-key-file', str(self.key))
        self.put(*self.first)

    def put(self, cert: Path, key: Path) -> None:
        shutil.copy(cert, self.cert)
        shutil.copy(key, self.key)


@pytest.fixture
def disk(site: Site, certificates: Certificates) -> Disk:
    return Disk(site.folder, certificates)


class Visitor:
    """A client that comes again and again, with the session of the last time or ``anew``.

    ``session_reused`` and ``pid`` are of its last visit; ``certificate`` is what it was shown the last time it was.
    """

    def __init__(self, server: Server, certificates: Certificates, version: ssl.TLSVersion) -> None:
        self._server = server
        self._context = ssl.create_default_context(cafile=str(certificates.ca))
        self._context.minimum_version = self._context.maximum_version = version
        self._session: ssl.SSLSession | None = None
        self.session_reused = False
        self.pid = 0
        self.certificate = ''

    def come(self) -> None:
        with (
            socket.create_connection(('127.0.0.1', self._server.port), 10) as sock,
            self._context.wrap_socket(sock, server_hostname='localhost', session=self._session) as client,
        ):
            client.sendall(REQUEST)
            with client.makefile('rb') as answer:
                self.pid = int(answer.read().rpartition(b'\r\n')[2])
            self._session = client.session
            self.session_reused = bool(client.session_reused)
            if not self.session_reused:
                self.certificate = ssl.DER_cert_to_PEM_cert(client.getpeercert(True) or b'')

    def come_anew(self) -> None:
        self._session = None
        self.come()
        assert not self.session_reused

    def come_to_all(self, pids: list[int]) -> None:
        """Come until each of these workers has been met; they resume the session, all of them."""
        missing = set(pids)
        while missing:
            self.come()
            assert self.session_reused
            missing.discard(self.pid)


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda version: version.name)
def version(request: pytest.FixtureRequest) -> ssl.TLSVersion:
    found: ssl.TLSVersion = request.param
    return found


def test_sessions_go_on_while_certificates_change(
    site: Site, disk: Disk, certificates: Certificates, version: ssl.TLSVersion
) -> None:
    with site.serve(*disk.flags) as server:
        visitor = Visitor(server, certificates, version)
        visitor.come()
        assert visitor.certificate == disk.first[0].read_text()
        visitor.come_to_all(workers(server))
        for cert, key in (disk.second, disk.first, disk.second):
            disk.put(cert, key)
            reload(server)
            visitor.come_to_all(workers(server)[-2:])
            newcomer = Visitor(server, certificates, version)
            newcomer.come()
            assert newcomer.certificate == cert.read_text()
            newcomer.come_to_all(workers(server)[-2:])


def swap_keys(disk: Disk) -> None:
    disk.put(disk.second[0], disk.first[1])


def empty(disk: Disk) -> None:
    disk.cert.write_bytes(b'')


def remove(disk: Disk) -> None:
    disk.key.unlink()


UNUSABLE = {
    'a key of another certificate': (swap_keys, 'ssl_cert_file, ssl_key_file: .*: key values mismatch'),
    'an empty certificate': (empty, 'there is no PEM certificate in .*live.pem'),
    'no key': (remove, 'ssl_key_file: .*live.key: No such file or directory'),
}


@pytest.mark.parametrize(('spoil', 'complaint'), UNUSABLE.values(), ids=UNUSABLE)
def test_certificates_that_cannot_be_used_change_nothing(
    spoil: object, complaint: str, site: Site, disk: Disk, certificates: Certificates
) -> None:
    with site.serve(*disk.flags) as server:
        before = workers(server)
        visitor = Visitor(server, certificates, ssl.TLSVersion.TLSv1_3)
        visitor.come()
        assert callable(spoil)
        spoil(disk)
        hang_up(server)
        server.stderr.wait_for(f'not reloaded: .*{complaint}')
        visitor.come_to_all(before)
        visitor.come_anew()
        assert visitor.certificate == disk.first[0].read_text()
        assert workers(server) == before
        disk.put(*disk.second)
        reload(server)
        visitor.come_to_all(workers(server)[-2:])


def test_an_application_that_cannot_be_loaded_leaves_the_certificates_as_they_were(
    site: Site, disk: Disk, certificates: Certificates
) -> None:
    """To those, too, who start after that, and though the files aren't there any more."""
    with site.serve(*disk.flags) as server:
        visitor = Visitor(server, certificates, ssl.TLSVersion.TLSv1_3)
        visitor.come()
        site.write('raise ValueError("broken")\n')
        disk.put(*disk.second)
        hang_up(server)
        server.stderr.wait_for('generation 2 is given up')
        (lost, _), asleep = workers(server), molds(server)
        os.kill(lost, signal.SIGKILL)
        server.stderr.wait_for(r'worker main/1/\d .* is ready')
        pids = workers(server)
        assert lost not in pids
        visitor.come_to_all(pids)
        visitor.come_anew()
        assert visitor.certificate == disk.first[0].read_text()
        site.change(version='two')
        for mold in asleep:
            os.kill(mold, signal.SIGKILL)
        server.stderr.wait_for(r'generation \d+: loaded, 2 workers')
        visitor.come_to_all(workers(server)[-2:])
        visitor.come_anew()
        assert visitor.certificate == disk.first[0].read_text(), 'what replaces a mold serves what that one did'
        reload(server)
        visitor.come_anew()
        assert visitor.certificate == disk.second[0].read_text()


def test_a_session_ends_with_the_authority_that_it_was_begun_under(
    site: Site, disk: Disk, certificates: Certificates
) -> None:
    authorities = site.folder / 'authorities.pem'
    shutil.copy(certificates.ca, authorities)
    with site.serve(*disk.flags, '--ssl-ca-file', str(authorities)) as server:
        visitor = Visitor(server, certificates, ssl.TLSVersion.TLSv1_3)
        visitor._context.load_cert_chain(certificates.client)
        visitor.come()
        reload(server)
        visitor.come_to_all(workers(server)[-2:])
        authorities.write_bytes(certificates.ca.read_bytes() * 2)
        reload(server)
        visitor.come()
        assert not visitor.session_reused
        visitor.come_to_all(workers(server)[-2:])


# --- by programs of others ----------------------------------------------------------------------------------------

needs_openssl = pytest.mark.skipif(shutil.which('openssl') is None, reason='openssl is not installed')


def s_client(server: Server, *arguments: str) -> str:
    command = ['openssl', 's_client', '-connect', f'127.0.0.1:{server.port}', '-ign_eof', *arguments]
    done = subprocess.run(command, input=REQUEST, capture_output=True, timeout=30, check=False)
    output = done.stdout.decode('latin-1')
    assert 'HTTP/1.1 200 OK' in output, output + done.stderr.decode()
    return output


@needs_openssl
@pytest.mark.parametrize('option', ['-tls1_2', '-tls1_3'])
@pytest.mark.parametrize('shows', [True, False], ids=['with a certificate', 'without'])
def test_openssl_resumes_ten_of_ten(
    shows: bool, option: str, site: Site, disk: Disk, certificates: Certificates
) -> None:
    mine = ['-cert', str(certificates.client), '-key', str(certificates.client)] if shows else []
    flags = ('--ssl-ca-file', str(certificates.ca)) if shows else ()
    session = str(site.folder / 'session')
    with site.serve(*disk.flags, *flags, workers=3) as server:
        outputs = [s_client(server, option, *mine, '-sess_out', session)]
        for _ in range(10):
            outputs.append(s_client(server, option, *mine, '-sess_in', session, '-sess_out', session))
    assert [re.findall(r'^(New|Reused), ', output, re.MULTILINE)[0] for output in outputs] == ['New', *['Reused'] * 10]


@needs_openssl
def test_openssl_reconnects(site: Site, disk: Disk) -> None:
    """Which it does five times, with TLS 1.2; one session is all that it has."""
    with site.serve(*disk.flags, workers=3) as server:
        found = [
            re.findall(r'^(New|Reused), ', s_client(server, '-tls1_2', '-reconnect'), re.MULTILINE) for _ in range(2)
        ]
    assert found == [['New', *['Reused'] * 5]] * 2


def test_nobody_is_lost_while_certificates_change(site: Site, disk: Disk, certificates: Certificates) -> None:
    context = ssl.create_default_context(cafile=str(certificates.ca))
    with site.serve(*disk.flags) as server, Load(server, context) as load:
        for cert, key in (disk.second, disk.first):
            disk.put(cert, key)
            reload(server)
            load.wait_for_more(20)
    assert load.failures == []


def ordinary_certificate(certificates: Certificates, folder: Path) -> tuple[Path, Path]:
    """One such as a public authority issues: for 90 days, and with the extensions that belong there."""
    authority = serialization.load_pem_private_key(certificates.authority.private_key_pem.bytes(), None)
    issuer = x509.load_pem_x509_certificate(certificates.ca.read_bytes())
    assert isinstance(authority, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    today = datetime.datetime.now(datetime.UTC)
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, 'localhost')]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=89))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName('localhost')]), False)
        .add_extension(x509.BasicConstraints(False, None), True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), False)
        .sign(authority, hashes.SHA256())
    )
    cert, key_file = folder / 'ordinary.pem', folder / 'ordinary.key'
    pem = serialization.Encoding.PEM
    cert.write_bytes(certificate.public_bytes(pem))
    key_file.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return cert, key_file


@pytest.mark.skipif(find_spec('sslyze') is None, reason='sslyze is not installed; it is on PyPI')
def test_sslyze_has_nothing_to_complain_of(site: Site, disk: Disk, certificates: Certificates) -> None:
    disk.put(*ordinary_certificate(certificates, site.folder))
    report = site.folder / 'report.json'
    arguments = ['--mozilla_config', 'intermediate', '--certinfo_ca_file', str(certificates.ca)]
    arguments += ['--resum', '--early_data', '--json_out', str(report)]
    with site.serve(*disk.flags) as server:
        command = [sys.executable, '-m', 'sslyze', *arguments, f'localhost:{server.port}']
        done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
        assert (done.returncode, server.stderr.text.count('ERROR')) == (0, 0), done.stdout
    assert f'localhost:{server.port}: OK - Compliant.' in done.stdout
    (scanned,) = json.loads(report.read_text())['server_scan_results']
    scans = {name: scan for name, scan in scanned['scan_result'].items() if scan['status'] != 'NOT_SCHEDULED'}
    assert {scan['status'] for scan in scans.values()} == {'COMPLETED'}
    assert scans['session_resumption']['result']['tls_ticket_resumption_result'] == 'FULLY_SUPPORTED'
    assert not scans['tls_1_3_early_data']['result']['supports_early_data']
    assert not scans['session_renegotiation']['result']['is_vulnerable_to_client_renegotiation_dos']
