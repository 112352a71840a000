"""Which URLs are ours, which base they may have, and what is shown of others'."""

from __future__ import annotations

from dataclasses import replace

import pytest

from servicetrade.hook_url import read_base, without_path
from servicetrade.subscription_plan import Verdict, judged, plan, removal
from tests.servicetrade.hook_examples import FOREIGN, NEW, OLD, OWNER, WANTED, hook


@pytest.mark.parametrize(
    "url",
    [
        f"https://hooks.example.com/st/webhooks/acme/{NEW}",
        f"HTTPS://Hooks.EXAMPLE.com:443/st/webhooks/acme/{NEW}/",
        f"https://hooks.example.com/st/webhooks/acme/{NEW}?source=x#y",
        f"https://somebody@hooks.example.com/st/webhooks/acme/{NEW.replace('-', '%2D')}",
    ],
)
def test_a_url_that_leads_to_the_receiver_and_account_is_ours_however_it_is_written(url: str) -> None:
    assert OWNER.base.secret_in(url, "acme") == NEW
    assert plan([hook(1, url=url)], WANTED).actions == ()


@pytest.mark.parametrize("url", FOREIGN)
def test_a_url_that_leads_elsewhere_is_not_ours_and_never_touched(url: str) -> None:
    foreign = hook(1, url=url, enabled=False)
    assert judged([foreign], OWNER) == [(foreign, Verdict.NOT_OURS)]
    assert plan([foreign, hook(2)], WANTED).actions == ()
    assert removal([foreign], OWNER) == ()


@pytest.mark.parametrize("text", ["https://HOOKS.example.com:443/st//", "https://hooks.example.com/st?#"])
def test_the_same_base_written_otherwise_finds_the_same_webhooks(text: str) -> None:
    owner = replace(OWNER, base=read_base(text))
    assert judged([hook(1)], owner) == [(hook(1), Verdict.OK)]
    assert not owner.url.removesuffix(f"/st/webhooks/acme/{NEW}").endswith("/")


@pytest.mark.parametrize(
    "text", ["http://localhost:8080", "http://127.0.0.1", "http://[::1]:80/x", "http://a.localhost"]
)
def test_a_base_on_loopback_does_without_tls(text: str) -> None:
    assert read_base(text).url("acme", NEW) == f"{text}/webhooks/acme/{NEW}"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "must be like"),
        ("hooks.example.com", "must be like"),
        ("ftp://hooks.example.com", "must be like"),
        ("https://", "must be like"),
        ("https://[::1", "must be like"),
        ("https://hooks.example.com:0", "must be like"),
        ("https://hooks.example.com:99999", "must be like"),
        ("https://hooks.example.com /st", "must be like"),
        ("https://bücher.example", "xn--"),
        ("https://me@hooks.example.com", "no user"),
        ("https://hooks.example.com?a=b", "no query"),
        ("https://hooks.example.com/#a", "no fragment"),
        ("http://hooks.example.com", "must begin with https://"),
        ("http://10.0.0.1", "must begin with https://"),
    ],
)
def test_a_base_that_servicetrade_cannot_be_told_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_base(text)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"https://me:{OLD}@Other.example.com:8443/{NEW}?x", "https://Other.example.com:8443/…"),
        ("http://[::1]:80/secret", "http://[::1]:80/…"),
        ("https://evil\x1b[31m.example/secret", "…"),
        ("mailto:secret@example.com", "…"),
        ("https://[::1", "…"),
        ("", "…"),
    ],
)
def test_of_others_urls_only_scheme_and_host_are_shown(url: str, shown: str) -> None:
    assert without_path(url) == shown
