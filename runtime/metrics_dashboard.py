"""The Grafana dashboard as Grafana imports it; each graph is explained by what runtime/metrics.py says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from runtime.metrics import STAGES
from runtime.metrics_panels import ROWS, Panel

SCHEMA_VERSION = 39
"""Of Grafana 10.2 and later."""
COLUMNS = 24
HEIGHT = 8
DATA_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
METRIC = re.compile(r"tradewind_[a-z_]+")


def dashboard() -> dict[str, Any]:
    """What Grafana imports."""
    return {
        "__inputs": [],
        "__requires": [
            {"type": "grafana", "id": "grafana", "name": "Grafana", "version": "10.2.0"},
            {"type": "datasource", "id": "prometheus", "name": "Prometheus", "version": "1.0.0"},
        ],
        "uid": "tradewind",
        "title": "tradewind",
        "description": "Written by `make docs` from runtime/metrics_panels.py; what to do is in docs/metrics.md",
        "tags": ["tradewind"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "timezone": "browser",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [_data_source(), _account()]},
        "panels": list(_placed()),
    }


def _data_source() -> dict[str, Any]:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "hide": 0}


def _account() -> dict[str, Any]:
    query = "label_values(tradewind_webhooks_received_total, account)"
    return {
        "name": "account",
        "label": "Account",
        "type": "query",
        "datasource": DATA_SOURCE,
        "definition": query,
        "query": {"query": query, "refId": "account"},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


def _placed() -> Iterator[dict[str, Any]]:
    number, top = 1, 0
    for row in ROWS:
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1},
            "panels": [],
        }
        number, top = number + 1, top + 1
        across = 4 if len(row.panels) % 4 == 0 else 3
        width = COLUMNS // across
        for place, panel in enumerate(row.panels):
            at = {"x": place % across * width, "y": top + place // across * HEIGHT, "w": width, "h": HEIGHT}
            yield {"id": number, "gridPos": at, **_graph(panel)}
            number += 1
        top += -(-len(row.panels) // across) * HEIGHT


def _graph(panel: Panel) -> dict[str, Any]:
    custom = {
        "lineWidth": 1,
        "fillOpacity": 10,
        "showPoints": "never",
        "scaleDistribution": {"type": "log", "log": 10} if panel.log else {"type": "linear"},
    }
    return {
        "type": "timeseries",
        "title": panel.title,
        "description": _explained(panel),
        "datasource": DATA_SOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "custom": custom}, "overrides": []},
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": [
            {"refId": chr(ord("A") + place), "datasource": DATA_SOURCE, "expr": expr, "legendFormat": legend}
            for place, (expr, legend) in enumerate(panel.lines)
        ],
    }


def _explained(panel: Panel) -> str:
    """What the metrics of the panel mean, for whoever points at it."""
    known = {one.name: one for stage in STAGES for one in stage.described}
    asked = [name.removesuffix("_bucket") for expr, _ in panel.lines for name in METRIC.findall(expr)]
    return "\n\n".join(f"{known[name].meaning}. {known[name].rise}." for name in dict.fromkeys(asked))
