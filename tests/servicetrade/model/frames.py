"""Reads what a suspended coroutine will remember: its frames, the locals that it may still read, what it has caught.

Two coroutines of the same code for which `remembered` is equal go on in the same way when they are given the same.
"""

from __future__ import annotations

import dis
import gc
import types
from collections.abc import Coroutine, Hashable, Iterable
from contextlib import suppress
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

from runtime.toml_reader import Secret
from servicetrade.login import SharedLogin

LATE_S = 1e6
"""A float from here on is a time after everything that was awaited; below, how large it is makes no difference."""

TOLD_TO_OTHERS = frozenset({"_proof", "found_dead"})
"""What a SharedLogin keeps only for `servicetrade.session` to ask for: to what it does itself it is nothing."""

_LEAVE = ("RETURN_VALUE", "RETURN_CONST", "RERAISE", "RAISE_VARARGS")


class Changeless:
    """Marks what holds nothing that changes."""


def remembered(coroutine: Coroutine[Any, Any, Any]) -> Hashable:
    """The state of a suspended coroutine and of all that it awaits, as something to compare and to hash."""
    chain: list[Hashable] = []
    awaited: Any = coroutine
    while awaited is not None:
        is_generator = isinstance(awaited, types.GeneratorType)
        frame = awaited.gi_frame if is_generator else awaited.cr_frame
        local = frame.f_locals
        live = [(name, frozen(local[name])) for name in _live_locals(frame.f_code)[frame.f_lasti] if name in local]
        # Inside `finally` and `except` what was caught lives on the frame's stack, where only the collector looks.
        caught = [frozen(item) for item in gc.get_referents(awaited) if isinstance(item, BaseException)]
        chain.append((frame.f_code.co_qualname, frame.f_lasti, tuple(live), tuple(caught)))
        awaited = awaited.gi_yieldfrom if is_generator else awaited.cr_await
    return tuple(chain)


def frozen(value: Any) -> Hashable:
    """The value as something to compare and to hash. Raises TypeError for a kind of value that is not known."""
    parts: Iterable[Any]
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return "late" if value >= LATE_S else (value > 0) - (value < 0)
        case Secret():
            parts = (value.reveal(),)
        case tuple():
            parts = value
        case BaseException():
            parts = (value.args, *vars(value).values())
        case SharedLogin():
            parts = (item for name, item in vars(value).items() if name not in TOLD_TO_OTHERS)
        case _ if is_dataclass(value):
            parts = (getattr(value, field.name) for field in fields(value))
        case _ if callable(value) or isinstance(value, Changeless):
            parts = ()
        case _:
            raise TypeError(f"cannot tell whether two of these are equal: {value!r}")
    return type(value).__name__, *map(frozen, parts)


def abandon(coroutine: Coroutine[Any, Any, Any]) -> None:
    """End a suspended coroutine for good, whatever it still wants to do."""
    with suppress(_Abandoned):
        while True:
            coroutine.throw(_Abandoned)


class _Abandoned(BaseException):
    """Ends a coroutine; BaseException, so that nothing handles it."""


@cache
def _live_locals(code: types.CodeType) -> dict[int, tuple[str, ...]]:
    """For each instruction's offset, the locals that may be read after it before they are set (backward data flow).

    Without this a worker that waits would differ from itself by what it read last time and will never look at again.
    """
    steps = list(dis.get_instructions(code))
    handlers: list[Any] = dis.Bytecode(code).exception_entries  # type: ignore[attr-defined]
    successors: dict[int, set[int]] = {}
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        goes_to = {int(entry.target) for entry in handlers if entry.start <= step.offset < entry.end}
        if step.opcode in dis.hasjrel or step.opcode in dis.hasjabs:
            goes_to.add(step.argval)
        always_jumps = step.opname.startswith("JUMP_") and not step.opname.startswith("JUMP_IF")
        if following is not None and not always_jumps and step.opname not in _LEAVE:
            goes_to.add(following.offset)
        successors[step.offset] = goes_to
    before: dict[int, frozenset[str]] = dict.fromkeys(successors, frozenset())
    after: dict[int, frozenset[str]] = {}
    while True:
        after_now = {
            offset: frozenset().union(*(before[to] for to in goes_to)) for offset, goes_to in successors.items()
        }
        if after_now == after:
            shared = {*code.co_cellvars, *code.co_freevars}  # also read by other functions
            return {offset: tuple(sorted(names | shared)) for offset, names in after.items()}
        after = after_now
        for step in steps:
            names = step.argval if isinstance(step.argval, tuple) else (step.argval,)
            if step.opname in ("STORE_FAST", "DELETE_FAST"):
                before[step.offset] = after[step.offset].difference(names)
            elif "_FAST" in step.opname:
                before[step.offset] = after[step.offset].union(names)
            else:
                before[step.offset] = after[step.offset]
