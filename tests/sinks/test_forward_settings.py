"""What [sinks.forward.NAME] and [sinks.custom.NAME] may say, and what they filter."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from runtime.sink_settings import CustomSettings, SinksSettings, SubscriberSettings
from runtime.toml_reader import Secret, read_toml
from schemas.change import EntityChange
from schemas.errors import SettingsError
from tests.sinks.making import change


def secret_of(length: int) -> str:
    return f"whsec_{b64encode(bytes(length)).decode()}"


def subscriber(**more: Any) -> SubscriberSettings:
    return SubscriberSettings(**{"url": "https://crm.test/in", "secret": Secret(secret_of(32)), **more})


@pytest.mark.parametrize("length", [24, 25, 26, 32, 64])
def test_a_secret_is_the_base64_of_24_to_64_bytes(length: int) -> None:
    assert subscriber(secret=Secret(secret_of(length))).keys == (bytes(length),)


def test_two_secrets_are_two_keys() -> None:
    assert subscriber(secret=Secret(f"{secret_of(24)}\n{secret_of(32)}")).keys == (bytes(24), bytes(32))


BAD_SECRETS = [
    "",
    "   ",
    secret_of(23),
    secret_of(65),
    secret_of(32).removeprefix("whsec_"),
    secret_of(32).rstrip("="),
    secret_of(32).replace("A", "-"),
    secret_of(32).replace("A", "ä"),
    " ".join([secret_of(32)] * 3),
    f"{secret_of(32)} hush",
]


@pytest.mark.parametrize("text", BAD_SECRETS)
def test_another_secret_is_refused_without_being_told(text: str) -> None:
    with pytest.raises(ValueError, match=r"^secret (must be|holds)") as caught:
        subscriber(secret=Secret(text))
    assert "AAAA" not in str(caught.value)
    assert "hush" not in str(caught.value)


def test_a_plain_url_needs_allow_private() -> None:
    with pytest.raises(ValueError, match="allow_private = true"):
        subscriber(url="http://crm.test/in")
    assert subscriber(url="http://crm.test/in", allow_private=True).allow_private


@pytest.mark.parametrize(
    "url", ["crm.test", "ftp://crm.test", "https://", "https://user:word@crm.test/", "https://u@crm.test/"]
)
def test_another_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"^url must"):
        subscriber(url=url)


def test_types_are_spelled_as_in_changes() -> None:
    with pytest.raises(ValueError, match=r"types: .* found 'Job'"):
        subscriber(types=("job", "Job"))


WANTED: list[tuple[dict[str, Any], EntityChange, bool]] = [
    ({}, change(1), True),
    ({"accounts": ("acme", "bolt")}, change(1), True),
    ({"accounts": ("bolt",)}, change(1), False),
    ({"types": ("job",)}, change(1), True),
    ({"types": ("invoice",)}, change(1), False),
    ({"actions": ("created", "deleted")}, change(1, action="deleted"), True),
    ({"actions": ("created",)}, change(1, action="updated"), False),
    ({"accounts": ("acme",), "types": ("job",), "actions": ("updated",)}, change(1), True),
    ({"accounts": ("acme",), "types": ("invoice",), "actions": ("updated",)}, change(1), False),
]


@pytest.mark.parametrize(("filters", "one", "wanted"), WANTED)
def test_a_filter_lets_through_what_it_names_and_no_filter_everything(
    filters: dict[str, Any], one: EntityChange, wanted: bool
) -> None:
    assert subscriber(**filters).wants(one) is wanted
    assert CustomSettings(deliver="a:b", **filters).wants(one) is wanted


@pytest.mark.parametrize("deliver", ["a", "a:", ":b", "a.b", "a:b:c", "a:b()", "a b:c", "../a:b", ""])
def test_an_import_path_is_package_module_function(deliver: str) -> None:
    with pytest.raises(ValueError, match=r"package\.module:function"):
        CustomSettings(deliver=deliver)


def test_a_file_says_it_all(tmp_path: Path) -> None:
    (tmp_path / "crm").write_text(secret_of(32) + "\n")
    (tmp_path / "token").write_text("hush")
    config = tmp_path / "sinks.toml"
    config.write_text("""
        [forward.crm]
        url = "https://crm.test/in"
        secret = { file = "crm" }
        types = ["job", "invoice"]
        actions = ["created"]
        ca_file = "ca.pem"
        [custom.invoices]
        deliver = "examples.custom_sink:deliver"
        options = { url = "https://billing.test" }
        secrets = { token = { file = "token" } }
    """)
    found = read_toml(config, SinksSettings)
    assert found.forward["crm"].ca_file == tmp_path / "ca.pem"
    assert found.forward["crm"].actions == ("created",)
    assert found.custom["invoices"].options == {"url": "https://billing.test"}
    assert found.custom["invoices"].secrets["token"].reveal() == "hush"
    assert "hush" not in repr(found)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [('actions = ["create"]', "actions: must be one of 'created', 'updated', 'deleted'"), ("to = 1", "unknown key")],
)
def test_a_wrong_key_is_told_with_its_line(tmp_path: Path, wrong: str, reason: str) -> None:
    config = tmp_path / "sinks.toml"
    config.write_text(f'[custom.mine]\ndeliver = "a:b"\n{wrong}\n')
    with pytest.raises(SettingsError, match=f"sinks.toml:3: custom.mine.*{reason}"):
        read_toml(config, SinksSettings)
