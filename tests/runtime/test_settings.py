"""The configuration: what is wrong in it is named by file, line and key, and secrets stay secret."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runtime.settings import Settings, read_settings
from runtime.toml_reader import Secret
from schemas.errors import SettingsError
from tests.runtime.secured_broker import KEY_PASSWORD, write_certificates

GOOD = """\
[kafka]
bootstrap_servers = "127.0.0.1:9092"

[store]
url = "sqlite+aiosqlite:///data.db"
key = { file = "key" }

[accounts.acme]
username = "api"
password = { env = "PATH" }
hook_secret = { file = "hook" }
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "key").write_text("key-8e21\n")
    (tmp_path / "hook").write_text("winter-7f3a-0123456\n summer-91bc-0123456\n")
    path = tmp_path / "tradewind.toml"
    path.write_text(GOOD)
    return path


def refusal(path: Path, old: str, new: str) -> str:
    assert old in GOOD
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(SettingsError) as caught:
        read_settings(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_complete_file_is_read_and_secrets_are_fetched_from_where_it_says(config: Path) -> None:
    settings = read_settings(config)
    account = settings.accounts["acme"]
    assert settings.store.key.reveal() == "key-8e21"
    assert account.password.reveal() == os.environ["PATH"].strip()
    assert account.hook_secret.reveal().split() == ["winter-7f3a-0123456", "summer-91bc-0123456"]
    assert settings.ingest.port == 8080


def test_no_secret_shows_when_the_settings_are_printed(config: Path) -> None:
    settings = read_settings(config)
    shown = f"{settings!r} {settings} {settings.store.key!s} {[settings.store.key]} {account_of(settings)!r}"
    assert "***" in shown
    assert not [
        secret
        for secret in ("key-8e21", os.environ["PATH"], "winter-7f3a-0123456", "summer-91bc-0123456")
        if secret in shown
    ]


def account_of(settings: Settings) -> object:
    return settings.accounts["acme"]


def test_paths_are_relative_to_the_file(config: Path) -> None:
    config.write_text(GOOD + '\n[broker]\ndata_dir = "kafka"\n')
    assert read_settings(config).broker.data_dir == config.parent / "kafka"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("username", "usernam", "tradewind.toml:9: accounts.acme.usernam: unknown key; did you mean username?"),
        ("[store]", "[stroe]", "tradewind.toml:4: stroe: unknown key; did you mean store?"),
        ("[kafka]\n", "[kafka]\ncolour = 1\n", "tradewind.toml:2: kafka.colour: unknown key; known here: bootstrap"),
        ('username = "api"\n', "", "tradewind.toml:8: accounts.acme.username: missing key"),
        ("[kafka]", "[kafka]\nretention_days = true", ":2: kafka.retention_days: expected an integer, found True"),
        ('"api"', "7", ":9: accounts.acme.username: expected a string, found 7"),
        ('{ file = "key" }', '"key-8e21"', ":6: store.key: a secret is named as { file"),
        ('{ file = "key" }', '{ file = "key", env = "X" }', ":6: store.key: a secret is named as { file"),
        ('file = "hook"', 'file = "nothing"', ":11: accounts.acme.hook_secret: secret file"),
        (
            'env = "PATH"',
            'env = "NOT_SET_AT_ALL"',
            ":10: accounts.acme.password: environment variable NOT_SET",
        ),
        ("[store]", "[ingest]\nport = '80'\n[store]", ":5: ingest.port: expected an integer, found '80'"),
        ("[store]", "[ingest]\nack_timeout_s = 0\n[store]", ":4: ingest: ack_timeout_s must be above 0, found 0"),
        ("[store]", "[ingest]\nack_timeout_s = nan\n[store]", "ack_timeout_s"),
        ("[store]", "[ingest]\nbody_limit_bytes = 99999999\n[store]", "body_limit_bytes is at most 4194304"),
        ("[store]", "[log]\nlevel = 'loud'\n[store]", ":5: log.level: must be one of 'debug', 'info'"),
        ("[store]", "[pipeline]\nmax_ceiling_s = 900\n[store]", "pipeline: max_ceiling_s must be below memory_s"),
        ("[store]", "[pipeline]\nhorizon_s = inf\n[store]", "horizon_s"),
        ("[store]", "[pipeline]\nhorizon_s = nan\n[store]", "horizon_s"),
        ("[store]", "[pipeline]\nhorizon_s = 5000000\n[store]", "retention_days must be at least twice"),
        ("[accounts.acme]", '[accounts."Acme Inc"]', "accounts.Acme Inc: a name is made of"),
        ("[accounts.acme]", "[accounts]\n[other]", "unknown key"),
        ("[store]", "[ingest]\nack_timeout_s = 5\n[store]", "ack_timeout_s is at most 4.9: ServiceTrade hangs up"),
        ("[store]", "[store", "tradewind.toml: not valid TOML: Expected ']'"),
        ("[store]", "[sinks]\nmirror = 3\n[store]", ":5: sinks.mirror: expected a table, found 3"),
    ],
)
def test_what_is_wrong_is_named_by_file_line_and_key(config: Path, old: str, new: str, told: str) -> None:
    message = refusal(config, old, new)
    assert message.startswith(str(config))
    assert told in message


