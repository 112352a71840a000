"""Pure: how an entity, or a page of them, looks in an answer: flat or compound."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from servicetrade.simulator.kinds import BY_TYPE, REFERENCE_LISTS, REFERENCES, Kind
from servicetrade.simulator.switches import Shape
from servicetrade.simulator.world import ENTITY_URI, Entity, World


def inner(world: World, entity: Entity, shape: Shape) -> dict[str, Any]:
    """The entity itself: references embedded as stubs (flat) or left as bare ids (compound)."""
    view = dict(entity)
    if shape == "flat":
        for name, value in entity.items():
            if name in REFERENCES and isinstance(value, int):
                view[name] = _stub(world, REFERENCES[name], value)
            elif name in REFERENCE_LISTS and isinstance(value, list | tuple):
                view[name] = [_stub(world, REFERENCE_LISTS[name], one) for one in value]
    return view


def one(world: World, kind: Kind, entity: Entity, shape: Shape) -> dict[str, Any]:
    """`data` of GET /{resource}/{id}: both shapes were seen on live accounts."""
    if shape == "flat":
        return inner(world, entity, shape)
    return {kind.type: inner(world, entity, shape), **_siblings(world, [entity])}


def page(world: World, kind: Kind, entities: list[Entity], shape: Shape) -> dict[str, Any]:
    """The array (and, when compound, the sibling arrays) of a list answer."""
    listed = [inner(world, entity, shape) for entity in entities]
    siblings = _siblings(world, entities) if shape == "compound" else {}
    return {**siblings, kind.list_key: listed}


def _stub(world: World, type_: str, id_: int) -> dict[str, Any]:
    # From the tombstone if need be: a stub must not change because its target was deleted.
    target = world.remembered(type_, id_) or {}
    stub = {"id": id_, "uri": ENTITY_URI.format(path=type_, id=id_), "name": target.get("name")}
    return {**stub, "status": target.get("status")} if type_ == "company" else stub


def _siblings(world: World, entities: Iterable[Entity]) -> dict[str, list[dict[str, Any]]]:
    siblings: dict[str, dict[int, dict[str, Any]]] = {}
    for entity in entities:
        for name, value in entity.items():
            type_ = REFERENCES.get(name) or REFERENCE_LISTS.get(name)
            if type_ is None:
                continue
            for id_ in value if isinstance(value, list | tuple) else (value,):
                target = world.find(type_, id_) if isinstance(id_, int) else None
                if target is not None:
                    siblings.setdefault(BY_TYPE[type_].list_key, {})[target["id"]] = dict(target)
    return {key: list(found.values()) for key, found in siblings.items()}
