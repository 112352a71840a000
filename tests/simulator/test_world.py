"""How entities evolve, without any socket."""

from __future__ import annotations

from servicetrade.simulator.world import FieldChange, Op, World


def op(action: str, type_: str, id_: int, **fields: object) -> Op:
    return Op(action=action, type=type_, id=id_, user_id=7, fields=fields)  # type: ignore[arg-type]


def test_updated_is_in_seconds_and_never_runs_backwards() -> None:
    world = World(index=0)
    world.apply(op("created", "job", 1), 100.9)
    seen = [world.apply(op("updated", "job", 1), now) for now in (100.95, 103.0, 99.0)]
    assert [event.at for event in seen if event] == [100, 103, 103]
    assert world.all_of("job")[0]["created"] == 100


def test_a_job_item_edit_tells_the_item_then_the_job_twice_and_sums_the_total() -> None:
    world = World(index=0)
    world.write(op("created", "job", 1), 100)
    first = world.write(op("created", "jobitem", 2, job=1, totalPrice=10.5), 101)
    assert [(event.type, event.action) for event in first] == [
        ("jobitem", "created"),
        ("job", "updated"),
        ("job", "updated"),
    ]
    world.write(op("created", "jobitem", 3, job=1, totalPrice=1), 101)
    world.write(op("updated", "jobitem", 2, totalPrice=20), 102)
    assert world.all_of("job")[0]["total"] == 21
    deleted = world.write(op("deleted", "jobitem", 3), 103)
    assert len(deleted) == 3
    assert world.all_of("job")[0]["total"] == 20


def test_what_cannot_be_done_makes_no_event() -> None:
    world = World(index=0)
    world.apply(op("created", "job", 1), 100)
    assert world.apply(op("created", "job", 1), 100) is None
    assert world.apply(op("updated", "job", 2), 100) is None
    world.apply(op("deleted", "job", 1), 100)
    assert world.apply(op("updated", "job", 1), 100) is None
    assert world.apply(op("created", "job", 1), 100) is None
    assert world.find("job", 1) is None
    assert world.write(op("updated", "jobitem", 9), 100) == []


def test_only_tracked_fields_that_changed_are_in_the_changeset() -> None:
    world = World(index=0)
    world.apply(op("created", "job", 1, status="new", description="a"), 100)
    event = world.apply(op("updated", "job", 1, status="scheduled", description="b"), 101)
    assert event is not None
    assert event.changes == (FieldChange("status", "new", "scheduled"),)


def test_accounts_number_their_entities_in_stretches_of_their_own() -> None:
    worlds = [World(index=index) for index in range(3)]
    ids = {world.new_id() for world in worlds for _ in range(1000)}
    assert len(ids) == 3000
    assert min(ids) > 1_870_000_000_000_000
    assert max(ids) < 2_690_000_000_000_000
