"""The model's session store is a fake, so it is held to the real one: same operations, same results, same rows."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeAlias

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

owners = st.sampled_from([HOLDER, HOLDER, HOLDER, HOLDER, "one", "other"])
pauses = st.sampled_from([0.0, LONG_S])
generations = st.sampled_from([0, 0, 0, 0, 0, -1])  # relative to the row's
OPERATIONS: Mapping[str, Mapping[str, st.SearchStrategy[Any]]] = {
    "read": {},
    "purge": {"generation": generations},
    "try_lease": {"owner": owners, "generation": generations},
    "restore": {"owner": owners, "generation": generations, "suspicions": st.integers(0, 3)},
    "bury": {"owner": owners, "generation": generations},
    "save": {"owner": owners, "generation": generations, "login_interval_s": pauses},
    "record_failure": {"owner": owners, "pause_s": pauses},
    "record_refusal": {"owner": owners, "pause_s": pauses},
    "release": {"owner": owners, "pause_s": st.none() | pauses},
    "unlock": {},
    "lease_runs_out": {},
    "pause_ends": {},
}
# All of them anywhere, but more often what the row has a use for.
WITHOUT_LEASE = st.sampled_from([*OPERATIONS, *["try_lease"] * 12, *["purge"] * 4])
UNDER_A_LEASE = st.sampled_from([*OPERATIONS, *["restore", "bury", "save", "lease_runs_out", "try_lease"] * 2, "purge"])

Sequence: TypeAlias = list[tuple[str, dict[str, Any]]]
"""Names of operations, each with its arguments."""


@st.composite
def sequences(draw: st.DrawFn) -> Sequence:
    """Twenty operations, drawn with an eye on what the model's row has come to."""
    model, sequence = RowStore(), []
    for number in range(20):
        row = model.read()
        name = draw(WITHOUT_LEASE if row.lease_owner is None else UNDER_A_LEASE)
        named = arguments(name, {arg: draw(values) for arg, values in OPERATIONS[name].items()}, row, number)
        getattr(model, name)(**named)
        sequence.append((name, named))
    return sequence


def arguments(name: str, drawn: Mapping[str, Any], row: StoredSession, number: int) -> dict[str, Any]:
    """What was drawn for an operation, and what else it wants, under the names that both stores know."""
    named = dict(drawn)
    if "generation" in named:
        named["generation"] += row.generation
    if named.get("owner") == HOLDER:
        named["owner"] = row.lease_owner or "one"
    if name == "save":
        named |= {"token": Secret(f"token{number}"), "fingerprint": f"credentials{number}"}
    if name == "record_refusal":
        # Nine at times: the store keeps eight.
        refused = tuple(f"credentials{other}" for other in range(number % 10))
        named |= {"fingerprints": refused, "reason": f"reason{number}"}
    return named


# Fixtures are shared by all examples on purpose: each has an account of its own.
examples = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.fixture
async def sqlite(open_store: OpenStore, sqlite_settings: StoreSettings) -> SessionStore:
    return await open_store(sqlite_settings)


@pytest.fixture
async def postgresql(open_store: OpenStore, sqlite_settings: StoreSettings) -> SessionStore:
    return await open_store(replace(sqlite_settings, url=await new_database()))


@settings(examples, max_examples=40)
@given(sequences())
async def test_the_models_store_and_the_real_one_on_sqlite_do_the_same(
    sqlite: SessionStore, sequence: Sequence
) -> None:
    await compare(sqlite, sequence)


@settings(examples, max_examples=20)
@given(sequences())
async def test_the_models_store_and_the_real_one_on_postgresql_do_the_same(
    postgresql: SessionStore, sequence: Sequence
) -> None:
    await compare(postgresql, sequence)


async def compare(real: SessionStore, sequence: Sequence) -> None:
    """Do the same to both, one operation after the other, and look at result and row each time."""
    account, model = uuid.uuid4().hex, RowStore()
    for name, named in sequence:
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


def timeless(result: Any) -> Any:
    """A row as the model has it: whether there is time left, not how much, and no moments."""
    if not isinstance(result, StoredSession):
        return result
    lease_left_s, login_wait_s = float(result.lease_left_s > 0), float(result.login_wait_s > 0)
    return replace(result, lease_left_s=lease_left_s, login_wait_s=login_wait_s, made_ms=0)


async def set_columns(real: SessionStore, account: str, **values: int) -> None:
    async with real._engine.begin() as connection:
        await connection.execute(update(SESSIONS).where(SESSIONS.c.account == account).values(**values))
