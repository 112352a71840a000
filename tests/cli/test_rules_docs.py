"""What docs/rules.md tells its reader about rules files is so."""

from __future__ import annotations

import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest

from cli.rules import rules_app
from processors.rules import builtin_rules
from rules.check import CheckedRules, check_rules
from rules.example_tables import EXPECTED_KEYS, GIVEN_KEYS
from rules.examples import run_examples
from rules.tables import RULE_KEYS, Surroundings
from runtime.settings import KafkaSettings
from schemas.pipeline import PipelineTimes
from servicetrade.catalogue import BUILT_IN
from tests.cli.test_rules import Desk, desk_in
from tests.processors.pipeline import pipeline_on

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/rules.md").read_text("utf-8")
TIMES = PipelineTimes()
TYPES = {name: known.sends_webhooks for name, known in BUILT_IN.items()}


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
    return str(found)


def desk_as_documented(folder: Path, kafka: KafkaSettings, capsys: pytest.CaptureFixture[str]) -> Desk:
    """With the account of the documentation, and a pipeline that has the times that it has by itself."""
    desk = desk_in(folder, kafka, capsys, accounts=("main",))
    desk.config.write_text(
        re.sub(r"^(horizon|memory|max_ceiling)_s = .*$", "", desk.config.read_text(), flags=re.MULTILINE)
    )
    return desk


def checked(text: str) -> CheckedRules:
    return check_rules(text, Surroundings(accounts=("main",), max_ceiling_ms=TIMES.max_ceiling_ms, types=TYPES))


def table(head: str) -> set[str]:
    """The keys in the first column of a table, by how its head begins."""
    rows = TEXT.partition(f"\n| {head}")[2].partition("\n\n")[0].splitlines()[2:]
    return {key for row in rows for key in re.findall(r"`(\w+)`", row.split("|")[1])}


def test_the_file_has_neither_errors_nor_warnings_and_uses_every_key() -> None:
    file = checked(block("toml"))
    assert list(file.findings) == []
    assert {name for name in RULE_KEYS if f"{name} = " in block("toml")} == set(RULE_KEYS)


def test_the_tables_name_every_key_and_no_other() -> None:
    assert table("key | says") == set(RULE_KEYS)
    assert table("`given`") == set(GIVEN_KEYS)
    assert table("`expect`") == set(EXPECTED_KEYS)


def test_the_defaults_are_those_of_the_core() -> None:
    rule = builtin_rules(TIMES.max_ceiling_ms).default
    assert f"and its change is told | {rule.quiet_ms // 1000} |" in TEXT
    assert f"above `max_ceiling_s` of `[pipeline]` | {rule.ceiling_ms // 1000} |" in TEXT
    assert f"keep everything, quiet {rule.quiet_ms // 1000} s, ceiling {rule.ceiling_ms // 1000} s" in TEXT
    assert {item.name.replace("_ms", "_s") for item in fields(rule)} == set(RULE_KEYS)


@pytest.mark.parametrize("number", range(1, 6))
def test_of_two_tables_the_one_further_down_the_list_wins(number: int) -> None:
    order = re.findall(r"^(\d)\. (?:`\[(.*)\]`|what is built in)$", TEXT, re.MULTILINE)
    assert [place for place, _ in order] == list("12345")
    names = [name.replace("NAME", "main").replace("TYPE", "job") for _, name in order][:number]
    text = "".join(f"[{name}]\nquiet_s = {place}\n" for place, name in enumerate(names) if name)
    rules = checked(text).resolved["main"]
    rule = rules["types"].get("job", rules["default"])
    assert rule["quiet_ms"] == (
        builtin_rules(TIMES.max_ceiling_ms).default.quiet_ms if number == 1 else (number - 1) * 1000
    )


def test_the_failure_that_is_shown_is_what_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    desk = desk_as_documented(tmp_path, KafkaSettings(bootstrap_servers="127.0.0.1:1"), capsys)
    desk.file.write_text(re.sub(r"^ignore_users.*$", "", block("toml"), flags=re.MULTILINE))
    code = rules_app(["test", str(desk.file), "--config", str(desk.config)], result_action="return_value")
    printed = capsys.readouterr().out.replace(str(desk.file), "rules.toml")
    assert code == 1
    assert block("text") in printed


@pytest.mark.anyio
async def test_the_commands_work_as_written(
    kafka: KafkaSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with pipeline_on(kafka):
        desk = desk_as_documented(tmp_path, kafka, capsys)
        desk.file.write_text(block("toml"))
        for line in block("sh").splitlines():
            words = shlex.split(line, comments=True)
            assert words[:2] == ["tradewind", "rules"]
            code, _, told = await desk.run(*(str(desk.file) if word == "rules.toml" else word for word in words[2:]))
            assert (line, code, told) == (line, 0, "")


def test_the_rules_of_the_demo_pass_their_examples() -> None:
    around = Surroundings(accounts=("acme", "birch", "cedar"), max_ceiling_ms=TIMES.max_ceiling_ms, types=TYPES)
    file = check_rules((ROOT / "demo/rules.toml").read_text(), around)
    assert list(file.findings) == []
    results = run_examples(file.examples, file.resolved, TIMES)
    assert [result.faults for result in results] == [[], []]
