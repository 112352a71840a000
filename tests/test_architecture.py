"""Who may import what, held against the code's own imports."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = (
    "schemas",
    "runtime",
    "servicetrade",
    "ingest",
    "processors",
    "sinks",
    "audit",
    "rules",
    "views",
    "doctor",
    "replay",
    "fleet",
    "demo",
    "cli",
)
SIMULATOR = "servicetrade.simulator"

DRIVERS = {
    "orjson": {"schemas/encoding.py"},
    "faust": {"processors/faust_batches.py"},
    "mode": {"processors/faust_batches.py"},
    "aiokafka": {"runtime/kafka/"},
    "sqlalchemy": {
        "runtime/database.py",
        "runtime/migrations/",
        "runtime/store_",
        "servicetrade/session_store.py",
        "sinks/backfill_store.py",
        "sinks/command_store.py",
        "sinks/memory_store.py",
        "sinks/mirror_store.py",
        "sinks/open_letters.py",
        "sinks/parking_store.py",
        "views/status_store.py",
    },
    "alembic": {"runtime/migrations/", "runtime/store_migration.py"},
    "httpx": {
        "runtime/http.py",
        "servicetrade/account.py",
        "servicetrade/client.py",
        "servicetrade/auth.py",
        "servicetrade/simulator/sender.py",
        "sinks/context.py",
        "sinks/custom.py",
        "sinks/forward_http.py",
        "demo/simulator.py",
    },
    "httptools": {"ingest/connection.py"},
    "pydantic": {"schemas/generate.py"},
    "prometheus_client": {"runtime/metrics.py"},
}
"""Which files, or folders, may know a driver library."""

WORKERS = {"ingest", "processors", "sinks"}
MAY_IMPORT = {
    "schemas": set[str](),
    "runtime": {"schemas"},
    "servicetrade": {"schemas", "runtime"},
    "ingest": {"schemas", "runtime"},
    "processors": {"schemas", "runtime"},
    "sinks": {"schemas", "runtime", "servicetrade"},
    "audit": {"schemas", "runtime", "processors"},
    "views": {"schemas", "runtime", "servicetrade", "processors", "sinks", "fleet"},
    "doctor": {"schemas", "runtime", "servicetrade", "views"},
    "rules": {"schemas", "runtime", "processors"},
    "replay": {"schemas", "runtime", "processors", "rules"},
    "fleet": {"schemas", "runtime"},
    "demo": {"schemas", "runtime", "servicetrade", "rules", "fleet", *WORKERS},
    "cli": {
        "schemas",
        "runtime",
        "servicetrade",
        *WORKERS,
        "rules",
        "audit",
        "views",
        "doctor",
        "replay",
        "fleet",
        "demo",
    },
}
IMPURE = {"time", "asyncio", "logging", "os", "socket", "threading", "subprocess", "pathlib", "sqlite3"}


def python_files() -> list[Path]:
    return sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield node.module or ""


def docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text())) or ""


def pure_files() -> list[Path]:
    return [path for path in python_files() if docstring(path).startswith("Pure:")]


@pytest.mark.parametrize("path", python_files(), ids=name_of)
def test_a_file_opens_with_a_sentence_that_says_its_job(path: Path) -> None:
    assert docstring(path).split("\n")[0].rstrip().endswith((".", ":")), name_of(path)


@pytest.mark.parametrize("path", python_files(), ids=name_of)
def test_a_driver_library_is_known_only_to_its_adapters(path: Path) -> None:
    for module in imports(path):
        allowed = DRIVERS.get(module.split(".")[0])
        known = allowed is None or name_of(path).startswith(tuple(allowed))
        assert known, f"{name_of(path)} imports {module}"


@pytest.mark.parametrize("path", python_files(), ids=name_of)
def test_imports_go_one_way(path: Path) -> None:
    room = name_of(path).split("/")[0]
    for module in imports(path):
        other = module.split(".")[0]
        assert other == room or other not in ROOMS or other in MAY_IMPORT[room], f"{name_of(path)} imports {module}"


@pytest.mark.parametrize("path", python_files(), ids=name_of)
def test_nothing_in_the_product_knows_the_simulator(path: Path) -> None:
    if name_of(path).startswith(SIMULATOR.replace(".", "/")):
        return
    assert not [module for module in imports(path) if module.startswith(SIMULATOR)]


@pytest.mark.parametrize("path", pure_files(), ids=name_of)
def test_a_pure_file_knows_no_clock_no_io_and_no_library(path: Path) -> None:
    pure = {name_of(other).removesuffix(".py").replace("/", ".") for other in pure_files()}
    for module in imports(path):
        top = module.split(".")[0]
        known = top in sys.stdlib_module_names or top == "schemas" or module in pure
        assert known and top not in IMPURE, f"{name_of(path)} imports {module}"  # noqa: PT018 (one statement, one sentence)
    for node in ast.walk(ast.parse(path.read_text())):
        assert not isinstance(node, ast.AsyncFunctionDef | ast.Await), f"{name_of(path)}:{node.lineno} awaits"


def test_the_core_is_pure() -> None:
    core = {"notification", "duplicates", "rules", "window", "consolidator"}
    assert {f"processors/{name}.py" for name in core} <= {name_of(path) for path in pure_files()}


def test_imports_make_no_circle() -> None:
    graph: dict[str, set[str]] = {}
    for path in python_files():
        module = name_of(path).removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        graph[module] = {name for name in imports(path) if name.split(".")[0] in ROOMS}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail, module))
        if module in done or module not in graph:
            return
        for other in graph[module]:
            visit(other, (*trail, module))
        done.add(module)

    for module in graph:
        visit(module, ())
