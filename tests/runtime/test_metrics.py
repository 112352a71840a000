"""What is exported, what docs/metrics.md says, and what is declared are the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from runtime import metrics
from runtime.metrics import PARKED, REGISTRY, STAGES, ByAccount, Described, Stage, render
from runtime.metrics_docs import generated, page

DESCRIBED = [one for stage in STAGES for one in stage.described]
ROOT = Path(__file__).parents[2]
KNOWN_LABELS = {"account", "condition", "kind", "limit", "outcome", "sink", "state", "status"}


@pytest.mark.parametrize("path", generated(), ids=lambda path: path.name)
def test_a_committed_file_is_what_the_declarations_generate(path: Path) -> None:
    assert path.read_text("utf-8") == generated()[path], "run `make docs`"


@pytest.mark.parametrize("one", DESCRIBED, ids=lambda one: one.name)
def test_a_metric_is_named_by_prometheus_customs_and_says_what_it_means_and_what_to_do(one: Described) -> None:
    assert re.fullmatch(r"tradewind_[a-z_]+", one.name)
    assert one.name.endswith("_total") == (one.kind == "counter")
    assert not one.name.endswith(("_bucket", "_sum", "_count", "_ms"))
    assert one.kind != "histogram" or one.name.endswith("_seconds")
    assert len(one.meaning) > 20
    assert len(one.rise) > 20
    assert not one.meaning.endswith(".")
    assert not one.rise.endswith(".")


def test_labels_are_few_values_and_never_an_entity() -> None:
    assert {label for one in DESCRIBED for label in one.labels} == KNOWN_LABELS


def test_names_are_declared_once_and_exported_exactly_so() -> None:
    names = [one.name for one in DESCRIBED]
    assert len(set(names)) == len(names)
    exported = {
        family.name + "_total" if family.type == "counter" else family.name: family.type
        for family in text_string_to_metric_families(render().decode())
    }
    assert exported == {one.name: one.kind for one in DESCRIBED}


def test_every_metric_is_set_by_the_product() -> None:
    instruments = {name for name in vars(metrics) if name.isupper() and hasattr(getattr(metrics, name), "collect")}
    rooms = [ROOT / room for room in ("ingest", "processors", "sinks", "servicetrade", "runtime")]
    product = [path for room in rooms for path in room.rglob("*.py") if path.name != "metrics.py"]
    text = "\n".join(path.read_text("utf-8") for path in product)
    assert len(instruments - {"REGISTRY"}) == len(DESCRIBED)
    assert not [name for name in instruments if not re.search(rf"\b{name}\b", text) and name != "REGISTRY"]


def test_every_metric_is_in_the_documentation_with_its_labels() -> None:
    text = page()
    for one in DESCRIBED:
        (row,) = [line for line in text.splitlines() if line.startswith(f"| `{one.name}` ")]
        assert all(f"`{label}`" in row for label in one.labels)
        assert row.count("|") - row.count("\\|") == 5


def test_a_metric_that_the_text_names_exists() -> None:
    named = set(re.findall(r"tradewind_\w+", page()))
    assert named == {one.name for one in DESCRIBED}


def test_what_is_to_be_counted_is_there_as_nothing_before_the_first() -> None:
    stage = Stage("A test's own")
    tally = stage.tally("tradewind_test_tally_total", "a", "b", account="")
    counter = stage.counter("tradewind_test_counter_total", "a", "b", account="", outcome="")
    try:
        tally.begin("acme")
        metrics.begin(counter, "acme", values=["made", "failed"])
        tally.add("bolt")
        assert value("tradewind_test_tally_total", account="acme") == 0
        assert value("tradewind_test_tally_total", account="bolt") == 1
        assert value("tradewind_test_counter_total", account="acme", outcome="failed") == 0
        tally.add("acme")
        tally.begin("acme")
        assert value("tradewind_test_tally_total", account="acme") == 1
    finally:
        REGISTRY.unregister(tally)
        REGISTRY.unregister(counter)


@pytest.mark.parametrize("outcome", ["merged", "duplicate", "filtered", "quarantined"])
def test_the_fates_of_notifications_are_exported_from_the_start(outcome: str) -> None:
    assert value("tradewind_notifications_total", outcome=outcome) is not None


def test_an_account_that_is_not_named_any_more_is_shown_as_nothing() -> None:
    shown = ByAccount(PARKED, "test")
    shown.show({"acme": 3, "bolt": 1})
    shown.show({"bolt": 2})
    assert value("tradewind_parked", sink="test", account="acme") == 0
    assert value("tradewind_parked", sink="test", account="bolt") == 2
    shown.show({"acme": 1})
    assert value("tradewind_parked", sink="test", account="acme") == 1
    assert value("tradewind_parked", sink="test", account="bolt") == 0


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)
