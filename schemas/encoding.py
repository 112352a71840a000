"""The one place that knows how JSON is read and written."""

from __future__ import annotations

from typing import Any

import orjson


def encode(value: Any) -> bytes:
    """Compact UTF-8 JSON of plain values and dataclasses, fields in their order of definition."""
    return orjson.dumps(value)


def encode_canonical(value: Any) -> bytes:
    """JSON with sorted keys: equal values give equal bytes, so it can be hashed and compared."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def decode(data: bytes) -> Any:
    """Read JSON.

    Raises:
        ValueError: not JSON, not UTF-8, or nested deeper than the parser allows (1,024 levels).
    """
    return orjson.loads(data)
