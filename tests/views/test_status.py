"""`tradewind status`: what wants a person, how it is drawn, and the command on a real broker, store and process."""

from __future__ import annotations

import asyncio
import io
import json
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from rich.console import Console

from cli.main import app
from cli.status_screen import MOST, drawn
from runtime.broker_config import free_port
from runtime.database import open_database
from runtime.kafka import acknowledged
from runtime.ops import Status, ops_server
from runtime.settings import KafkaSettings, StoreSettings
from runtime.store_schema import upgrade
from runtime.toml_reader import Secret
from schemas.errors import SettingsError
from schemas.topics import WEBHOOKS
from sinks.parking_store import Halts
from tests.sinks.letter_making import Office
from views.status_attention import attention
from views.status_data import (
    INGEST,
    LEDGER_IMBALANCE,
    OPEN_WINDOWS,
    PROCESSORS,
    SPOOL_ACCEPTING,
    SPOOL_OLDEST_SECONDS,
    SPOOL_PARKED,
    SPOOL_WEBHOOKS,
    CutOff,
    Flow,
    Halted,
    OpenLetters,
    Overview,
    Parked,
    Process,
    Session,
    Stage,
    Stored,
    Unread,
)

pytestmark = pytest.mark.anyio

NOW = 1_700_000_000_000
CONFIG = """
[kafka]
bootstrap_servers = "{kafka.bootstrap_servers}"
topic_prefix = "{kafka.topic_prefix}"
[store]
url = "sqlite+aiosqlite:///{folder}/store.db"
key = {{ file = "key" }}
[processors]
group = "{kafka.topic_prefix}processors"
[accounts.acme]
username = "u"
password = {{ file = "secret" }}
hook_secret = {{ file = "secret" }}
"""


def stage(
    name: str = "mirror", *, lag: int = 0, waits_s: int = 0, members: int = 1, started: bool = True, **gaps: Any
) -> Stage:
    return Stage(
        name=name,
        topic="servicetrade.changes",
        group=f"tradewind-{name}",
        lag_records=lag,
        oldest_ms=NOW - 1000 * waits_s if lag else None,
        members=members,
        started=started,
        **gaps,
    )


def session(state: str, account: str = "acme", **changed: Any) -> Session:
    known = {"generation": 3, "made_ms": NOW - 60_000, "refused": state == "refused", "reason": "", **changed}
    return Session(account=account, state=state, **known)


def process(condition: str, **metrics: float) -> Process:
    return Process(name="", address="h:1", silent="", conditions={condition: True}, metrics=metrics)


def away(name: str) -> Process:
    return Process(name=name, address="h:1", silent="nobody listens there")


def overview(
    *,
    stages: Sequence[Stage] = (),
    letters: dict[str, dict[str, int]] | None = None,
    processes: Sequence[Process] = (),
    **stored: Any,
) -> Overview:
    return Overview(
        now_ms=NOW,
        flow=Flow(stages=stages, last_append_ms=NOW - 3_000),
        letters=OpenLetters(counts=letters or {}, unread_records=0),
        stored=Stored(**{"parked": (), "halted": (), "sessions": (), **stored}),
        processes=processes,
    )


def screen(seen: Overview, width: int = 100) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(drawn(seen), highlight=False)
    return out.getvalue()


# -- what wants a person -------------------------------------------------------------------------------------------

PARKED = Parked(sink="mirror", account="acme", whole_account=3, entity_records=0, entities=0, since_ms=NOW)


