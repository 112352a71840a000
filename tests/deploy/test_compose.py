"""Checks docker-compose.yml without an engine: its form, what it refers to, its commands and its confinement.

compose_spec.json is the schema that docker-compose 1.29.2 validates with (its compose/config/compose_spec.json,
Apache-2.0, unchanged): the older of the two programs that have to read the file.
"""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from anyio import run_process
from cryptography.fernet import Fernet
from jsonschema import Draft201909Validator

from cli.main import app
from runtime.ops import ops_server
from runtime.process import DRAIN_S
from runtime.settings import HOOK_SECRET
from runtime.sink_settings import SubscriberSettings
from runtime.toml_reader import Secret

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SCRAPES: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "prometheus.yml").read_text("utf-8"))
CONFIG_TEXT = (ROOT / "deploy" / "tradewind.toml").read_text("utf-8")
CONFIG = tomllib.loads(CONFIG_TEXT)
DEMO_CONFIG_TEXT = (ROOT / "deploy" / "demo" / "tradewind.toml").read_text("utf-8")
DEMO_ENV: dict[str, str] = dict(
    line.split("=", 1)
    for line in (ROOT / "deploy" / "demo" / "compose.env").read_text("utf-8").splitlines()
    if not line.startswith("#")
)
OURS = sorted(name for name, service in SERVICES.items() if service["image"].startswith("tradewind:"))
STAGE = ["day", "servicetrade", "subscriber"]
"""Around the pipeline in the profile `demo`."""
WORKERS = [name for name in OURS if name not in ("topics", *STAGE)]


def resolved(text: str) -> str:
    """With every variable replaced by its default."""
    return re.sub(r"\$\{\w+:-(.*?)\}", r"\1", text)


def seconds(duration: str) -> float:
    """A duration as Compose spells it, of one unit."""
    return float(duration[:-1]) * {"s": 1, "m": 60}[duration[-1]]


def published(service: dict[str, Any]) -> list[str]:
    """Its ports entries, each variable replaced by its default."""
    return [resolved(port) for port in service.get("ports", [])]


def ops_port(name: str) -> int:
    """The port that deploy/tradewind.toml gives a worker."""
    if name == "sink-forward":
        return int(CONFIG["sinks"]["forward_ops_port"])
    table = CONFIG["sinks"][name.removeprefix("sink-")] if name.startswith("sink-") else CONFIG[name]
    return int(table["ops_port"])


def test_the_file_is_valid_by_the_schema_of_compose() -> None:
    schema = json.loads(Path(__file__).with_name("compose_spec.json").read_text("utf-8"))
    errors = Draft201909Validator(schema).iter_errors(COMPOSE)
    assert [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in errors] == []


def test_it_runs_a_process_of_every_kind_and_two_processors() -> None:
    assert WORKERS == ["ingest", "processors", "sink-command", "sink-forward", "sink-mirror"]
    assert set(SERVICES) == {*WORKERS, *STAGE, "topics", "kafka", "postgres", "prometheus"}
    assert SERVICES["processors"]["scale"] == 2


def test_only_what_is_asked_for_runs_besides() -> None:
    profiles = {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service}
    assert profiles == {**{name: ["demo"] for name in STAGE}, "sink-forward": ["forward", "demo"]}


@pytest.mark.parametrize("name", [*WORKERS, "topics", "day"])
def test_every_command_is_one_that_tradewind_has(name: str) -> None:
    command, _, _ = app.parse_args(SERVICES[name]["command"], exit_on_error=False, print_error=False)
    assert command.__name__ == {"day": "demo_day"}.get(name, name.removeprefix("sink-"))


@pytest.mark.parametrize("name", WORKERS)
def test_every_worker_can_be_asked_from_other_containers(name: str) -> None:
    _, bound, _ = app.parse_args(SERVICES[name]["command"], exit_on_error=False, print_error=False)
    assert bound.arguments["ops_host"] == "0.0.0.0"


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_image_is_pinned_by_an_exact_version(name: str) -> None:
    assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+(\.\d+)?(-[a-z]+)?", resolved(SERVICES[name]["image"]))


def test_our_image_has_the_version_of_the_project() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert {SERVICES[name]["image"] for name in OURS} == {f"tradewind:{version}"}


