"""The model's session store is a fake, so it is held to the real one: same operations, same results, same rows."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from runtime.settings import StoreSettings
from runtime.toml_reader import Secret
from servicetrade.session_store import SESSIONS, SessionStore
from servicetrade.stored_session import StoredSession
from tests.servicetrade.conftest import OpenStore
from tests.servicetrade.model.store import RowStore
from tests.servicetrade.postgres import new_database

pytestmark = pytest.mark.anyio

LONG_S = 100.0
"""Leases and pauses end when the example says so, and not before."""

HOLDER = "whoever has the lease"

# What repeats is drawn more often: most of a random sequence would otherwise be refused for want of a lease.
owners = st.sampled_from([HOLDER, HOLDER, HOLDER, "one", "other"])
pauses = st.sampled_from([0.0, LONG_S])
generations = st.sampled_from([0, 0, 0, 0, -1])  # relative to the row's
under_a_lease = st.one_of(
    st.tuples(st.just("restore"), owners, generations, st.integers(0, 3)),
    st.tuples(st.just("bury"), owners, generations),
    st.tuples(st.just("save"), owners, generations, pauses),
    st.tuples(st.just("record_failure"), owners, pauses),
    st.tuples(st.just("record_refusal"), owners, st.integers(1, 9), pauses),
    st.tuples(st.just("release"), owners, st.none() | pauses),
)
by_anyone = st.one_of(
    st.tuples(st.just("read")),
    st.tuples(st.just("unlock")),
    st.tuples(st.just("lease_runs_out")),
    st.tuples(st.just("pause_ends")),
)
leases = st.tuples(st.just("try_lease"), owners, generations)
doubts = st.tuples(st.just("purge"), generations)
sequences = st.lists(
    st.one_of(leases, leases, doubts, under_a_lease, under_a_lease, by_anyone), min_size=15, max_size=30
)
# Fixtures are shared by all examples on purpose: each has an account of its own.
examples = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.fixture
async def sqlite(open_store: OpenStore, sqlite_settings: StoreSettings) -> SessionStore:
    return await open_store(sqlite_settings)


@pytest.fixture
async def postgresql(open_store: OpenStore, sqlite_settings: StoreSettings) -> SessionStore:
    return await open_store(replace(sqlite_settings, url=await new_database()))


@settings(examples, max_examples=40)
@given(sequences)
async def test_the_models_store_and_the_real_one_on_sqlite_do_the_same(
    sqlite: SessionStore, sequence: list[tuple[Any, ...]]
) -> None:
    await compare(sqlite, sequence)


@settings(examples, max_examples=20)
@given(sequences)
async def test_the_models_store_and_the_real_one_on_postgresql_do_the_same(
    postgresql: SessionStore, sequence: list[tuple[Any, ...]]
) -> None:
    await compare(postgresql, sequence)


async def compare(real: SessionStore, sequence: list[tuple[Any, ...]]) -> None:
    """Do the same to both, one operation after the other, and look at result and row each time."""
    account, model = uuid.uuid4().hex, RowStore()
    for number, (name, *args) in enumerate(sequence):
        named = arguments(name, args, model.read(), Secret(f"token{number}"))
        expected = getattr(model, name)(**named)
        if name == "lease_runs_out":
            await set_columns(real, account, lease_until_ms=0)
        elif name == "pause_ends":
            await set_columns(real, account, not_before_ms=0)
        else:
            ttl = {"ttl_s": LONG_S} if name == "try_lease" else {}
            result = await getattr(real, name)(account, **named, **ttl)
            assert timeless(result) == expected, (name, named)
        assert timeless(await real.read(account)) == model.read(), (name, named)


def arguments(name: str, drawn: list[Any], row: StoredSession, token: Secret) -> dict[str, Any]:
    """What was drawn for an operation, under the names that both stores know."""
    known = {
        "purge": ("generation",),
        "try_lease": ("owner", "generation"),
        "restore": ("owner", "generation", "suspicions"),
        "bury": ("owner", "generation"),
        "save": ("owner", "generation", "login_interval_s"),
        "record_failure": ("owner", "pause_s"),
        "record_refusal": ("owner", "fingerprints", "pause_s"),
        "release": ("owner", "pause_s"),
    }
    named = dict(zip(known.get(name, ()), drawn, strict=True))
    if "generation" in named:
        named["generation"] += row.generation
    if named.get("owner") == HOLDER:
        named["owner"] = row.lease_owner or "one"
    if name == "save":
        named |= {"token": token, "fingerprint": f"credentials of {token.reveal()}"}
    if name == "record_refusal":
        refused = tuple(f"credentials{number}" for number in range(named["fingerprints"]))
        named |= {"fingerprints": refused, "reason": f"because of {token.reveal()}"}
    return named


def timeless(result: Any) -> Any:
    """A row as the model has it: whether there is time left, not how much, and no moments."""
    if not isinstance(result, StoredSession):
        return result
    lease_left_s, login_wait_s = float(result.lease_left_s > 0), float(result.login_wait_s > 0)
    return replace(result, lease_left_s=lease_left_s, login_wait_s=login_wait_s, made_ms=0, updated_ms=0)


async def set_columns(real: SessionStore, account: str, **values: int) -> None:
    async with real._engine.begin() as connection:
        await connection.execute(update(SESSIONS).where(SESSIONS.c.account == account).values(**values))
