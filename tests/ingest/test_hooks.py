"""Which URLs are valid, asked of the pure part."""

from __future__ import annotations

import pytest

from ingest.hooks import Hooks

HOOKS = Hooks({"acme": ("one", "two"), "bolt": ("three",)})


@pytest.mark.parametrize("path", ["/webhooks/acme/one", "/webhooks/acme/two", "/webhooks/acme/one/"])
def test_each_live_secret_opens_the_account_with_or_without_a_trailing_slash(path: str) -> None:
    assert HOOKS.account_of(path) == "acme"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/webhooks",
        "/webhooks/acme",
        "/webhooks/acme/",
        "/webhooks//one",
        "/webhooks/acme//one",
        "//webhooks/acme/one",
        "/webhooks/acme/three",
        "/webhooks/bolt/one",
        "/webhooks/nobody/one",
        "/webhooks/nobody/",
        "/webhooks/ACME/one",
        "/webhooks/acme/ONE",
        "/webhooks/acme/one ",
        "/webhooks/acme/one/more",
        "/WEBHOOKS/acme/one",
        "webhooks/acme/one",
    ],
)
def test_any_other_path_belongs_to_nobody(path: str) -> None:
    assert HOOKS.account_of(path) is None


def test_the_secrets_are_kept_as_hashes_only() -> None:
    kept = repr({name: getattr(HOOKS, name) for name in vars(HOOKS)})
    assert not any(secret in kept for secret in ("one", "two", "three"))
