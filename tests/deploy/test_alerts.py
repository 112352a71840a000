"""The alert rules ask for metrics and labels that there are, are explained, and are tried out both ways.

Whether they fire is promtool's to say, which not every machine has: `make alerts-test`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from runtime.metrics import LOGIN_OUTCOMES, RECEIVED, SESSION_STATES, STAGES
from tests.deploy.promql import FROM_PROMETHEUS, asked_labels, asked_metrics

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
GROUPS = yaml.safe_load((DEPLOY / "alerts.yml").read_text("utf-8"))["groups"]
RULES: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"]]
CASES: list[dict[str, Any]] = yaml.safe_load((DEPLOY / "alerts.test.yml").read_text("utf-8"))["tests"]
KNOWN = {one.name: one for stage in STAGES for one in stage.described}
RUNBOOK = (ROOT / "docs" / "alerts.md").read_text("utf-8")


def name_of(rule: dict[str, Any]) -> str:
    return str(rule["alert"])


@pytest.mark.parametrize("rule", RULES, ids=name_of)
def test_an_alert_asks_for_metrics_and_labels_that_there_are(rule: dict[str, Any]) -> None:
    asked = asked_metrics(rule["expr"])
    assert asked
    assert asked <= KNOWN.keys() | {"up"}
    labels = {label for name in asked & KNOWN.keys() for label in KNOWN[name].labels} | FROM_PROMETHEUS
    assert asked_labels(rule["expr"]) <= labels
    shown = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
    assert shown <= labels


@pytest.mark.parametrize("rule", RULES, ids=name_of)
def test_an_alert_says_what_is_wrong_and_leads_to_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert len(rule["annotations"]["summary"]) > 20
    assert rule["annotations"]["runbook"] == f"docs/alerts.md#{rule['alert'].lower()}"
    section = RUNBOOK.split(f"\n### {rule['alert']}\n")[1].split("\n## ")[0].split("\n### ")[0]
    assert f"({rule['labels']['severity']})" in section
    assert "\n- Look" in section


def test_the_runbook_is_about_these_alerts_and_no_others_and_in_their_order() -> None:
    assert re.findall(r"^### (\w+)$", RUNBOOK, re.MULTILINE) == [name_of(rule) for rule in RULES]


@pytest.mark.parametrize("rule", RULES, ids=name_of)
def test_an_alert_is_tried_with_a_case_in_which_it_fires_and_one_in_which_it_does_not(rule: dict[str, Any]) -> None:
    name = rule["alert"]
    fires: list[str] = []
    quiet: list[str] = []
    for case in CASES:
        tried = [one for one in case["alert_rule_test"] if one["alertname"] == name]
        if tried:
            (fires if tried[-1]["exp_alerts"] else quiet).append(case["name"])
            # Before its time is up it has to be silent.
            assert bool(tried[:-1]) == ("for" in rule and bool(tried[-1]["exp_alerts"]))
            assert not any(one["exp_alerts"] for one in tried[:-1])
    assert [title.split(":")[0] for title in fires] == [name]
    assert [title.split(":")[0] for title in quiet] == [f"not {name}"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["name"]))
def test_a_case_is_about_metrics_and_labels_that_there_are(case: dict[str, Any]) -> None:
    for entry in case["input_series"]:
        (name,) = asked_metrics(entry["series"])
        known = set() if name == "up" else set(KNOWN[name].labels)
        assert asked_labels(entry["series"]) <= known | FROM_PROMETHEUS
        assert known <= asked_labels(entry["series"]), "a series has all of its labels"


@pytest.mark.parametrize(
    ("label", "values"),
    [("state", SESSION_STATES), ("outcome", (*RECEIVED, *LOGIN_OUTCOMES))],
    ids=["state", "outcome"],
)
def test_a_value_that_an_alert_asks_for_is_one_that_the_product_sets(label: str, values: tuple[str, ...]) -> None:
    told = {word for one in KNOWN.values() for word in re.findall(r"[a-z_-]+", one.labels.get(label, ""))}
    assert set(values) <= told
    for rule in RULES:
        for found in re.findall(rf'{label}=~?"([^"]+)"', rule["expr"]):
            assert set(found.split("|")) <= told


def test_prometheus_is_given_the_rules() -> None:
    assert yaml.safe_load((DEPLOY / "prometheus.yml").read_text("utf-8"))["rule_files"] == ["alerts.yml"]
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
    volumes = compose["services"]["prometheus"]["volumes"]
    assert "./deploy/alerts.yml:/etc/prometheus/alerts.yml:ro" in volumes


def test_the_runbook_says_that_nobody_is_called_as_shipped_and_how_that_is_changed() -> None:
    assert "alerting" not in yaml.safe_load((DEPLOY / "prometheus.yml").read_text("utf-8"))
    section = RUNBOOK.split("\n## Who gets them\n")[1].split("\n## ")[0]
    assert "As shipped, nobody" in section
    prometheus, alertmanager = (yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", section, re.DOTALL))
    assert prometheus["alerting"]["alertmanagers"]
    called = [alertmanager["route"], *alertmanager["route"]["routes"]]
    assert {one["receiver"] for one in called} == {one["name"] for one in alertmanager["receivers"]}


def test_the_services_that_alerts_ask_for_are_those_that_prometheus_knows() -> None:
    (job,) = yaml.safe_load((DEPLOY / "prometheus.yml").read_text("utf-8"))["scrape_configs"]
    known = job["dns_sd_configs"][0]["names"]
    for rule in RULES:
        for pattern in re.findall(r'service=~?"([^"]+)"', rule["expr"]):
            assert [name for name in known if re.fullmatch(pattern, name)]


def test_every_event_that_a_person_has_to_look_at_has_an_alert() -> None:
    said = " ".join(rule["expr"] for rule in RULES)
    ingest = ("received_total", "limited_total", "spool_parked", "spool_oldest_seconds", "silence_seconds")
    assert "start_time_seconds" in said
    assert "unknown_url_total" in said
    others = ("ready", "lag_seconds", "ledger_imbalance", "firing_delay", "open_dead_letters", "sink_lag_seconds")
    for name in (*ingest, *others, "sink_halted", "tradewind_parked", "dead-lettered", "logins_total", "refused"):
        assert name in said
