"""`tradewind subscribe`, `subscriptions` and `unsubscribe` against the simulator, as an operator uses them."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from cli.subscription import subscription_app
from runtime.hook_secrets import fingerprint_of
from runtime.settings import StoreSettings
from schemas.errors import PermissionDenied, SettingsError
from tests.servicetrade.site import HOOK_SECRET, Site
from tests.servicetrade.subscribing import (
    ECHOES,
    FOREIGN,
    JOBS,
    MASKED,
    NEWER,
    PUBLIC,
    RETIRED,
    expect_no_secret,
    hooks,
    public_site,
    url_with,
    write,
)
from tests.simulator.support import Simulator

pytestmark = pytest.mark.anyio

Run = Callable[..., Awaitable[tuple[int, str]]]


@pytest.fixture
def site(simulator: Simulator, sqlite_settings: StoreSettings, tmp_path: Path) -> Site:
    return public_site(simulator, sqlite_settings, tmp_path)


@pytest.fixture
async def run(site: Site, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Run]:
    """Run `tradewind ...`; returns the exit code and what it printed, in which there is never a secret."""
    printed = []

    def in_a_thread(*arguments: str) -> int:
        code = subscription_app([*arguments, "--config", str(site.config)], result_action="return_value")
        assert isinstance(code, int)
        return code

    async def runner(*arguments: str) -> tuple[int, str]:
        code = await asyncio.to_thread(in_a_thread, *arguments)
        captured = capsys.readouterr()
        printed.append(captured.out + captured.err)
        return code, printed[-1]

    yield runner
    expect_no_secret("".join(printed))


async def test_subscribing_makes_one_webhook_and_the_second_time_nothing(simulator: Simulator, run: Run) -> None:
    code, printed = await run("subscribe", "acme")
    assert (code, printed) == (0, f"acme: created a webhook: {MASKED}, everything, with changesets\n")
    made = (await hooks(simulator))[url_with(HOOK_SECRET)]
    assert (made["enabled"], made["includeChangesets"], made["entityEvents"]) == (True, True, None)
    code, printed = await run("subscribe", "acme")
    assert code == 0
    assert printed.startswith(f"acme: nothing to do: webhook {made['id']} is as it should be: {MASKED}, everything")
    assert (await simulator.counters())["requests"]["POST webhook"] == 1
    assert await hooks(simulator, "bolt") == {}


async def test_what_drifted_is_put_right_and_only_that_is_named(simulator: Simulator, run: Run) -> None:
    await simulator.subscribe(url_with(HOOK_SECRET), enabled=False, entityEvents=JOBS)
    _, printed = await run("subscribe", "acme", "--types", "job, Appointment", "--no-changesets")
    assert "changed enabled, includeChangesets, entityEvents of webhook" in printed
    assert printed.endswith(f"{MASKED}, job, appointment, without changesets\n")
    made = (await hooks(simulator))[url_with(HOOK_SECRET)]
    assert (made["enabled"], made["includeChangesets"]) == (True, False)
    assert {one["entityType"] for one in made["entityEvents"]} == {3, 16}
    _, printed = await run("subscribe", "acme", "--types", "appointment,job", "--no-changesets")
    assert "nothing to do" in printed


async def test_a_rotation_ends_with_the_newest_secret_alone(site: Site, simulator: Simulator, run: Run) -> None:
    await run("subscribe", "acme")
    await simulator.subscribe(url_with(RETIRED))
    await simulator.subscribe(FOREIGN)
    await simulator.subscribe(url_with(HOOK_SECRET, "bolt"))
    site.write_secret("hook", f"{HOOK_SECRET}\n{NEWER}\n")
    code, printed = await run("subscriptions", "acme")
    assert code == 1
    assert "old secret" in printed
    assert "retired secret" in printed
    code, printed = await run("subscribe", "acme")
    steps = [re.sub(r"\d{10,}", "ID", line) for line in printed.splitlines()]
    assert code == 0
    retire = f"`tradewind secret retire acme {fingerprint_of(HOOK_SECRET)}`"
    assert f"created a webhook: {PUBLIC}/webhooks/acme/sha256:{fingerprint_of(NEWER)}" in steps[0]
    assert steps[1:] == [
        "acme: deleted webhook ID (old secret)",
        "acme: deleted webhook ID (retired secret)",
        f"acme: what is under way still comes with the old secret: wait some minutes before {retire}",
    ]
    assert set(await hooks(simulator)) == {url_with(NEWER), FOREIGN, url_with(HOOK_SECRET, "bolt")}
    assert (await run("subscribe", "acme"))[1].startswith("acme: nothing to do")


async def test_a_dry_run_says_it_all_and_changes_nothing(site: Site, simulator: Simulator, run: Run) -> None:
    await simulator.subscribe(url_with(HOOK_SECRET), enabled=False)
    before = await hooks(simulator)
    assert "would change enabled of webhook" in (await run("subscribe", "acme", "--dry-run"))[1]
    assert "would delete webhook" in (await run("unsubscribe", "acme", "--dry-run"))[1]
    site.write_secret("hook", f"{HOOK_SECRET} {NEWER}")
    _, printed = await run("subscribe", "acme", "--dry-run")
    assert "would create a webhook" in printed
    assert "(old secret)" in printed
    assert await hooks(simulator) == before
    assert {key.split()[0] for key in (await simulator.counters())["requests"] if "webhook" in key} == {"GET", "POST"}


async def test_unsubscribing_deletes_ours_and_leaves_the_others(simulator: Simulator, run: Run) -> None:
    for url in (url_with(HOOK_SECRET), url_with(RETIRED), FOREIGN):
        await simulator.subscribe(url)
    code, printed = await run("unsubscribe", "acme")
    assert (code, printed.count("deleted webhook")) == (0, 2)
    assert set(await hooks(simulator)) == {FOREIGN}
    assert await run("unsubscribe", "acme") == (
        0,
        f"acme: nothing to do: no webhook leads to {PUBLIC}/webhooks/acme/…\n",
    )


async def test_the_base_can_be_given_with_the_command(simulator: Simulator, run: Run) -> None:
    assert (await run("subscribe", "acme", "--url", "http://127.0.0.1:8080/"))[0] == 0
    assert set(await hooks(simulator)) == {f"http://127.0.0.1:8080/webhooks/acme/{HOOK_SECRET}"}
    assert (await run("subscriptions", "acme"))[0] == 1
    assert (await run("subscriptions", "acme", "--url", "http://127.0.0.1:8080"))[0] == 0
    assert "deleted" in (await run("unsubscribe", "acme", "--url", "http://127.0.0.1:8080"))[1]


async def test_every_webhook_is_shown_in_a_line_with_its_verdict(simulator: Simulator, run: Run) -> None:
    await simulator.subscribe(url_with(HOOK_SECRET), enabled=False)
    await simulator.subscribe(url_with(HOOK_SECRET), entityEvents=[*JOBS, {"entityType": 77, "actions": ["deleted"]}])
    await simulator.subscribe(FOREIGN, includeChangesets=False)
    await simulator.subscribe(url_with(HOOK_SECRET, "bolt"), account="bolt", enabled=False)
    code, printed = await run("subscriptions")
    rows = [re.split(r"\s{2,}|(?<=\d) (?=\w)", line.strip()) for line in printed.splitlines()]
    assert code == 1
    bolts = MASKED.replace("acme", "bolt")
    assert [[cell for number, cell in enumerate(row) if number != 1] for row in rows] == [
        ["account", "verdict", "enabled", "changesets", "types", "URL"],
        ["acme", "duplicate", "no", "yes", "everything", MASKED],
        ["acme", "ok", "yes", "yes", "job, code 77 (deleted)", MASKED],
        ["acme", "not ours", "yes", "no", "everything", "https://other.example.com/…"],
        ["bolt", "disabled", "no", "yes", "everything", bolts],
    ]
    assert (await run("subscriptions", "acme"))[0] == 0


async def test_an_account_without_a_webhook_is_shown_and_fails(run: Run) -> None:
    code, printed = await run("subscriptions", "acme")
    assert code == 1
    assert printed.splitlines()[1].split()[:3] == ["acme", "-", "none"]


async def test_without_a_public_url_webhooks_are_shown_but_not_judged(
    site: Site, simulator: Simulator, run: Run
) -> None:
    site.config.write_text(site.config.read_text().replace("public_url", "#public_url"))
    await simulator.subscribe(url_with(HOOK_SECRET))
    code, printed = await run("subscriptions", "acme")
    assert code == 1
    assert "cannot be told: ingest.public_url is not set" in printed
    assert "https://hooks.example.com/…" in printed
    for command in ("subscribe", "unsubscribe"):
        with pytest.raises(SettingsError, match=r"ingest\.public_url.*--url"):
            await run(command, "acme")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("subscribe", "zebra"), "zebra: no such account; configured: acme, bolt"),
        (("subscriptions", "acme", "zebra"), "zebra: no such account"),
        (("unsubscribe", "zebra"), "zebra: no such account"),
        (("subscribe", "acme", "--url", f"http://hooks.example.com/{RETIRED}"), r"^--url: must begin with https://"),
        (("subscribe", "acme", "--types", "job,invoice"), r"^--types: .*\[servicetrade\.types\.invoice\] code ="),
        (("subscribe", "acme", "--types", "asset"), r"^--types: .*sends no webhooks"),
        (("subscribe", "acme", "--types", " ,"), r"^--types: names at least one type"),
    ],
)
async def test_what_cannot_be_is_refused_before_anything_is_asked(
    simulator: Simulator, run: Run, arguments: tuple[str, ...], why: str
) -> None:
    with pytest.raises(SettingsError, match=why) as caught:
        await run(*arguments)
    expect_no_secret(str(caught.value))
    assert (await simulator.counters())["requests"] == {}


async def test_a_user_without_the_permission_is_told_which_one_is_missing(
    site: Site, simulator: Simulator, run: Run
) -> None:
    body = {"name": "dash", "username": "dash-api", "password": "secret-d", "admin": False}
    await simulator.control("accounts", body)
    site.write_secret("dash", "secret-d")
    write(site, '[accounts.dash]\nusername = "dash-api"\npassword = { file = "dash" }\nhook_secret = { file = "hook" }')
    for command in ("subscribe", "unsubscribe"):
        with pytest.raises(PermissionDenied, match=r"account dash: .* dash-api needs the permission admin\.account"):
            await run(command, "dash")
    assert (await run("subscriptions", "dash"))[1].startswith("dash: cannot be told: HTTP 403: ")
    await run("subscribe", "acme")
    code, printed = await run("subscriptions", "dash", "acme")
    assert code == 1
    assert "dash: cannot be told: " in printed
    assert MASKED in printed


async def test_the_command_line_shows_no_secret_even_when_it_fails(site: Site, simulator: Simulator) -> None:
    async def command(*arguments: str) -> tuple[int | None, str]:
        whole = (sys.executable, "-W", "error", "-m", "cli.main", *arguments, "--config", str(site.config))
        process = await asyncio.create_subprocess_exec(*whole, stdout=PIPE, stderr=PIPE)
        out, err = await process.communicate()
        return process.returncode, (out + err).decode()

    body = json.dumps({"messages": {"error": list(ECHOES)}})
    await simulator.fault(on="resource", method="POST", path="webhook", status=400, body=body)
    await simulator.subscribe(url_with(HOOK_SECRET, "bolt"), account="bolt")
    (code, failed), (code_of_list, listed) = await asyncio.gather(
        command("subscribe", "acme"), command("subscriptions", "bolt")
    )
    sentence = "tradewind: HTTP 400: account acme: ServiceTrade did not make the webhook; hookUrl … is not reachable"
    assert failed.startswith(sentence)
    assert "Traceback" not in failed
    assert MASKED.replace("acme", "bolt") in listed
    assert (code, code_of_list) == (1, 0)
    expect_no_secret(failed + listed)
