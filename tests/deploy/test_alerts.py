"""The alert rules ask for metrics and labels that there are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from runtime.metrics import REGISTRY

DEPLOY = Path(__file__).parents[2] / "deploy"
GROUPS = yaml.safe_load((DEPLOY / "alerts.yml").read_text("utf-8"))["groups"]
RULES: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"]]
NAMES = {sample for metric in REGISTRY.collect() for sample in (metric.name, f"{metric.name}_total")}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_an_alert_asks_for_metrics_that_there_are_and_tells_a_person_what_is_wrong(rule: dict[str, Any]) -> None:
    asked = re.findall(r"tradewind_\w+", rule["expr"])
    assert asked
    assert set(asked) <= NAMES
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert len(rule["annotations"]["summary"]) > 20


def test_prometheus_is_given_the_rules() -> None:
    assert yaml.safe_load((DEPLOY / "prometheus.yml").read_text("utf-8"))["rule_files"] == ["alerts.yml"]
    compose = yaml.safe_load((DEPLOY.parent / "docker-compose.yml").read_text("utf-8"))
    volumes = compose["services"]["prometheus"]["volumes"]
    assert "./deploy/alerts.yml:/etc/prometheus/alerts.yml:ro" in volumes


def test_every_event_that_a_person_has_to_look_at_has_an_alert() -> None:
    said = " ".join(rule["expr"] for rule in RULES)
    ingest = ("received_total", "limited_total", "spool_parked", "spool_oldest_seconds", "silence_seconds")
    for name in (*ingest, "sink_halted", "tradewind_parked", "dead-lettered"):
        assert name in said
