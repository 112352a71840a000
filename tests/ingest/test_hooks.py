"""Which URLs are valid, asked of the pure part."""

from __future__ import annotations

import pytest

from ingest.hooks import Hooks
from runtime.hook_secrets import fingerprint_of

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


def test_replaced_secrets_count_all_at_once_and_the_old_ones_no_more() -> None:
    hooks = Hooks({"acme": ("one", "two"), "bolt": ("three",)})
    hooks.replace({"acme": ("two", "four"), "cord": ("five",)})
    opened = {path: hooks.account_of(f"/webhooks/{path}") for path in ("acme/two", "acme/four", "cord/five")}
    assert opened == {"acme/two": "acme", "acme/four": "acme", "cord/five": "cord"}
    assert not any(hooks.account_of(f"/webhooks/{path}") for path in ("acme/one", "bolt/three"))
    kept = repr(vars(hooks))
    assert not any(secret in kept for secret in ("one", "two", "three", "four", "five"))


def test_secrets_that_cannot_be_taken_leave_the_old_ones_in_force() -> None:
    hooks = Hooks({"acme": ("one",)})
    with pytest.raises(UnicodeEncodeError):
        hooks.replace({"bolt": ("two",), "acme": ("\udcff",)})
    assert hooks.account_of("/webhooks/acme/one") == "acme"
    assert hooks.account_of("/webhooks/bolt/two") is None


@pytest.mark.parametrize(
    ("path", "account", "secret"),
    [
        ("/webhooks/acme/guess", "acme", "guess"),
        ("/webhooks/acme/guess/", "acme", "guess"),
        ("/webhooks/acme/one", "acme", "one"),
        ("/webhooks/ACME/one", None, "one"),
        ("/webhooks/nobody/guess", None, "guess"),
        ("/webhooks//guess", None, "guess"),
        ("/webhooks/acme/\udcff", "acme", "\udcff"),
    ],
)
def test_of_a_wrong_url_the_known_account_and_the_fingerprint_may_be_told(
    path: str, account: str | None, secret: str
) -> None:
    assert HOOKS.suspect_of(path) == (account, fingerprint_of(secret))


@pytest.mark.parametrize("path", ["", "/", "/robots.txt", "/webhooks", "/webhooks/acme/", "/webhooks/acme/one/more"])
def test_a_path_of_another_shape_is_no_suspect(path: str) -> None:
    assert HOOKS.suspect_of(path) is None
