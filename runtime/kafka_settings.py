"""How the brokers are spoken to: encrypted or not, and as whom. Parts of the settings, under [kafka]."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from runtime.toml_reader import Secret

Security = Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"]
"""As Kafka's `security.protocol`, in lower case."""
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaTlsSettings:
    """Whom to trust, and what to show to brokers that want a certificate; all files are PEM."""

    ca_file: Path | None = None
    """Certificates of the authorities to trust, and of no other; left out: those that this machine trusts."""
    cert_file: Path | None = None
    """Certificate to show, and those between it and its authority."""
    key_file: Path | None = None
    """Its key, where that is not in cert_file too."""
    key_password: Secret | None = None
    """What the key is encrypted with, if it is."""

    def __post_init__(self) -> None:
        if self.cert_file is None and (self.key_file or self.key_password):
            raise ValueError("key_file and key_password belong to a cert_file, and there is none")
        if self.ca_file or self.cert_file:
            self.context()

    def context(self) -> ssl.SSLContext:
        """What connections are made with: TLS 1.2 or later, the broker's certificate and name checked.

        Raises:
            ValueError: says which file is wrong, and how.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except OSError as error:
            raise ValueError(f"ca_file {self.ca_file}: {_why(error, 'no certificate in PEM is in it')}") from error
        if self.cert_file is not None:
            self._load_certificate(context, self.cert_file)
        return context

    def _load_certificate(self, context: ssl.SSLContext, cert_file: Path) -> None:
        locked = False

        def password() -> str:
            # Without this OpenSSL would ask on the terminal.
            nonlocal locked
            locked = True
            return self.key_password.reveal() if self.key_password else ""

        for file in (cert_file, self.key_file or cert_file):
            try:
                file.open("rb").close()
            except OSError as error:
                raise ValueError(f"{file} cannot be read: {error.strerror}") from error
        try:
            context.load_cert_chain(cert_file, self.key_file, password)
        except OSError as error:
            key = self.key_file or cert_file
            if locked and getattr(error, "reason", None) != "KEY_VALUES_MISMATCH":
                told = "does not open it" if self.key_password else "is missing"
                raise ValueError(f"the key in {key} is encrypted, and key_password {told}") from error
            wrong = f"{cert_file} and {key} do not hold, in PEM, a certificate and its key"
            raise ValueError(wrong) from error


def _why(error: OSError, otherwise: str) -> str:
    return otherwise if isinstance(error, ssl.SSLError) or not error.strerror else f"cannot be read: {error.strerror}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSaslSettings:
    """As whom to log in to the brokers."""

    mechanism: Mechanism
    username: str
    password: Secret

    def __post_init__(self) -> None:
        for name, value in (("username", self.username), ("password", self.password.reveal())):
            if not value or "\0" in value:
                raise ValueError(f"{name} is empty, or holds what no login can")


def check_security(security: Security, tls: KafkaTlsSettings, sasl: KafkaSaslSettings | None) -> None:
    """See that all is there that `security` needs, and nothing that it would not use.

    Raises:
        ValueError: says what to write instead.
    """
    with_tls, with_sasl = security.endswith("ssl"), security.startswith("sasl")
    meant = _spelled(tls=with_tls or tls != KafkaTlsSettings(), sasl=sasl is not None)
    if with_sasl and sasl is None:
        raise ValueError(f'security = "{security}" needs a table [kafka.sasl]: mechanism, username and password')
    if sasl is not None and not with_sasl:
        raise ValueError(f'[kafka.sasl] is not used with security = "{security}": say "{meant}"')
    if tls != KafkaTlsSettings() and not with_tls:
        raise ValueError(f'[kafka.tls] is not used with security = "{security}": say "{meant}"')


def _spelled(*, tls: bool, sasl: bool) -> Security:
    if sasl:
        return "sasl_ssl" if tls else "sasl_plaintext"
    return "ssl" if tls else "plaintext"
