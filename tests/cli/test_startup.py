"""What a command loads: nobody waits for a driver that the command does not need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_main import CONFIG, ENVIRONMENT

RUN = """
import sys
from cli.main import main
sys.argv = ["tradewind", *sys.argv[1:]]
try:
    main()
finally:
    print("\\nloaded:", *sorted({name.split(".")[0] for name in sys.modules}))
"""
RULES = """
[defaults]
quiet_s = 1
[[examples]]
name = "a job that is created"
account = "acme"
given = [{ at = 0.0, type = "job", id = 1, action = "created" }]
expect = [{ type = "job", id = 1, action = "created" }]
"""


def loaded_by(*arguments: str, folder: Path, code: int) -> set[str]:
    """The packages that are loaded when the command ends."""
    command = [sys.executable, "-c", RUN, *arguments]
    environment = {**ENVIRONMENT, "PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=60, cwd=folder, check=False, env=environment
    )
    assert ended.returncode == code, ended.stderr
    return set(ended.stdout.rsplit("loaded:", 1)[1].split())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tradewind.toml").write_text(CONFIG)
    (tmp_path / "rules.toml").write_text(RULES)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "code", "not_needed"),
    [
        (("--version",), 0, {"aiokafka", "sqlalchemy", "httpx", "faust", "cryptography"}),
        (("--help",), 0, {"aiokafka", "sqlalchemy", "httpx", "faust"}),
        (("rules", "check", "rules.toml"), 0, {"aiokafka", "sqlalchemy", "httpx", "faust"}),
        (("rules", "test", "rules.toml"), 0, {"aiokafka", "sqlalchemy", "httpx", "faust"}),
        # The broker of this configuration is not there: all is loaded by then.
        (("story", "job/1", "--account", "acme"), 1, {"sqlalchemy", "httpx", "faust"}),
        (("rules", "show"), 1, {"sqlalchemy", "httpx", "faust"}),
        (("replay", "--from", "1h", "--into", "shadow"), 1, {"sqlalchemy", "httpx", "faust"}),
        (("deadletters", "list"), 1, {"sqlalchemy", "httpx", "faust"}),
        # This one waits for its broker.
        (("tail", "changes", "--since", "yesterday"), 2, {"sqlalchemy", "httpx", "faust"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_command_loads_no_driver_that_it_does_not_need(
    folder: Path, arguments: tuple[str, ...], code: int, not_needed: set[str]
) -> None:
    loaded = loaded_by(*arguments, folder=folder, code=code)
    assert "cli" in loaded
    assert not loaded & not_needed


def test_a_custom_sink_imports_what_it_needs_from_one_place() -> None:
    code = "import sys, sinks; assert 'httpx' not in sys.modules; from sinks import *; print(Context, Reject)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout
    assert said.split() == ["<class", "'sinks.context.Context'>", "<class", "'schemas.errors.Reject'>"]
    missing = "import sinks; sinks.Contxt"
    ended = subprocess.run([sys.executable, "-c", missing], capture_output=True, text=True, timeout=60, check=False)
    assert "module 'sinks' has no attribute 'Contxt'" in ended.stderr
