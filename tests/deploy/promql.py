"""Which metrics and labels an expression of Prometheus asks for; whether it is one, promtool says."""

from __future__ import annotations

import re

FROM_PROMETHEUS = {"service", "instance", "job", "le"}
"""Labels that Prometheus adds, and the one of a histogram's buckets."""

_SELECTOR = re.compile(r"\b(tradewind_\w+|up)\b(?=\s*(?:[{\[)>=!<}\-+*/]|offset|$))")
_MATCHERS = re.compile(r"\{([^}]*)\}")
_GROUPED = re.compile(r"\b(?:by|on|without|ignoring) \(([^)]*)\)")


def asked_metrics(expr: str) -> set[str]:
    """Names, of a histogram without the ending."""
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in _SELECTOR.findall(expr)}


def asked_labels(expr: str) -> set[str]:
    """Names, in matchers and in groupings."""
    matched = {name for text in _MATCHERS.findall(expr) for name in re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"', text)}
    grouped = {name.strip() for text in _GROUPED.findall(expr) for name in text.split(",") if name.strip()}
    return matched | grouped
