"""What ingest tells about requests: whose they were, never with what secret, and how long an account is silent."""

from __future__ import annotations

import logging
import time

import pytest

from ingest.hooks import Hooks
from ingest.webhook import Webhook
from ingest.witness import Witness
from runtime import metrics
from runtime.hook_secrets import fingerprint_of
from tests.ingest.running import until_true

pytestmark = pytest.mark.anyio

SECRET, RETIRED = "winter-7f3a-0123456", "spring-11aa-0123456"


def silence_s(account: str) -> float:
    found = metrics.REGISTRY.get_sample_value("tradewind_webhook_silence_seconds", {"account": account})
    assert found is not None
    return found


def test_the_access_log_has_the_account_and_a_fingerprint_and_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    witness = Witness(Hooks({"acme": (SECRET,)}), ["acme"], access_log=True)
    witness.answered(f"/webhooks/acme/{SECRET}", 204, 12)
    witness.unknown_url(f"/webhooks/acme/{RETIRED}")
    request, unknown = caplog.records
    told = request.__dict__
    assert request.getMessage() == "ingest.request"
    assert (told["account"], told["secret"], told["status"], told["body_bytes"]) == (
        "acme",
        fingerprint_of(SECRET),
        204,
        12,
    )
    assert (unknown.getMessage(), unknown.levelname) == ("ingest.unknown_url", "WARNING")
    assert (unknown.__dict__["account"], unknown.__dict__["secret"]) == ("acme", fingerprint_of(RETIRED))
    everything = " ".join(str(record.__dict__) for record in caplog.records)
    assert SECRET not in everything
    assert RETIRED not in everything


def unknown_urls(account: str) -> float | None:
    return metrics.REGISTRY.get_sample_value("tradewind_webhooks_unknown_url_total", {"account": account})


def test_a_lost_hook_is_told_by_its_account_however_much_somebody_scans(caplog: pytest.LogCaptureFixture) -> None:
    witness = Witness(Hooks({"lost": (SECRET,)}), ["lost"], access_log=False)
    assert unknown_urls("lost") == 0
    before = unknown_urls("")
    assert before is not None
    for path in ["/favicon.ico", "/webhooks/nobody/guess", "/wp-login.php", f"/webhooks/lost/{RETIRED}"] * 3:
        witness.unknown_url(path)
    assert (unknown_urls("lost"), unknown_urls("")) == (3, before + 9)
    assert unknown_urls("nobody") is None
    assert [(one.__dict__["account"], one.__dict__["requests"]) for one in caplog.records] == [(None, 1), ("lost", 1)]


def test_without_an_access_log_a_request_is_counted_and_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    Witness(Hooks({"acme": (SECRET,)}), [], access_log=False).answered(f"/webhooks/acme/{SECRET}", 204, 12)
    assert caplog.records == []


async def test_an_account_is_silent_since_the_start_and_then_since_its_last_webhook() -> None:
    began = time.monotonic()
    witness = Witness(Hooks({"canary": (SECRET,)}), ["canary"], access_log=False)
    await until_true(lambda: silence_s("canary") > 1)
    webhook = Webhook("canary", b"", time.monotonic(), lambda _: None)
    webhook.settle("spooled")
    witness.durable(webhook)
    silent_s = silence_s("canary")
    # However slow this was: more than a second of it was before the webhook.
    assert silent_s < time.monotonic() - began - 1