@pytest.mark.parametrize(
    ("seen", "sentence"),
    [
        (
            overview(stages=[stage(lag=7, members=0)]),
            "nobody works as mirror, with 7 records to do: `tradewind sink mirror`",
        ),
        (overview(stages=[stage("forward/crm", lag=7, members=0)]), "`tradewind sink forward crm`"),
        (overview(stages=[stage("processors", lag=7, members=0, started=False)]), "`tradewind processors`"),
        (overview(stages=[stage(members=0)]), "nobody works as mirror: `tradewind sink mirror`"),
        (overview(stages=[stage("processors", members=0, started=False)]), "nobody works as processors: `tradewind"),
        (
            overview(stages=[stage("processors", cut_off=[CutOff(partition=3, end=7, committed=9)])]),
            "[3] ends at 7, but 9 is committed by processors: the log was cut off, or the topic made anew (then raise",
        ),
        (
            overview(stages=[stage(cut_off=[CutOff(partition=number, end=0, committed=9) for number in range(3)])]),
            "[0] ends at 0, but 9 is committed by mirror, and 2 other partitions likewise: the log was cut off",
        ),
        (overview(stages=[stage(lost_records=1)]), "1 record is lost to retention before mirror did them"),
        (overview(stages=[stage(lost_records=1_234)]), "1,234 records are lost to retention before mirror did them"),
        (
            overview(processes=[away("ingest")]),
            "ingest does not answer at h:1 (nobody listens there): `tradewind ingest`, or --ops HOST:PORT if it runs",
        ),
        (overview(processes=[away("")]), "no process answers at h:1: nobody listens there"),
        (overview(stages=[stage(lag=7, waits_s=400)]), "mirror is 6 minutes behind"),
        (overview(letters={"mirror": {"acme": 2, "bolt": 1}}), "3 open dead letters of mirror: "),
        (overview(letters={"processors": {"": 1}}), "1 open dead letter of processors: "),
        (
            overview(halted=[Halted(sink="forward/crm", reason="HTTP 410", since_ms=NOW)]),
            "forward/crm is halted: HTTP 410; that dealt with: `tradewind sink resume forward/crm`",
        ),
        (overview(parked=[PARKED]), "mirror has put the account acme aside"),
        (overview(sessions=[session("refused", reason="Invalid")]), "refuses the credentials of acme (Invalid)"),
        (overview(sessions=[session("unreadable")]), "encrypted with a key that store.key does not hold"),
        (overview(processes=[process(INGEST, **{SPOOL_ACCEPTING: 0})]), "ingest at h:1 cannot spool"),
        (overview(processes=[process(INGEST, **{SPOOL_PARKED: 2})]), "holds 2 webhooks that Kafka refuses"),
        (overview(processes=[process(PROCESSORS, **{LEDGER_IMBALANCE: -2})]), "the ledger is out by -2 notifications"),
    ],
)
def test_what_wants_a_person_is_said_with_what_to_do(seen: Overview, sentence: str) -> None:
    (said,) = attention(seen)
    assert sentence in said


def test_what_is_as_it_should_be_wants_nobody() -> None:
    seen = overview(
        stages=[
            stage(lag=9, waits_s=10),
            stage("command", lag=9, waits_s=999, members=0, started=False),
            stage("forward/crm", members=0, started=False),
        ],
        sessions=[session("live"), session("none", generation=0), session("paused"), session("suspect")],
        parked=[Parked(sink="mirror", account="acme", whole_account=0, entity_records=3, entities=1, since_ms=NOW)],
        processes=[process(INGEST, **{SPOOL_ACCEPTING: 1, SPOOL_WEBHOOKS: 9}), process(PROCESSORS), away("mirror")],
    )
    assert attention(seen) == []
    assert "nothing wants a person" in screen(seen)


def test_what_cannot_be_read_says_why_and_the_rest_is_shown() -> None:
    away = Unread("no answer")
    seen = Overview(now_ms=NOW, flow=away, letters=away, stored=overview().stored, processes=())
    assert attention(seen) == ["Kafka cannot be asked how far the stages are: no answer"]
    assert screen(seen).count("cannot be read: no answer") == 2
    without = Overview(now_ms=NOW, flow=overview().flow, letters=away, stored=away, processes=())
    assert len(attention(without)) == 2
    assert "put aside     ! cannot be read: no answer" in screen(without)


# -- the screen ----------------------------------------------------------------------------------------------------


def test_the_screen_shows_each_stage_in_a_line_with_a_mark_where_somebody_has_to_look() -> None:
    seen = overview(
        stages=[stage("processors", lag=12_345, waits_s=3, members=2), stage(lag=4, members=0), stage("forward/crm")],
        halted=[Halted(sink="forward/crm", reason="HTTP 410", since_ms=NOW)],
        letters={"mirror": {"acme": 2, "": 1}},
        parked=[Parked(sink="mirror", account="acme", whole_account=3, entity_records=2, entities=1, since_ms=NOW)],
        sessions=[session("live")],
        processes=[process(PROCESSORS, **{OPEN_WINDOWS: 17})],
    )
    printed = screen(seen)
    rows = {line.split()[0]: line.split() for line in printed.splitlines() if line.strip()}
    assert rows["processors"][2:] == ["12,345", "3", "s", "2"]
    assert " ".join(rows["mirror"][2:]) == "4 0 ms 0 ! nobody works"
    assert " ".join(rows["forward/crm"][2:]) == "0 - 1 ! halted"
    assert "17 windows are open in 1 of 2 workers; --ops names the others" in printed
    assert "mirror  acme: 3 of the whole account and 2 of single entities (1), the first 0 s ago" in printed
    assert "mirror  acme 2, (no account) 1" in printed
    assert "acme  live  generation 3, made 1 min ago" in printed
    assert "the last record on the raw log is 3 s ago" in printed
    assert max(len(line.rstrip()) for line in printed.splitlines()) <= 100


def test_a_stage_that_lost_something_is_marked_and_one_that_never_ran_is_not() -> None:
    seen = overview(
        stages=[
            stage("processors", lost_records=1_200),
            stage("mirror", cut_off=[CutOff(partition=0, end=1, committed=2)]),
            stage("forward/crm", members=0),
            stage("command", lag=3, members=0, started=False),
        ]
    )
    remarks = {line.split()[0]: line.rstrip().split("  ")[-1].strip() for line in screen(seen).splitlines() if line}
    assert remarks["processors"] == "! 1,200 lost"
    assert remarks["mirror"] == "! log cut off"
    assert remarks["forward/crm"] == "! nobody works"
    assert remarks["command"] == "never ran"


