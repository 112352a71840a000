"""Webhooks of one account, ours and others', for the tests of the plan and of URLs."""

from __future__ import annotations

from servicetrade.hook_events import Events, all_types, events_about
from servicetrade.hook_url import read_base
from servicetrade.subscription_plan import Hook, Owner, Wanted

NEW, OLD, RETIRED = "newest-0123456789", "older-0123456789", "retired-0123456789"
BASE = "https://hooks.example.com/st"
OWNER = Owner(base=read_base(BASE), account="acme", secrets=(OLD, NEW))
WANTED = Wanted(owner=OWNER)
TYPES = all_types({})
JOBS = events_about(["job"], TYPES)

FOREIGN = (
    "",
    "not a url",
    "https://[::1",
    "https://hooks.example.com:0x1/st/webhooks/acme/secret",
    "ftp://hooks.example.com/st/webhooks/acme/secret",
    f"http://hooks.example.com/st/webhooks/acme/{NEW}",
    f"http://hooks.example.com:443/st/webhooks/acme/{NEW}",
    f"https://hooks.example.com:8443/st/webhooks/acme/{NEW}",
    f"https://hooks.example.com.evil.example/st/webhooks/acme/{NEW}",
    f"https://hooks.example.com@evil.example/st/webhooks/acme/{NEW}",
    f"https://hooks.example.com/webhooks/acme/{NEW}",
    f"https://hooks.example.com/ST/webhooks/acme/{NEW}",
    f"https://hooks.example.com/st/webhooks/bolt/{NEW}",
    f"https://hooks.example.com/st/webhooks/acme2/{NEW}",
    "https://hooks.example.com/st/webhooks/acme",
    "https://hooks.example.com/st/webhooks/acme/",
    f"https://hooks.example.com/st/webhooks/acme/{NEW}/more",
)
"""URLs that lead elsewhere than to acme's webhooks."""


def hook(id_: int, secret: str = NEW, *, url: str | None = None, enabled: bool = True, events: Events = None) -> Hook:
    url = OWNER.base.url("acme", secret) if url is None else url
    return Hook(id=id_, url=url, enabled=enabled, include_changesets=True, events=events)
