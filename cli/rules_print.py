"""How rules, findings and the results of examples look to a person."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from cli.console import ERR
from processors.rules_check import CheckedRules
from processors.rules_examples import ExampleResult, describe, notification_of, tally
from processors.rules_file import located
from processors.rules_history import RulesEntry
from sinks.letter_view import printable
from views.story_why import why_filtered

_COLOURS = {"error": "bold red", "warning": "yellow"}
_WIDTH = 16


def line(console: Console, text: str, *, style: str = "") -> None:
    """One line as it is, however wide; what a terminal would obey is made visible."""
    console.print(f"[{style}]{escape(printable(text))}[/]" if style else escape(printable(text)), **_AS_IS)


_AS_IS: Mapping[str, Any] = {"highlight": False, "soft_wrap": True}


def print_findings(console: Console, path: Path, checked: CheckedRules) -> None:
    """Each finding in a line, as compilers do, and how many there are."""
    for finding in checked.findings:
        place, _, sentence = located(path, finding).partition(str(finding))
        console.print(
            f"{escape(printable(place))}[{_COLOURS[finding.severity]}]{finding.severity}[/]: "
            f"{escape(printable(sentence or str(finding)))}",
            **_AS_IS,
        )


def count_findings(checked: CheckedRules) -> str:
    """How many errors and warnings there are, in words."""
    counts = (("error", len(checked.errors)), ("warning", len(checked.warnings)))
    return ", ".join(f"{count} {what}{'' if count == 1 else 's'}" for what, count in counts if count)


def print_examples(console: Console, path: Path, results: Sequence[ExampleResult], *, all_of_them: bool) -> None:
    """The examples that failed, or all, each with what was expected and what came; and how many there are."""
    for result in results:
        if all_of_them or not result.passed:
            _print_example(console, path, result)
    if results:
        line(console, tally(results))


def _print_example(console: Console, path: Path, result: ExampleResult) -> None:
    example = result.example
    mark, style = ("pass", "green") if result.passed else ("FAIL", "bold red")
    where = f"{path}:{example.line}" if example.line else str(path)
    console.print(f"[{style}]{mark}[/]  {escape(printable(f'{where}: {example.name} ({example.account})'))}", **_AS_IS)
    if result.passed:
        return
    for fault in result.faults:
        line(console, f"      {fault.about}: {fault.what}")
        line(console, f"        expected  {'nothing' if fault.expected is None else fault.expected}", style="green")
        line(console, f"        got       {'nothing' if fault.got is None else fault.got}", style="red")
    line(console, "      given")
    for given, verdict in zip(example.given, result.verdicts, strict=True):
        by = "" if given.user is None else f" by {given.user}"
        why = why_filtered(result.rules, notification_of(given)) if verdict == "filtered" else None
        told = f"{given.entity} {given.action}{by}: {verdict}{f': {why}' if why else ''}"
        line(console, f"        {given.at_ms / 1000:>8.3f} s  {told}")
    line(console, "      got" if result.changes else "      got no change")
    for change in result.changes:
        line(console, f"        {change.subject}: {describe(change)}")


# -- rules -------------------------------------------------------------------------------------------------------------


def place_of(entry: RulesEntry) -> str:
    """The position as all of the command line writes it."""
    return f"{entry.entry.topic}[{entry.entry.partition}] offset {entry.entry.offset}"


def rules_lines(rules: Mapping[str, Any]) -> Iterable[str]:
    """Resolved rules, a line per entity type; the fields that are as in the line for all types are left out."""
    default = rules.get("default")
    if not isinstance(default, dict) or not isinstance(rules.get("types"), dict):
        yield f"{'?':<{_WIDTH}}{rules}"
        return
    yield f"{'every type':<{_WIDTH}}{_rule_text(default)}"
    for name, rule in sorted(rules["types"].items()):
        if isinstance(rule, dict):
            different = {key: value for key, value in rule.items() if default.get(key) != value}
            yield f"{name:<{_WIDTH}}{_rule_text(different) if different else 'like every type'}"


def _rule_text(rule: Mapping[str, Any]) -> str:
    if rule.get("keep") is False:
        return "dropped"
    return "; ".join(_key_text(name, rule[name]) for name in _ORDER if name in rule) or str(dict(rule))


_ORDER = ("keep", "actions", "fields", "ignore_users", "quiet_ms", "ceiling_ms")


def _key_text(name: str, value: Any) -> str:
    if name == "keep":
        return "kept" if value else "dropped"
    if name.endswith("_ms") and isinstance(value, int):
        return f"{name.removesuffix('_ms')} {value / 1000:g} s"
    if name == "ignore_users":
        return f"not what users {', '.join(map(str, value))} did" if value else "whoever did it"
    if value is None:
        return f"all {name}"
    return f"{name} {', '.join(map(str, value))}" if value else f"no {name}"


def differences(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> Iterable[str]:
    """What is different in the later of two resolved rules, a line per rule; `before` None: they are the first."""
    if before is None:
        yield from rules_lines(after)
        return
    was, now = _by_name(before), _by_name(after)
    for name in [key for key in dict.fromkeys((*now, *was)) if was.get(key) != now.get(key)]:
        told = name or "every type"
        if name not in now:
            yield f"{told:<{_WIDTH}}no rule of its own any more"
        else:
            # A type without a rule of its own had the one for every type.
            old = was.get(name, was.get("", {}))
            changed = {key: value for key, value in now[name].items() if old.get(key) != value}
            if changed:
                said = (f"{_key_text(key, changed[key])} (was: {_key_text(key, old.get(key))})" for key in changed)
                yield f"{told:<{_WIDTH}}{'; '.join(said)}"


def _by_name(rules: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The default under the empty name, and the types."""
    return {"": rules.get("default", {}), **dict(sorted(rules.get("types", {}).items()))}


def warn_foreign(count: int) -> None:
    """Say that the topic holds what it should not."""
    if count:
        line(ERR, f"{count:,} records on tradewind.rules are no rules of ours: see `tradewind audit`")
