"""Which addresses of a subscriber's host are used."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from schemas.errors import RetryLater
from sinks.forward_host import Host, resolve_name

pytestmark = pytest.mark.anyio


class Resolver:
    """Answers in turn, the last answer for ever."""

    def __init__(self, *answers: Sequence[str] | OSError) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        await asyncio.sleep(0)
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(found, OSError):
            raise found
        return found


def host(resolver: Resolver, *, allow_private: bool = False) -> Host:
    return Host(
        "crm.test", 443, allow_private=allow_private, setting="sinks.forward.crm.allow_private", resolve=resolver
    )


async def refusal(of: Host) -> RetryLater:
    with pytest.raises(RetryLater) as caught:
        await of.addresses()
    assert (caught.value.scope, caught.value.lasting) == ("sink", False)
    return caught.value


async def test_public_addresses_are_used_in_the_resolvers_order() -> None:
    resolver = Resolver(["8.8.8.8", "2606:4700:4700::1111"])
    assert await host(resolver).addresses() == ("8.8.8.8", "2606:4700:4700::1111")
    assert resolver.asked == [("crm.test", 443)]


async def test_of_several_addresses_only_the_public_ones_are_used() -> None:
    assert await host(Resolver(["10.0.0.1", "8.8.8.8", "::1"])).addresses() == ("8.8.8.8",)


async def test_a_refusal_names_the_host_the_addresses_and_the_setting() -> None:
    error = await refusal(host(Resolver(["169.254.169.254", "::ffff:10.0.0.1"])))
    assert str(error) == (
        "crm.test is refused: 169.254.169.254 is a cloud's metadata, ::ffff:10.0.0.1 is IPv4-mapped; "
        "sinks.forward.crm.allow_private = true would allow it"
    )


async def test_private_addresses_are_used_where_they_are_allowed() -> None:
    assert await host(Resolver(["10.0.0.1", "fe80::1"]), allow_private=True).addresses() == ("10.0.0.1", "fe80::1")


async def test_a_name_that_turns_private_after_it_was_checked_is_refused_then() -> None:
    found = host(Resolver(["8.8.8.8"], ["127.0.0.1"]))
    assert await found.addresses() == ("8.8.8.8",)
    found.forget()
    await refusal(found)


async def test_a_name_that_was_refused_is_asked_for_again() -> None:
    found = host(Resolver(["127.0.0.1"], ["8.8.8.8"]))
    await refusal(found)
    assert await found.addresses() == ("8.8.8.8",)


async def test_many_at_once_and_soon_after_ask_once() -> None:
    resolver = Resolver(["8.8.8.8"])
    found = host(resolver)
    await asyncio.gather(*(found.addresses() for _ in range(20)))
    await found.addresses()
    assert len(resolver.asked) == 1


async def test_the_address_that_worked_comes_first_for_as_long_as_it_is_there() -> None:
    found = host(Resolver(["8.8.8.8", "8.8.4.4"], ["8.8.8.8"]))
    await found.addresses()
    found.worked("8.8.4.4")
    assert await found.addresses() == ("8.8.4.4", "8.8.8.8")
    found.forget()
    assert await found.addresses() == ("8.8.8.8",)


@pytest.mark.parametrize("answer", [OSError("Name or service not known"), []])
async def test_a_name_without_an_address_is_tried_again_later(answer: Sequence[str] | OSError) -> None:
    assert str(await refusal(host(Resolver(answer)))).startswith("crm.test ")


async def test_the_operating_system_resolves_names_and_takes_addresses_as_they_are() -> None:
    assert await resolve_name("127.0.0.1", 443) == ["127.0.0.1"]
    assert await resolve_name("::1", 443) == ["::1"]
    assert set(await resolve_name("localhost", 443)) <= {"127.0.0.1", "::1"}


@pytest.mark.parametrize("disguise", ["2130706433", "0x7f.1", "127.1", "0177.0.0.1"])
async def test_a_disguised_loopback_address_is_refused(disguise: str) -> None:
    found = Host(disguise, 443, allow_private=False, setting="allow_private")
    assert "127.0.0.1 is loopback" in str(await refusal(found))


async def test_a_name_that_no_resolver_takes_is_tried_again_later() -> None:
    found = Host("a" * 64 + ".test", 443, allow_private=False, setting="allow_private")
    assert "a" * 64 in str(await refusal(found))
