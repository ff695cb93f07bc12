"""Throw-away certificates, made once a run; a conftest imports the fixture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trustme

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any


class Certificates:
    """``options`` are those of a server with TLS; ``client`` is a certificate that its authority has issued too."""

    def __init__(self, folder: Path) -> None:
        self.authority = authority = trustme.CA()
        self.folder = folder
        self.cert, self.key, self.ca = folder / 'cert.pem', folder / 'key.pem', folder / 'ca.pem'
        issued = authority.issue_cert('localhost', '127.0.0.1', '::1')
        issued.cert_chain_pems[0].write_to_path(self.cert)
        issued.private_key_pem.write_to_path(self.key)
        authority.cert_pem.write_to_path(self.ca)
        self.client = folder / 'client.pem'
        authority.issue_cert('client').private_key_and_cert_chain_pem.write_to_path(self.client)
        self.options = {'ssl_cert_file': str(self.cert), 'ssl_key_file': str(self.key)}

    def issue(self, file: str, *names: str, **details: Any) -> tuple[Path, Path]:
        """Another certificate for ``names``, and its key, in files of that name; ``details`` are of trustme."""
        issued = self.authority.issue_cert(*names, **details)
        cert, key = self.folder / f'{file}.pem', self.folder / f'{file}.key'
        issued.cert_chain_pems[0].write_to_path(cert)
        issued.private_key_pem.write_to_path(key)
        return cert, key


@pytest.fixture(scope='session')
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp('certificates'))