@pytest.mark.parametrize("name", OURS)
def test_our_processes_are_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["user"] == "10001:10001"
    assert [entry.partition(":")[0] for entry in service["tmpfs"]] == ["/tmp"]  # noqa: S108 - inside the container
    # What ingest answered 2xx while Kafka was away has to outlive its container; nothing else writes.
    written = ["spool:/var/lib/tradewind"] if name == "ingest" else []
    assert [volume for volume in service["volumes"] if not volume.endswith(":ro")] == written


def test_the_image_is_built_on_the_base_that_the_dockerfile_names() -> None:
    assert [name for name, service in SERVICES.items() if "build" in service] == ["topics"]
    arguments = SERVICES["topics"]["build"]["args"]
    assert f"ARG PYTHON_IMAGE={resolved(arguments['PYTHON_IMAGE'])}\n" in (ROOT / "Dockerfile").read_text("utf-8")
    assert {name for name, value in arguments.items() if not resolved(value)} == {"PIP_INDEX_URL", "PIP_NO_INDEX"}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_container_gives_up_privileges_and_has_limits(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert {"mem_limit", "cpus", "pids_limit", "logging"} <= service.keys()


@pytest.mark.parametrize("name", OURS)
def test_a_stopping_process_has_time_to_drain(name: str) -> None:
    assert seconds(SERVICES[name]["stop_grace_period"]) > DRAIN_S


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"topics", "day", "subscriber"}))
def test_everything_that_stays_up_is_restarted_and_has_a_health_check(name: str) -> None:
    assert SERVICES[name]["restart"] == "unless-stopped"
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"


def test_only_ingest_is_published_and_prometheus_and_both_on_loopback() -> None:
    ports = {name: published(service) for name, service in SERVICES.items() if "ports" in service}
    assert ports == {"ingest": [f"127.0.0.1:8080:{CONFIG['ingest']['port']}"], "prometheus": ["127.0.0.1:9090:9090"]}


def test_the_broker_and_the_database_are_reached_from_the_inside_only() -> None:
    assert COMPOSE["networks"]["inside"]["internal"] is True
    assert {name for name, service in SERVICES.items() if service["networks"] == ["inside"]} == {
        "kafka",
        "postgres",
        "processors",
        "topics",
        *STAGE,
    }
    assert all("inside" in service["networks"] for service in SERVICES.values())


def test_nothing_starts_before_what_it_needs() -> None:
    needs = {
        name: {other: how["condition"] for other, how in service.get("depends_on", {}).items()}
        for name, service in SERVICES.items()
    }
    completed = {"topics": "service_completed_successfully"}
    assert needs["topics"] == {"kafka": "service_healthy"}
    assert needs["ingest"] == needs["processors"] == completed
    for sink in ("sink-mirror", "sink-command", "sink-forward"):
        assert needs[sink] == {**completed, "postgres": "service_healthy"}
    assert needs["day"] == dict.fromkeys([*WORKERS, "servicetrade"], "service_healthy")


def test_everything_referred_to_exists() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = resolved(volume).split(":")[0]
            assert (ROOT / source).exists() if source.startswith("./") else source in COMPOSE["volumes"]
        assert set(service.get("secrets", [])) <= COMPOSE["secrets"].keys()
        assert set(service["networks"]) <= COMPOSE["networks"].keys()
        assert service.get("depends_on", {}).keys() <= SERVICES.keys()


@pytest.mark.parametrize("name", [*WORKERS, "topics", "day"])
def test_our_processes_get_the_secrets_that_the_configuration_names(name: str) -> None:
    for text in (CONFIG_TEXT, DEMO_CONFIG_TEXT):
        assert set(SERVICES[name]["secrets"]) == set(re.findall(r"/run/secrets/(\w+)", text))


def test_every_secret_is_a_file_that_is_explained_and_kept_out_of_git() -> None:
    folder = ROOT / "deploy" / "secrets"
    explained = (folder / "README.md").read_text("utf-8")
    for name, secret in COMPOSE["secrets"].items():
        assert resolved(secret["file"]) == f"./deploy/secrets/{name}"
        assert f"| `{name}` |" in explained
    rules = [line for line in (folder / ".gitignore").read_text("utf-8").splitlines() if not line.startswith("#")]
    assert rules == ["*", "!.gitignore", "!README.md"]


