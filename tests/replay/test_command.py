"""What `tradewind replay` says of what it did not do, and what it asks first, on a real broker."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.kafka import KafkaError
from runtime.kafka.topics import ensure_topics
from schemas.errors import SettingsError
from schemas.record import header
from schemas.topics import CHANGES, REDRIVE_TO_HEADER, RULES, WEBHOOKS
from tests.cli.test_replay import RANGE, Run, config, configure, history, office, run, shadow, when
from tests.processors.pipeline import committing, job
from tests.replay.history import History

__all__ = ["config", "history", "office", "run"]
pytestmark = pytest.mark.anyio

ALL = ("--from", when(0), "--to", when(100))
QUICK = "[defaults]\nquiet_s = 0.5\nceiling_s = 1\n"


async def test_what_the_live_run_has_not_come_to_is_told_for_every_partition(history: History, run: Run) -> None:
    await history.office("acme", "bolt", "crew", seconds=20)
    await history.live({0: 60, 1: 0})
    records = [await history.records(partition) for partition in await history.partitions()]
    assert all(len(of) > 60 for of in records)
    code, out, _ = await run(*ALL, "--into", "shadow")
    assert code == 0
    name = history.kafka.topic_prefix + WEBHOOKS.name
    for partition, reached in ((0, 60), (1, 0)):
        left = len(records[partition]) - reached
        assert f"{left} records of {name}[{partition}] up to " in out
        assert f"were not replayed: the live run has come to offset {reached}, " in out
    _, out, _ = await run(*ALL, "--into", "shadow", "--topic", "mine", "--json")
    told = [(one["partition"], one["records"], one["reached"], one["reached_ms"]) for one in json.loads(out)["unread"]]
    assert told == [
        (0, len(records[0]) - 60, 60, records[0][60].timestamp),
        (1, len(records[1]), 0, records[1][0].timestamp),
    ]


async def test_a_diff_tells_what_it_did_not_judge_and_what_it_did_not_compare(
    history: History, run: Run, tmp_path: Path
) -> None:
    for number in range(20):
        await history.post("acme", number * 0.001, job(number))
    await history.tick("acme", 60)
    await history.live({0: 20, 1: 20})
    (tmp_path / "rules.toml").write_text(QUICK)
    line = (*ALL, "--into", "diff", "--rules", str(tmp_path / "rules.toml"))
    _, out, _ = await run(*line)
    assert "20 entities not judged: their windows were open where the live run has come to" in out
    assert "1 record of " in out
    assert "was not compared: the live run has come to offset 20, " in out
    assert "nothing differs in what was judged: 0 changes" in out
    _, out, _ = await run(*line, "--json")
    summary = json.loads(out.splitlines()[-1])
    assert (summary["still_open"], [one["records"] for one in summary["unread"]]) == (20, [1])


async def test_a_foreign_record_among_the_rules_is_told_and_stops_nothing(office: History, run: Run) -> None:
    topic = office.kafka.topic_prefix + RULES.name
    await office.producer.send_all([(topic, b"acme", b"junk", ())])
    for line in (("--into", "shadow"), ("--into", "shadow", "--rules", "now"), ("--into", "diff", "--rules", "now")):
        code, _, err = await run(*RANGE, *line)
        assert code == 0
        assert f"of the records on {topic} 1 hold no rules: passed over" in err
    assert await shadow(office)


async def test_offsets_without_a_note_are_no_replay_to_go_on_with(office: History, run: Run) -> None:
    replay_id = f"x{office.kafka.topic_prefix.rstrip('.')}"
    async with committing(office.kafka, f"tradewind-replay-{replay_id}") as commit:
        await commit(dict.fromkeys(await office.partitions(), 3))
    with pytest.raises(SettingsError, match=f"--resume: .* tradewind-replay-{replay_id} there is no note of a replay"):
        await run("--resume", replay_id)


async def test_a_replay_goes_on_under_no_other_epoch(
    office: History, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await narrow(office)
    with pytest.raises(KafkaError):
        await run(*RANGE, "--into", "shadow", "--topic", "narrow")
    replay_id = capsys.readouterr().err.partition("--resume ")[2].split()[0]
    other = configure(tmp_path / "other", office.kafka)
    other.write_text(other.read_text().replace("[pipeline]", "log_epoch = 2\n[pipeline]"))
    with pytest.raises(SettingsError, match=r"began with kafka\.log_epoch = 1 \(here: 2\)"):
        await run("--resume", replay_id, at=other)


async def narrow(history: History) -> None:
    """A topic that takes no change."""
    await ensure_topics(history.kafka, [replace(CHANGES, name="narrow", config={"max.message.bytes": "10"})])


async def test_it_does_not_say_that_it_can_be_gone_on_with_before_that_is_so(
    office: History, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # No broker can make a topic with so many replicas: it fails before anything is noted.
    other = configure(tmp_path / "other", office.kafka)
    other.write_text(other.read_text().replace("[pipeline]", "replication_factor = 9\n[pipeline]"))
    with pytest.raises(KafkaError):
        await run(*RANGE, "--into", "shadow", "--topic", "mine", at=other)
    said = capsys.readouterr().err
    assert said.startswith("replay ")
    assert "--resume" not in said


@pytest.mark.parametrize(
    ("sink", "whose", "said"), [("all", "every sink", b"*"), ("mirror", "the sink mirror", b"mirror")]
)
async def test_that_sinks_deliver_again_is_only_done_if_a_person_says_so(
    office: History, run: Run, sink: str, whose: str, said: bytes
) -> None:
    before = len(await office.all(CHANGES.name))
    line = (*RANGE, "--into", "live", "--redeliver", sink)
    told = rf"this has {whose} deliver again .*10\.5 s, [0-9]+ records.*called again\. There is no terminal.*--yes"
    with pytest.raises(SettingsError, match=told):
        await run(*line)
    assert len(await office.all(CHANGES.name)) == before
    assert (await run(*line, "--yes"))[0] == 0
    made = [one for one in await office.all(CHANGES.name) if header(one, REDRIVE_TO_HEADER) == said]
    assert len(made) == len(await office.all(CHANGES.name)) - before > 0
