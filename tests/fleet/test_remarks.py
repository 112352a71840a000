"""What `tradewind up` itself says."""

from __future__ import annotations

import pytest

from fleet.remarks import Started, back, died, table, unclean

AGAIN = "; it is started again and again, the others run on; see logs/ingest.log"


@pytest.mark.parametrize(
    ("status", "in_a_row", "words", "told"),
    [
        (-9, 1, None, "ingest died (signal 9, SIGKILL)"),
        (-9, 1, "of no meaning: nobody says anything of SIGKILL", "ingest died (signal 9, SIGKILL)"),
        (-99, 1, None, "ingest died (signal 99)"),
        (0, 1, None, "ingest died (exit code 0)"),
        (1, 4, "OSError('disk')", "ingest died (exit code 1): OSError('disk')"),
        (1, 5, "OSError('disk')", f"ingest died 5 times in a row (exit code 1): OSError('disk'){AGAIN}"),
        (2, 10, "t.toml:3: unknown key", f"ingest refuses its configuration: t.toml:3: unknown key{AGAIN}"),
    ],
)
def test_a_death_is_told_with_how_and_why(status: int, in_a_row: int, words: str | None, told: str) -> None:
    remark = died("ingest", status, in_a_row, words=words, log="logs/ingest.log")
    assert remark is not None
    assert remark.text == told
    assert remark.level == ("warning" if in_a_row < 5 else "error")


def test_who_keeps_dying_is_told_less_and_less_often() -> None:
    told = [row for row in range(1, 200) if died("ingest", 1, row, words=None, log="")]
    assert told == [1, 2, 3, 4, 5, 10, 20, 40, 80, 160]


@pytest.mark.parametrize(("deaths", "times"), [(1, ""), (3, "3 times, last ")])
def test_a_return_is_told_with_how_long_it_took(deaths: int, times: str) -> None:
    remark = back("processors-1", 77, status=-9, deaths=deaths, restarted_after_s=0.41, ready_after_s=2.06)
    expected = f"processors-1 died {times}(signal 9, SIGKILL), restarted after 0.4 s, ready after 2.1 s, pid 77"
    assert remark.text == expected


def test_the_table_has_who_runs_where_and_who_does_not_and_why() -> None:
    started = [
        Started(name="broker", pid=7, address="127.0.0.1:9092", ops="", does="Kafka"),
        Started(name="ingest", pid=12345, address="", ops="127.0.0.1:9101", does="webhooks"),
    ]
    remarks = list(table(started, [("forward", "nobody\x1b[2J")]))
    assert [line for remark in remarks for line in remark.text.split("\n")] == [
        "process  pid    address         ops",
        "broker   7      127.0.0.1:9092  -               Kafka",
        "ingest   12345  -               127.0.0.1:9101  webhooks",
        "forward  not started: nobody\\x1b[2J",
    ]
    assert remarks[1].fields == {"name": "ingest", "pid": 12345, "address": "", "ops": "127.0.0.1:9101"}


def test_a_process_has_ended_well_if_it_finished_or_held_nothing_yet() -> None:
    statuses = {"ingest": 0, "early": -15, "broker": 143, "stuck": -9, "crashed": 1}
    expected = ["stuck had to be killed", "crashed had failed (exit code 1)"]
    assert [remark.text for remark in unclean(statuses)] == expected
