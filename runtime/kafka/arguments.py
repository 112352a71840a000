"""What every Kafka client is given: where the brokers are, and how to speak to them."""

from __future__ import annotations

from typing import Any

from runtime.settings import KafkaSettings
from schemas.errors import SettingsError


def client_arguments(settings: KafkaSettings) -> dict[str, Any]:
    """The arguments of aiokafka's clients; they hold the password, so they are for no log.

    Raises:
        SettingsError: a file of [kafka.tls] cannot be used any more.
    """
    arguments: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap_servers,
        "security_protocol": settings.security.upper(),
    }
    if encrypted(settings):
        try:
            arguments["ssl_context"] = settings.tls.context()
        except ValueError as error:
            raise SettingsError(f"kafka.tls: {error}") from error
    if settings.sasl is not None:
        arguments |= {
            "sasl_mechanism": settings.sasl.mechanism,
            "sasl_plain_username": settings.sasl.username,
            "sasl_plain_password": settings.sasl.password.reveal(),
        }
    return arguments


def encrypted(settings: KafkaSettings) -> bool:
    """Whether connections are TLS."""
    return settings.security in ("ssl", "sasl_ssl")