SASL = '[kafka.sasl]\nmechanism = "PLAIN"\nusername = "us"\npassword = { file = "key" }\n'
TLS = '[kafka.tls]\nca_file = "ca.pem"\n'
SHOWN = TLS + 'cert_file = "client.pem"\n'
LOCKED = SHOWN + 'key_file = "client_key_locked.pem"\n'
OPENED = LOCKED + 'key_password = { file = "key_password" }\n'


def secured(config: Path, security: str, tables: str) -> Path:
    """The configuration with this [kafka]; certificates and keys are beside it."""
    write_certificates(config.parent)
    (config.parent / "key_password").write_text(KEY_PASSWORD)
    (config.parent / "empty").write_text("")
    key = f'security = "{security}"\n' if security else ""
    config.write_text(GOOD.replace("[store]", key + tables + "[store]"))
    return config


@pytest.mark.parametrize(
    ("security", "tables", "told"),
    [
        ("SSL", "", ":4: kafka.security: must be one of 'plaintext', 'ssl', 'sasl_plaintext', 'sasl_ssl'"),
        (
            "sasl_ssl",
            "",
            ':1: kafka: security = "sasl_ssl" needs a table [kafka.sasl]: mechanism, username and password',
        ),
        ("", SASL, ':1: kafka: [kafka.sasl] is not used with security = "plaintext": say "sasl_plaintext"'),
        ("", TLS, ':1: kafka: [kafka.tls] is not used with security = "plaintext": say "ssl"'),
        ("", SASL + TLS, '[kafka.sasl] is not used with security = "plaintext": say "sasl_ssl"'),
        ("ssl", SASL, '[kafka.sasl] is not used with security = "ssl": say "sasl_ssl"'),
        ("sasl_plaintext", SASL + TLS, '[kafka.tls] is not used with security = "sasl_plaintext": say "sasl_ssl"'),
        ("sasl_ssl", SASL.replace("PLAIN", "GSSAPI"), "kafka.sasl.mechanism: must be one of 'PLAIN', 'SCRAM-SHA-256'"),
        ("sasl_ssl", SASL.replace('"us"', '""'), ":5: kafka.sasl: username is empty, or holds what no login can"),
        ("sasl_ssl", SASL.replace('"key"', '"empty"'), ":5: kafka.sasl: password is empty"),
        ("sasl_ssl", SASL.replace("username", "user"), ":7: kafka.sasl.user: unknown key; did you mean username?"),
        ("ssl", TLS.replace("ca.pem", "no.pem"), "no.pem: cannot be read: No such file"),
        ("ssl", TLS.replace("ca.pem", "key"), "key: no certificate in PEM is in it"),
        ("ssl", '[kafka.tls]\nkey_file = "key"\n', "kafka.tls: key_file and key_password belong to a cert_file"),
        ("ssl", SHOWN.replace("client", "absent"), "absent.pem cannot be read: No such file"),
        ("ssl", SHOWN, "do not hold, in PEM, a certificate and its key"),
        ("ssl", SHOWN + 'key_file = "absent.pem"\n', "absent.pem cannot be read: No such file"),
        ("ssl", SHOWN + 'key_file = "broker.pem"\n', "do not hold, in PEM, a certificate and its key"),
        ("ssl", OPENED.replace("client_key_locked", "broker"), "do not hold, in PEM, a certificate and its key"),
        ("ssl", LOCKED, "client_key_locked.pem is encrypted, and key_password is missing"),
        ("ssl", OPENED.replace('"key_password"', '"key"'), "is encrypted, and key_password does not open it"),
    ],
)
def test_what_is_wrong_with_how_kafka_is_spoken_to_is_a_sentence(
    config: Path, security: str, tables: str, told: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings(secured(config, security, tables))
    assert told in str(caught.value)
    assert str(caught.value).startswith(str(config))
    assert "\n" not in str(caught.value)
    assert KEY_PASSWORD not in str(caught.value)


@pytest.mark.parametrize(
    ("security", "tables"),
    [
        ("plaintext", ""),
        ("plaintext", "[kafka.tls]\n"),
        ("ssl", ""),
        ("ssl", TLS),
        ("ssl", OPENED),
        ("ssl", SHOWN.replace("client", "broker")),
        ("sasl_plaintext", SASL),
        ("sasl_ssl", SASL + TLS),
        ("sasl_ssl", SASL.replace("PLAIN", "SCRAM-SHA-512")),
    ],
)
def test_every_way_to_speak_to_kafka_can_be_configured_and_no_password_shows(
    config: Path, security: str, tables: str
) -> None:
    settings = read_settings(secured(config, security, tables))
    assert settings.kafka.security == security
    assert not [secret for secret in ("key-8e21", KEY_PASSWORD) if secret in repr(settings)]


@pytest.mark.parametrize("host", ["::", "::1", "[::]", "", "127.0.0.1:8080", "http://127.0.0.1", "a..b", "x" * 64])
def test_ingest_listens_on_an_ipv4_address_or_a_name_of_one(config: Path, host: str) -> None:
    message = refusal(config, "[store]", f'[ingest]\nhost = "{host}"\n[store]')
    assert ":4: ingest: host is an IPv4 address, or a name of one, to listen on" in message
    for usable in ("0.0.0.0", "localhost"):
        config.write_text(GOOD + f'[ingest]\nhost = "{usable}"\n')
        assert read_settings(config).ingest.host == usable


@pytest.mark.parametrize("secrets", ["", "one two three"])
def test_a_hook_secret_is_one_or_two_during_a_rotation(config: Path, secrets: str) -> None:
    (config.parent / "hook").write_text(secrets)
    message = refusal(config, "", "")
    assert ":8: accounts.acme: hook_secret holds one secret, or two during a rotation" in message


@pytest.mark.parametrize(
    "secret", ["short", "with/a/slash/0123456789", "with?a=query0123456789", "with%20percent012345"]
)
def test_a_hook_secret_that_could_not_be_matched_in_a_url_is_refused(config: Path, secret: str) -> None:
    (config.parent / "hook").write_text(f"winter-7f3a-0123456 {secret}")
    message = refusal(config, "", "")
    assert "hook_secret is a part of a URL: at least 16 of A-Z" in message
    assert secret not in message


def test_a_secret_written_into_the_file_is_refused_without_repeating_it(config: Path) -> None:
    assert "hunter2" not in refusal(config, '{ file = "hook" }', '"hunter2"')


@pytest.mark.parametrize("name", ["tradewind.toml", "key"])
def test_a_file_that_is_not_utf_8_is_a_sentence_and_not_a_traceback(config: Path, name: str) -> None:
    (config.parent / name).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match=name):
        read_settings(config)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"absent\.toml: cannot be read: No such file"):
        read_settings(tmp_path / "absent.toml")


def test_secrets_compare_by_value() -> None:
    assert Secret("a") == Secret("a")
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
    assert Secret("a") != "a"


def test_the_whole_configuration_is_a_frozen_value(config: Path) -> None:
    settings: Settings = read_settings(config)
    with pytest.raises(AttributeError):
        settings.kafka = settings.kafka  # type: ignore[misc]
