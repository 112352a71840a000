"""Certificates are held against the subscriber's name although the request goes to an address."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from runtime.sink_settings import SubscriberSettings
from runtime.toml_reader import Secret
from schemas.errors import RetryLater
from sinks.forward_http import open_sender
from tests.sinks.subscriber import Subscriber, subscriber

pytestmark = pytest.mark.anyio

NAME = "hooks.subscriber.test"
SECRET = Secret("whsec_" + "A" * 32)

_ONLY_SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


class Authority:
    """A certificate authority of the test's own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
        made = (
            self._begun(self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_ONLY_SIGNS_CERTIFICATES, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
        )
        self.file = folder / "ca.pem"
        self.file.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def server(self, *names: x509.GeneralName) -> ssl.SSLContext:
        """How a server listens that has a certificate for these names."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        made = self._begun(subject, key).add_extension(x509.SubjectAlternativeName(names), critical=False)
        made = made.add_extension(issuer, critical=False)
        file = self._folder / "server.pem"
        encoding, private = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        file.write_bytes(
            key.private_bytes(encoding, private, serialization.NoEncryption())
            + made.sign(self._key, hashes.SHA256()).public_bytes(encoding)
        )
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(file)
        return context

    def _begun(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        return builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def named(authority: Authority) -> AsyncIterator[Subscriber]:
    async with subscriber(authority.server(x509.DNSName(NAME))) as found:
        yield found


async def send(host: str, port: int, *, addresses: Sequence[str] = ("127.0.0.1",), **more: Any) -> int:
    """The status of one answer."""
    settings = SubscriberSettings(url=f"https://{host}:{port}/", secret=SECRET, allow_private=True, **more)

    async def resolve(_host: str, _port: int) -> Sequence[str]:
        return addresses

    async with open_sender("crm", settings, resolve=resolve) as sender:
        return (await sender.post(b"{}", dict)).status


async def test_a_certificate_for_the_name_is_trusted_if_its_authority_is(
    named: Subscriber, authority: Authority
) -> None:
    assert await send(NAME, named.port, ca_file=authority.file) == 204
    assert named.requests[0].headers["host"] == f"{NAME}:{named.port}"


async def test_a_certificate_for_another_name_is_not(named: Subscriber, authority: Authority) -> None:
    with pytest.raises(RetryLater, match=r"no connection: 127\.0\.0\.1: .*certificate is not valid for") as caught:
        await send("other.subscriber.test", named.port, ca_file=authority.file)
    assert caught.value.scope == "sink"
    assert named.requests == []


async def test_a_certificate_of_an_unknown_authority_is_not(named: Subscriber) -> None:
    with pytest.raises(RetryLater, match="certificate verify failed"):
        await send(NAME, named.port)
    assert named.requests == []


async def test_a_certificate_for_the_address_is_none_for_the_name(authority: Authority) -> None:
    async with subscriber(authority.server(x509.IPAddress(ip_address("127.0.0.1")))) as found:
        with pytest.raises(RetryLater, match="certificate is not valid for"):
            await send(NAME, found.port, ca_file=authority.file)
        assert await send("127.0.0.1", found.port, ca_file=authority.file) == 204


async def test_an_address_that_does_not_answer_leaves_the_next_one_its_turn(
    named: Subscriber, authority: Authority
) -> None:
    dead = "127.0.0.2"  # nobody listens on that address's port
    assert await send(NAME, named.port, addresses=(dead, "127.0.0.1"), ca_file=authority.file) == 204


async def test_a_server_that_does_not_speak_tls_is_the_sinks_trouble() -> None:
    async with subscriber() as plain:
        with pytest.raises(RetryLater) as caught:
            await send(NAME, plain.port, timeout_s=1.0)
    assert caught.value.scope == "sink"
