"""One embedded broker with secured listeners beside its plaintext one, users, and certificates of a CA of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from runtime.broker import running_broker
from runtime.broker_config import HOST, free_port

KEY_PASSWORD = "opens-the-key"
PASSWORDS = {name: f"password-of-{name}" for name in ("admin", "ingest", "processors", "sinks", "tools", "nobody")}
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecuredBroker:
    """A broker's listeners, as host:port, and where the certificates for them are."""

    plaintext: str
    """Whoever comes here may do everything."""
    ssl: str
    """Asks for a client's certificate."""
    sasl_plaintext: str
    sasl_ssl: str
    folder: Path

    def file(self, name: str) -> Path:
        """One of ca.pem, other_ca.pem, client.pem, client_key.pem, client_key_locked.pem."""
        return self.folder / name


class Authority:
    """A certificate authority that nobody else knows."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.KeyUsage(
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
        self.certificate = (
            self._begun(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, name: str, key: ec.EllipticCurvePrivateKey) -> bytes:
        """A certificate for the name localhost, for both sides of a connection, in PEM."""
        usage = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        issued = (
            self._begun(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return issued.public_bytes(serialization.Encoding.PEM)

    def _begun(self, name: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime.now(UTC) - _DAY)
            .not_valid_after(datetime.now(UTC) + _DAY)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(issuer, critical=False)
        )


def key_pem(key: ec.EllipticCurvePrivateKey, password: str = "") -> bytes:
    """A private key in PEM, locked if there is a password."""
    lock = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)


def write_certificates(folder: Path) -> None:
    """Write what `SecuredBroker.file` names, and broker.pem with the broker's key and certificate."""
    authority, broker, client = Authority("own"), *(ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    contents = {
        "ca.pem": authority.pem(),
        "other_ca.pem": Authority("other").pem(),
        "broker.pem": key_pem(broker) + authority.issue("broker", broker) + authority.pem(),
        "client.pem": authority.issue("client", client),
        "client_key.pem": key_pem(client),
        "client_key_locked.pem": key_pem(client, KEY_PASSWORD),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)


@contextmanager
def secured_broker(folder: Path) -> Iterator[SecuredBroker]:
    """A broker on which nobody but the plaintext listener's clients may do anything that no ACL allows."""
    write_certificates(folder)
    ports: dict[str, int] = {}
    for name in ("BROKER", "CONTROLLER", "SSL", "SASL_PLAINTEXT", "SASL_SSL"):
        ports[name] = free_port(ports.values())
    scram = [f"SCRAM-SHA-512=[name={name},password={password}]" for name, password in PASSWORDS.items()]
    with running_broker(
        folder / "kafka",
        port=ports["BROKER"],
        controller_port=ports["CONTROLLER"],
        properties=_properties(folder, ports),
        format_arguments=[part for user in scram for part in ("--add-scram", user)],
    ):
        at = {name: f"localhost:{port}" for name, port in ports.items()}
        yield SecuredBroker(
            plaintext=at["BROKER"],
            ssl=at["SSL"],
            sasl_plaintext=at["SASL_PLAINTEXT"],
            sasl_ssl=at["SASL_SSL"],
            folder=folder,
        )


def _properties(folder: Path, ports: Mapping[str, int]) -> dict[str, object]:
    listeners = {name: f"{name}://{HOST}:{port}" for name, port in ports.items()}
    protocols = {name: "PLAINTEXT" if name in ("BROKER", "CONTROLLER") else name for name in ports}
    plain = " ".join(f'user_{name}="{password}"' for name, password in PASSWORDS.items())
    return {
        "listeners": ",".join(listeners.values()),
        "advertised.listeners": ",".join(
            f"{name}://localhost:{port}" for name, port in ports.items() if name != "CONTROLLER"
        ),
        "listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name, protocol in protocols.items()),
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": folder / "broker.pem",
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": folder / "ca.pem",
        "listener.name.ssl.ssl.client.auth": "required",
        "connection.failed.authentication.delay.ms": 0,
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS;User:CN=client;User:admin",
        **{
            f"listener.name.{name}.{mechanism}.sasl.jaas.config": f"{module} required {users};"
            for name in ("sasl_plaintext", "sasl_ssl")
            for mechanism, module, users in (
                ("plain", "org.apache.kafka.common.security.plain.PlainLoginModule", plain),
                ("scram-sha-512", "org.apache.kafka.common.security.scram.ScramLoginModule", ""),
            )
        },
    }
