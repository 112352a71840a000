"""The Grafana dashboard can be imported, asks for what there is, and leaves no metric out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runtime.metrics import STAGES
from tests.deploy.promql import FROM_PROMETHEUS, asked_labels, asked_metrics

BOARD: dict[str, Any] = json.loads((Path(__file__).parents[2] / "deploy" / "grafana-dashboard.json").read_text("utf-8"))
PANELS: list[dict[str, Any]] = BOARD["panels"]
GRAPHS = [panel for panel in PANELS if panel["type"] != "row"]
TARGETS = [(panel["title"], target) for panel in GRAPHS for target in panel["targets"]]
KNOWN = {one.name: one for stage in STAGES for one in stage.described}


@pytest.mark.parametrize(("title", "target"), TARGETS, ids=[f"{one[0]} {one[1]['refId']}" for one in TARGETS])
def test_a_graph_asks_for_metrics_and_labels_that_there_are(title: str, target: dict[str, Any]) -> None:
    assert title
    asked = asked_metrics(target["expr"])
    assert asked
    assert asked <= KNOWN.keys()
    labels = {label for name in asked for label in KNOWN[name].labels} | FROM_PROMETHEUS
    assert asked_labels(target["expr"]) <= labels
    named = {part.split("}}")[0] for part in target["legendFormat"].split("{{")[1:]}
    assert named <= asked_labels(target["expr"])


def test_no_metric_is_left_out() -> None:
    assert {name for _, target in TARGETS for name in asked_metrics(target["expr"])} == KNOWN.keys()


def test_there_is_a_row_for_every_stage() -> None:
    rows = [panel["title"] for panel in PANELS if panel["type"] == "row"]
    assert rows == ["At a glance", *(stage.title for stage in STAGES[1:])]


def test_it_asks_whoever_imports_it_for_the_prometheus_to_use() -> None:
    variables = {one["name"]: one for one in BOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    for thing in (variables["account"], *GRAPHS, *(target for _, target in TARGETS)):
        assert thing["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert asked_metrics(variables["account"]["query"]["query"].replace(",", "}")) <= KNOWN.keys()
    assert BOARD["schemaVersion"] >= 36


def test_panels_have_numbers_of_their_own_and_do_not_overlap() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {(at["x"] + right, at["y"] + down) for right in range(at["w"]) for down in range(at["h"])}
        assert not cells & taken
        taken |= cells


def test_every_graph_says_what_it_shows() -> None:
    for panel in GRAPHS:
        for name in {name for target in panel["targets"] for name in asked_metrics(target["expr"])}:
            assert KNOWN[name].meaning in panel["description"]
