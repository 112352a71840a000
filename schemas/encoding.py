"""The one place that knows how JSON is read and written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

# The library's own functions under our names: the processors call them for every notification.

encode: Callable[[Any], bytes] = orjson.dumps
"""Compact UTF-8 JSON of plain values and dataclasses, fields in their order of definition."""

decode: Callable[[bytes], Any] = orjson.loads
"""Read JSON.

Raises:
    ValueError: not JSON, not UTF-8, or nested deeper than the parser allows (1,024 levels).
"""


def encode_canonical(value: Any) -> bytes:
    """JSON with sorted keys: equal values give equal bytes, so it can be hashed and compared."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