@pytest.mark.parametrize("demo", [True, False])
def test_the_script_makes_every_secret_and_none_twice(tmp_path: Path, demo: bool) -> None:
    command = [str(ROOT / "deploy" / "make-secrets.sh"), *(["--demo"] if demo else []), str(tmp_path / "secrets")]
    if not demo:
        (tmp_path / "secrets").mkdir()
        (tmp_path / "secrets" / "main_password").write_text("said before")
    subprocess.run(command, check=True, capture_output=True)
    made = {path.name: path.read_text("utf-8") for path in (tmp_path / "secrets").iterdir()}
    assert made.keys() == COMPOSE["secrets"].keys()
    assert Fernet(made["store_key"].strip()).encrypt(b"x")
    assert HOOK_SECRET.fullmatch(made["main_hook_secret"].strip())
    assert SubscriberSettings(url="https://a.test", secret=Secret(made["subscriber_whsec"].strip())).keys
    assert (made["main_password"] == "said before") is not demo
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    again = subprocess.run(command, check=True, capture_output=True)
    assert again.stdout == b""
    assert {path.name: path.read_text("utf-8") for path in (tmp_path / "secrets").iterdir()} == made


def test_the_demo_is_the_same_pipeline_in_front_of_the_simulator() -> None:
    demo = tomllib.loads(DEMO_CONFIG_TEXT)
    assert demo.pop("servicetrade") == {"base_url": "http://servicetrade:8090"}
    assert demo["ingest"].pop("public_url") == f"http://ingest:{CONFIG['ingest']['port']}"
    assert demo["sinks"].pop("forward").keys() == {"subscriber"}
    assert demo == CONFIG
    assert SERVICES["servicetrade"]["command"][-1] == "8090"
    assert (DEMO_ENV.pop("COMPOSE_PROJECT_NAME"), DEMO_ENV.pop("COMPOSE_PROFILES")) == ("tradewind-demo", "demo")
    text = (ROOT / "docker-compose.yml").read_text("utf-8")
    found = {name: re.findall(rf"\$\{{{name}:-(.*?)\}}", text) for name in DEMO_ENV}
    # Nothing of it is where a real pipeline has it: neither files nor ports.
    assert all(defaults and DEMO_ENV[name] not in defaults for name, defaults in found.items())
    assert found.keys() == set(re.findall(r"\$\{(\w+):-(?:\./|127)", text))
    assert all((ROOT / DEMO_ENV[name]).exists() for name in ("TRADEWIND_TOML", "TRADEWIND_SECRETS"))


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_no_secret_is_in_the_environment(name: str) -> None:
    suspicious = re.compile("PASSWORD|SECRET|TOKEN|KEY|CREDENTIAL")
    environment = SERVICES[name].get("environment", {})
    assert [key for key in environment if suspicious.search(key) and not key.endswith("_FILE")] == []
    assert "env_file" not in SERVICES[name]


def test_the_database_is_the_one_that_the_configuration_names() -> None:
    made = SERVICES["postgres"]["environment"]
    assert CONFIG["store"]["url"] == f"postgresql+asyncpg://{made['POSTGRES_USER']}@postgres/{made['POSTGRES_DB']}"
    assert CONFIG["store"]["password"]["file"] == made["POSTGRES_PASSWORD_FILE"]


def test_the_broker_is_advertised_where_the_configuration_looks_for_it() -> None:
    assert SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"].endswith(
        f"//{CONFIG['kafka']['bootstrap_servers']}"
    )


def test_prometheus_scrapes_every_worker_where_it_serves_metrics() -> None:
    (job,) = SCRAPES["scrape_configs"]
    (lookup,) = job["dns_sd_configs"]
    assert sorted(lookup["names"]) == WORKERS
    assert {lookup["port"]} == {ops_port(name) for name in WORKERS}


@pytest.mark.anyio
@pytest.mark.parametrize("name", WORKERS)
@pytest.mark.parametrize("ready", [True, False])
async def test_the_health_check_asks_the_worker_whether_it_is_ready(name: str, ready: bool) -> None:
    _, _, flag, script = SERVICES[name]["healthcheck"]["test"]
    assert script.count(str(ops_port(name))) == 1
    async with ops_server("127.0.0.1", 0, lambda: {"broker": ready}) as port:
        asked = await run_process([sys.executable, flag, script.replace(str(ops_port(name)), str(port))], check=False)
    assert (asked.returncode == 0) is ready


def test_the_health_check_fails_when_nobody_listens() -> None:
    _, _, flag, script = SERVICES["ingest"]["healthcheck"]["test"]
    asked = subprocess.run(
        [sys.executable, flag, script.replace(str(ops_port("ingest")), "1")], capture_output=True, check=False
    )
    assert asked.returncode != 0
