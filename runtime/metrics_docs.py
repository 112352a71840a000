"""Writes docs/metrics.md and the Grafana dashboard from what is declared in runtime/metrics.py (`make docs`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from runtime.metrics import STAGES, Described, Stage
from runtime.metrics_dashboard import dashboard

ROOT = Path(__file__).parents[1]
HEAD = """\
# Metrics

Every process serves its own on `/metrics` of its ops port, in Prometheus' text format, without a password: keep the
port inside. This page is written from [runtime/metrics.py](../runtime/metrics.py) by `make docs`.

- Labels are accounts, sinks, kinds and outcomes of the configuration and of ServiceTrade; never an entity's id.
- A histogram has `_bucket`, `_sum` and `_count` after its name.
- Metrics without labels are exported by every process, and are 0 where the process has nothing to do with them. So
  look at them per service: [prometheus.yml](../deploy/prometheus.yml) gives every process the label `service`.
- Counters whose rise is an alert are there, as 0, before there is anything to count.
- What wakes somebody up is in [alerts.md](alerts.md); [grafana-dashboard.json](../deploy/grafana-dashboard.json) shows
  all of this (Dashboards, New, Import; it asks for the Prometheus to use).
"""
TABLE = """\
| metric | labels | what it is | what a rise, or the value named, means, and what to do |
|---|---|---|---|
"""


def page() -> str:
    """docs/metrics.md."""
    return "\n".join([HEAD, *(_section(stage) for stage in STAGES)])


def generated() -> Mapping[Path, str]:
    """Every generated file and its text."""
    return {
        ROOT / "docs" / "metrics.md": page(),
        ROOT / "deploy" / "grafana-dashboard.json": json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n",
    }


def _section(stage: Stage) -> str:
    head = (
        "| metric | labels | what it is | what a rise, or the value named, means, and what to do |\n|---|---|---|---|\n"
    )
    return f"## {stage.title}\n\n{head}" + "".join(_row(one) for one in stage.described)


def _row(one: Described) -> str:
    labels = "; ".join(f"`{name}`: {values}" if values else f"`{name}`" for name, values in one.labels.items())
    cells = (f"`{one.name}` {one.kind}", labels, one.meaning, one.rise)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def main() -> None:
    """Write the files."""
    for path, text in generated().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