def test_a_spool_that_is_in_use_says_how_much_and_since_when() -> None:
    seen = overview(processes=[process(INGEST, **{SPOOL_WEBHOOKS: 9, SPOOL_OLDEST_SECONDS: 90})])
    assert "9 webhooks are in ingest's spool, the oldest for 1 min 30 s" in screen(seen)


def test_of_many_accounts_only_those_in_trouble_are_named_so_that_it_stays_one_screen() -> None:
    many = [session("live", f"account-{number}") for number in range(100)]
    trouble = [session("paused", f"late-{number}") for number in range(20)]
    counts = {f"account-{number}": number + 1 for number in range(50)}
    printed = screen(overview(sessions=[*many, *trouble], letters={"mirror": counts}))
    assert "100 live, 20 paused" in printed
    assert "account-99 " not in printed
    assert "account-49 50, account-48 49" in printed
    assert f"and {50 - MOST} more accounts" in " ".join(printed.split())
    assert len(printed.splitlines()) < 40


# -- the command ---------------------------------------------------------------------------------------------------


@pytest.fixture
def config(kafka: KafkaSettings, tmp_path: Path) -> Path:
    (tmp_path / "key").write_text(Fernet.generate_key().decode())
    (tmp_path / "secret").write_text("of-no-use-in-this-test")
    (tmp_path / "tradewind.toml").write_text(CONFIG.format(kafka=kafka, folder=tmp_path))
    return tmp_path / "tradewind.toml"


def status(config: Path, *arguments: str) -> int:
    return int(app(["status", *arguments, "--config", str(config)], result_action="return_value"))


async def test_the_command_shows_all_of_the_pipeline_and_exits_with_1_if_something_wants_a_person(
    office: Office, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await acknowledged(await office.producer.send(office.name(WEBHOOKS), key=b"acme", value=b"{}"))
    await office.bury(stage="processors", key=b"acme", of=WEBHOOKS)
    store = StoreSettings(
        url=f"sqlite+aiosqlite:///{config.parent}/store.db", key=Secret((config.parent / "key").read_text())
    )
    async with open_database(store) as database:
        await upgrade(database)
        await Halts(database).halt("mirror", "too many dead letters")
    ready = Status()
    ready.watch(lambda: {"restored": True})
    async with ops_server("127.0.0.1", 0, ready) as port:
        ops = f"--ops=127.0.0.1:{port}"
        assert await asyncio.to_thread(status, config, ops, "--json") == 1
        told = json.loads(capsys.readouterr().out)
        assert await asyncio.to_thread(status, config, ops) == 1
        printed = capsys.readouterr().out
    assert [sentence.split(":")[0] for sentence in told["attention"]] == [
        "mirror is halted",
        "nobody works as processors, with 1 record to do",
        "1 open dead letter of processors",
    ]
    (processors,) = [one for one in told["overview"]["flow"]["stages"] if one["name"] == "processors"]
    assert (processors["lag_records"], processors["members"]) == (1, 0)
    assert told["overview"]["letters"]["counts"] == {"processors": {"acme": 1}}
    assert "3 things want a person" in printed
    assert f"127.0.0.1:{port}  ready" in printed


def test_without_a_broker_a_store_and_processes_each_says_so_in_its_place(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = config.read_text().splitlines()
    nowhere = [f'bootstrap_servers = "127.0.0.1:{free_port()}"' if "bootstrap" in line else line for line in text]
    config.write_text("\n".join(nowhere))
    assert status(config, "--json", "--ops=127.0.0.1:1") == 1
    told = json.loads(capsys.readouterr().out)["overview"]
    assert "Unable to bootstrap" in told["flow"]["unread"]
    assert "Unable to bootstrap" in told["letters"]["unread"]
    assert "is not there" in told["stored"]["unread"]
    assert told["processes"][0]["silent"] == "nobody listens there"
    assert not (config.parent / "store.db").exists()


def test_options_that_say_nothing_are_refused(config: Path) -> None:
    with pytest.raises(SettingsError, match="--every-s: must be above 0"):
        status(config, "--every-s=0")
    with pytest.raises(SettingsError, match="--ops: is written HOST:PORT"):
        status(config, "--ops=here")


@pytest.mark.usefixtures("office")
async def test_watching_shows_it_again_and_again_until_it_is_interrupted(config: Path) -> None:
    arguments = ("status", "--watch", "--json", "--every-s=0.05", "--ops=127.0.0.1:1", "--config", str(config))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cli.main", *arguments, stdout=PIPE, stderr=PIPE, limit=2**20
    )
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.timeout(120):
        looks = [json.loads(await process.stdout.readline())["overview"]["now_ms"] for _ in range(3)]
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0
        assert await process.stderr.read() == b""
    assert looks == sorted(set(looks))
