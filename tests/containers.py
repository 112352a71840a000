"""The tests' Kafka and PostgreSQL in containers instead of embedded: TRADEWIND_TEST_BACKEND=containers.

Their images and variables are those of docker-compose.yml; TRADEWIND_KAFKA_IMAGE and TRADEWIND_POSTGRES_IMAGE name
others.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from testcontainers.core.container import DockerContainer

from runtime.broker import answers
from runtime.broker_config import HOST, free_port

_START_S = 120.0
_POLL_S = 0.1
_CLIENT_PORT, _POSTGRES_PORT = 9092, 5432
_PASSWORD = "only-for-tests"
"""Of a database that lives as long as the tests."""


def in_containers() -> bool:
    """Whether this run of the tests takes containers.

    Raises:
        ValueError: TRADEWIND_TEST_BACKEND is neither `embedded` nor `containers`.
    """
    backend = os.environ.get("TRADEWIND_TEST_BACKEND", "embedded")
    if backend not in ("embedded", "containers"):
        raise ValueError(f"TRADEWIND_TEST_BACKEND is embedded or containers, found {backend!r}")
    return backend == "containers"


@contextmanager
def kafka_container() -> Iterator[str]:
    """A broker for as long as the block lasts; gives its bootstrap servers."""
    port = free_port()
    container = _container("kafka", _CLIENT_PORT, port)
    container.with_env("KAFKA_ADVERTISED_LISTENERS", f"BROKER://{HOST}:{port}")
    with container:
        _wait(container, lambda: answers(port))
        yield f"{HOST}:{port}"


@contextmanager
def postgres_container() -> Iterator[str]:
    """A PostgreSQL for as long as the block lasts; gives what stands before a database's name in SQLAlchemy's URL."""
    port = free_port()
    container = _container("postgres", _POSTGRES_PORT, port)
    container.env.pop("POSTGRES_PASSWORD_FILE")
    container.with_env("POSTGRES_PASSWORD", _PASSWORD)
    user = container.env["POSTGRES_USER"]
    ask = ["pg_isready", "--quiet", "--host=127.0.0.1", f"--username={user}"]
    with container:
        _wait(container, lambda: container.exec(ask).exit_code == 0)
        yield f"postgresql+asyncpg://{user}:{_PASSWORD}@{HOST}:{port}"


def _container(service: str, port_inside: int, port: int) -> DockerContainer:
    """As docker-compose.yml has it, but for its networks and volumes; published on loopback."""
    text = (Path(__file__).parents[1] / "docker-compose.yml").read_text("utf-8")
    described: dict[str, Any] = yaml.safe_load(text)["services"][service]
    variable, default = re.fullmatch(r"\$\{(\w+):-(.+)\}", described["image"]).groups()  # type: ignore[union-attr]
    container = DockerContainer(os.environ.get(variable, default), env=dict(described["environment"]))
    container.ports[f"{port_inside}/tcp"] = (HOST, port)  # type: ignore[assignment] # with_bind_ports knows no address
    return container.with_kwargs(shm_size=described.get("shm_size"))


def _wait(container: DockerContainer, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _START_S
    while not condition():
        if time.monotonic() > deadline:
            said = b"".join(container.get_logs()).decode("utf-8", "replace")
            raise TimeoutError(f"{container.image} did not answer within {_START_S:.0f} s:\n{said[-2000:]}")
        time.sleep(_POLL_S)
