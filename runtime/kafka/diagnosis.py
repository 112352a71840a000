"""Finds out why a broker cannot be spoken to: aiokafka closes such a connection and keeps the reason to itself."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.admin import SaslHandShakeRequest
from aiokafka.protocol.metadata import MetadataRequest

LOOK_S = 3.0
"""Patience with one broker, for each of at most three connections."""
CLOSE_S = 1.0
_HOSTNAME_MISMATCH, _ADDRESS_MISMATCH = 62, 64  # X509_V_ERR_..., as `verify_code` has them
_TLS_ALERT = 0x1503  # how an answer begins to whoever does not speak TLS: content type and version
_FAILURES = (OSError, EOFError, KafkaError)


@dataclass(frozen=True, slots=True)
class Finding:
    """Why a broker cannot be spoken to."""

    server: str
    why: str
    """The rest of a sentence that begins with the server."""
    lasting: bool = False
    """It answered, and will answer so until the configuration, its or ours, is another."""


async def look_at(host: str, port: int, security: str, arguments: Mapping[str, Any]) -> Finding:
    """Connect as a client would, and see what happens.

    Args:
        host: of the broker.
        port: of the broker.
        security: kafka.security.
        arguments: those of aiokafka's clients.
    """
    server, how = f"{host}:{port}", {name: value for name, value in arguments.items() if name != "bootstrap_servers"}
    try:
        await _ask(host, port, how)
    except SaslAuthenticationFailed as error:
        user, mechanism, told = how["sasl_plain_username"], how["sasl_mechanism"], " ".join(map(str, error.args))
        look = f"look at kafka.sasl: username, password ({told})"
        return Finding(server, f"refuses the user {user!r} or its {mechanism} password: {look}", lasting=True)
    except UnsupportedSaslMechanismError:
        offered = ", ".join(await _mechanisms(host, port, how)) or "others"
        why = f"takes no logins with {how['sasl_mechanism']}, but with {offered}: look at kafka.sasl.mechanism"
        return Finding(server, why, lasting=True)
    except IllegalSaslStateError:
        want = security.removeprefix("sasl_")
        return Finding(server, f'takes no logins there: kafka.security = "{want}", or another port', lasting=True)
    except _FAILURES as error:
        known = _certificate_trouble(error) if "ssl_context" in how else _tls_trouble(error, security)
        known = known or await _other_protocol(host, port, security, how)
        return Finding(server, known or _nothing_special(error), lasting=known is not None)
    return Finding(server, "answers now")


async def _ask(host: str, port: int, how: Mapping[str, Any], request: Any = None) -> Any:
    """What the broker answers, on a connection of its own."""
    connection = AIOKafkaConnection(host, port, client_id="diagnosis", request_timeout_ms=LOOK_S * 1000, **how)
    established = True
    try:
        async with asyncio.timeout(LOOK_S):
            await connection.connect()
            return await connection.send(request or MetadataRequest([]))
    except OSError:
        established = False
        raise
    finally:
        closed = connection.close()
        if established:  # or it would outlive the event loop of a command that ends with this
            await asyncio.wait({closed}, timeout=CLOSE_S)


async def _mechanisms(host: str, port: int, how: Mapping[str, Any]) -> list[str]:
    """What a broker that wants logins takes; nothing if it wants none, or cannot be asked."""
    context = how.get("ssl_context")
    without = {"security_protocol": "SSL" if context else "PLAINTEXT", "ssl_context": context}
    try:
        answer = await _ask(host, port, without, SaslHandShakeRequest("PLAIN"))
    except _FAILURES:
        return []
    return sorted(answer.enabled_mechanisms)


def _certificate_trouble(error: BaseException) -> str | None:
    for one in (error, error.__cause__):
        if isinstance(one, ssl.SSLCertVerificationError):
            shows = f"shows a certificate that is not to be trusted ({one.verify_message})"
            if one.verify_code in (_HOSTNAME_MISMATCH, _ADDRESS_MISMATCH):
                return f"{shows}: kafka.bootstrap_servers has to name it as its certificate does"
            return f"{shows}: look at kafka.tls.ca_file"
        if isinstance(one, ssl.SSLError) and "ALERT" in (one.reason or ""):
            told = one.reason.lower().replace("_", " ")
            return f"breaks TLS off ({told}): look at kafka.tls.cert_file, which it may want"
    return None


def _tls_trouble(error: BaseException, security: str) -> str | None:
    closed = error.__cause__
    if isinstance(closed, asyncio.IncompleteReadError) and (closed.expected or 0) >> 16 == _TLS_ALERT:
        want = security.replace("plaintext", "ssl")
        return f'speaks TLS: kafka.security = "{want}", or another port'
    return None


async def _other_protocol(host: str, port: int, security: str, how: Mapping[str, Any]) -> str | None:
    """What the broker would have understood, if it is something else."""
    if "sasl_mechanism" not in how and (offered := await _mechanisms(host, port, how)):
        want = "sasl_ssl" if "ssl_context" in how else "sasl_plaintext"
        return f'wants a login ({", ".join(offered)}): kafka.security = "{want}", and a table [kafka.sasl]'
    if "ssl_context" in how:
        try:
            # It asks for the versions first, which even a broker that wants a login answers.
            await _ask(host, port, {"security_protocol": "PLAINTEXT"}, SaslHandShakeRequest("PLAIN"))
        except _FAILURES:
            return None
        want = security.replace("ssl", "plaintext")
        return f'does not speak TLS: another port, or kafka.security = "{want}"'
    return None


def _nothing_special(error: BaseException) -> str:
    match error:
        case ConnectionRefusedError():
            return "nobody listens there"
        case TimeoutError():
            return f"no answer within {LOOK_S:g} s"
        case socket.gaierror():
            return "there is no such host"
        case KafkaConnectionError() | ConnectionError() | EOFError():
            return "it closes the connection"
        case _:
            return str(error)
