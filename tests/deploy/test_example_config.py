"""Holds both configuration files to the settings: every key is named, with its default, and the files load."""

from __future__ import annotations

import re
import tomllib
import types
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from runtime.settings import Settings, read_settings
from runtime.toml_reader import Secret
from tests.runtime.secured_broker import Authority, key_pem

ROOT = Path(__file__).parents[2]
EXAMPLE = (ROOT / "tradewind.example.toml").read_text("utf-8")
# A commented-out key, or table, stands directly behind the #; prose has a space there.
WHOLE_EXAMPLE = re.sub(r"^#(?=\w+ = |\[)", "", EXAMPLE, flags=re.MULTILINE)
ACCOUNT = "main"
NAMES = {"accounts": ACCOUNT, "types": "invoice", "forward": "billing", "custom": "crm"}
"""What the example calls the one table that it shows of tables by name."""
NO_DEFAULT = object()


def keys_of(cls: type[Any], at: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every key below a settings class as (path, default as TOML spells it)."""
    hints = get_type_hints(cls)
    for item in fields(cls):
        path, hint = (*at, item.name), hints[item.name]
        if get_origin(hint) in (Union, types.UnionType):
            (hint,) = (arg for arg in get_args(hint) if arg is not type(None))
        if is_dataclass(hint):
            yield from keys_of(hint, path)  # type: ignore[arg-type]
        elif get_args(hint) and is_dataclass(get_args(hint)[-1]):  # a table per name
            yield from keys_of(get_args(hint)[-1], (*path, NAMES[item.name]))
        else:
            yield path, _default(item)


def _default(item: Field[Any]) -> Any:
    if item.default is not MISSING:
        return list(item.default) if isinstance(item.default, tuple) else item.default
    return NO_DEFAULT if item.default_factory is MISSING else item.default_factory()


KEYS = dict(keys_of(Settings))


def leaves(table: dict[str, Any], at: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every key of parsed TOML as (path, value); the reference to a secret and an inline table are one value."""
    for name, value in table.items():
        if isinstance(value, dict) and (*at, name) not in KEYS:
            yield from leaves(value, (*at, name))
        else:
            yield (*at, name), value


def write_with_secrets(text: str, folder: Path) -> Path:
    """The configuration in a folder of its own, and a file for each secret and certificate that it names."""
    for name in re.findall(r'\{ file = "(.+?)" \}', text):
        secret = folder / name
        secret.parent.mkdir(parents=True, exist_ok=True)
        whsec = "whsec_" + b64encode(bytes(32)).decode()
        secret.write_text(whsec if secret.name.endswith("_whsec") else f"content-of-{secret.name}\n", "utf-8")
    key = ec.generate_private_key(ec.SECP256R1())
    for name in re.findall(r'^\w+_file = "(.+?\.pem)"', text, flags=re.MULTILINE):
        (folder / name).write_bytes(key_pem(key) + Authority("own").issue("client", key))
    path = folder / "tradewind.toml"
    path.write_text(text, "utf-8")
    return path


def test_the_example_names_every_key_and_no_other() -> None:
    assert {path for path, _ in leaves(tomllib.loads(WHOLE_EXAMPLE))} == set(KEYS)


def test_the_example_shows_the_true_defaults() -> None:
    shown = dict(leaves(tomllib.loads(WHOLE_EXAMPLE)))
    # Where nothing is the default, the example shows what somebody may write there.
    defaults = {path: default for path, default in KEYS.items() if default not in (NO_DEFAULT, None, {})}
    assert {path: Path(shown[path]) if isinstance(KEYS[path], Path) else shown[path] for path in defaults} == defaults


def test_the_example_leaves_commented_exactly_what_may_be_left_out() -> None:
    active = {path for path, _ in leaves(tomllib.loads(EXAMPLE))}
    optional = ("sasl", "forward", "custom")  # tables that need keys, but need not be there
    needed = {path for path, default in KEYS.items() if default is NO_DEFAULT and not set(path) & set(optional)}
    assert active == needed


@pytest.mark.parametrize("text", [EXAMPLE, WHOLE_EXAMPLE], ids=["as shipped", "every key"])
def test_the_example_loads(text: str, tmp_path: Path) -> None:
    # The default does not go with every other key of [kafka].
    text = re.sub(r'^security = "plaintext"', 'security = "sasl_ssl"', text, flags=re.MULTILINE)
    settings = read_settings(write_with_secrets(text, tmp_path))
    assert settings.accounts[ACCOUNT].hook_secret == Secret("content-of-main_hook_secret")
    assert settings.store.key == Secret("content-of-store_key")
    assert settings.broker.data_dir in {Path(".tradewind/kafka"), tmp_path / ".tradewind/kafka"}


def test_the_configuration_of_the_containers_loads_with_secrets_from_files(tmp_path: Path) -> None:
    text = (ROOT / "deploy" / "tradewind.toml").read_text("utf-8")
    assert "/run/secrets/" in text
    settings = read_settings(write_with_secrets(text.replace("/run/secrets/", "run/secrets/"), tmp_path))
    assert settings.kafka.bootstrap_servers == "kafka:9092"
    assert settings.store.url.startswith("postgresql+asyncpg://")
    assert settings.store.password == Secret("content-of-store_password")
    assert settings.ingest.host == "0.0.0.0"
