"""The `tradewind` command: reads the configuration and starts what was asked for."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from cli.console import (
    DEFAULT_CONFIG,
    ERR,
    FAILED,
    LOOPBACK,
    MISCONFIGURED,
    OK,
    OUT,
    Config,
    Instance,
    OpsHost,
    OpsPort,
)
from cli.messages import complain
from cli.pipe import while_somebody_reads
from cli.progress import progress
from runtime.process import run_process
from runtime.settings import Settings, read_settings
from schemas.errors import ServiceTradeError, TradewindError


def _version() -> str:
    from importlib.metadata import version

    return version("tradewind")


app = App(
    name="tradewind",
    help="Event-stream pipeline for ServiceTrade: no webhook lost, one actionable change per entity.",
    version=_version,
    version_format="plaintext",
)
app.command("cli.rules:rules_app", name="rules", help="Filters and waiting times per account.")
app.command("cli.sink:sink_app", name="sink", help="Run a sink: a worker that acts on every change.")
app.command("cli.mirror:mirror_app", name="mirror", help="Fill the mirror with what was there before.")
app.command("cli.command:command_app", name="command", help="Have an API call performed on ServiceTrade.")
app.command("cli.deadletters:deadletters_app", name="deadletters", help="What could not be used or delivered.")
app.command("cli.session:session_app", name="session", help="The shared ServiceTrade session of each account.")
app.command("cli.secret:secret_app", name="secret", help="The secrets of the accounts' webhook URLs.")
app.command("cli.tail:tail_app", name="tail", help="Show changes, deliveries or dead letters as they come.")
app.command("cli.replay:replay", name="replay", help="Run the core over a part of the history again.")
app.command("cli.story:story", name="story", help="Show what happened to one entity, from webhook to delivery.")
app.command("cli.up:up", name="up", help="Run the whole pipeline on this machine, supervised.")
app.command("cli.status:status", name="status", help="Show how the whole pipeline is, on one screen.")
app.command("cli.doctor:doctor", name="doctor", help="Check the configuration and all that it names.")

_SUBSCRIPTIONS = {
    "subscribe": "Have ServiceTrade send the webhooks of an account to ingest.",
    "subscriptions": "Show what the accounts are subscribed to on ServiceTrade.",
    "unsubscribe": "End the subscription of an account on ServiceTrade.",
}
for _name, _help in _SUBSCRIPTIONS.items():
    app.command(f"cli.subscription:{_name}", name=_name, help=_help)


def main() -> None:
    """Entry point: every expected failure is one sentence on stderr and an exit code."""
    # Until a process sets its own logs up: a library's warnings are no part of what a person asked for.
    logging.getLogger().addHandler(logging.NullHandler())
    try:
        with while_somebody_reads():
            sys.exit(app())
    except SystemExit:  # an end is no failure: what is raised may be looked at below
        raise
    except KeyboardInterrupt:
        sys.exit(130)
    except ServiceTradeError as error:
        complain(str(error))
        sys.exit(FAILED)
    except TradewindError as error:
        complain(str(error))
        sys.exit(MISCONFIGURED)
    except _kafka_error() as error:
        complain(f"Kafka: {error}")
        sys.exit(FAILED)


def _kafka_error() -> type[Exception]:
    """What the Kafka adapter raises. Loads it: called once something was raised that is none of the above."""
    from runtime.kafka import KafkaError

    raised: type[Exception] = KafkaError
    return raised


@app.command
def ingest(*, config: Config = DEFAULT_CONFIG, ops_port: OpsPort = None, ops_host: OpsHost = LOOPBACK) -> int:
    """Receive webhooks and append them to servicetrade.webhooks."""
    from ingest.main import run

    settings = read_settings(config)
    port = settings.ingest.ops_port if ops_port is None else ops_port
    return _worker(
        settings, "ingest", lambda stop: run(settings, config=config, ops_host=ops_host, ops_port=port, stop=stop)
    )


@app.command
def processors(
    *,
    config: Config = DEFAULT_CONFIG,
    instance: Instance = None,
    ops_port: OpsPort = None,
    ops_host: OpsHost = LOOPBACK,
    accept_loss: Annotated[
        bool, Parameter(help="Go on although retention removed webhooks before they were processed.")
    ] = False,
) -> int:
    """Turn webhooks into changes."""
    from processors.main import run

    settings = read_settings(config)
    port = settings.processors.ops_port if ops_port is None else ops_port
    name = instance or f"processors-{socket.gethostname()}"
    return _worker(
        settings,
        name,
        lambda stop: run(settings, instance=name, ops_host=ops_host, ops_port=port, accept_loss=accept_loss, stop=stop),
    )


def _worker(settings: Settings, name: str, main: Callable[[asyncio.Event], Awaitable[None]]) -> int:
    return run_process(name, settings.log.level, main)


@app.command
def topics(*, config: Config = DEFAULT_CONFIG) -> int:
    """Create the Kafka topics; existing ones are compared and left alone."""
    from runtime.kafka.topics import ensure_topics

    report = asyncio.run(ensure_topics(read_settings(config).kafka))
    for name in report.created:
        OUT.print(f"created  {name}", highlight=False)
    for name in report.present:
        OUT.print(f"present  {name}", highlight=False)
    for sentence in report.wrong:
        ERR.print(f"[bold red]wrong[/]    {sentence}", highlight=False)
    return FAILED if report.wrong else OK


@app.command
def broker(*, config: Config = DEFAULT_CONFIG) -> None:
    """Run the embedded Apache Kafka broker in the foreground."""
    from runtime.broker import exec_broker, prepare

    settings = read_settings(config).broker
    exec_broker(prepare(settings.data_dir, port=settings.port, report=lambda line: ERR.print(line, highlight=False)))


@app.command
def audit(
    *,
    config: Config = DEFAULT_CONFIG,
    account: Annotated[tuple[str, ...], Parameter(help="Only this account (repeatable).", negative="")] = (),
    json: Annotated[bool, Parameter(help="Print everything, and every difference, as JSON.", negative="")] = False,
) -> int:
    """Run the core over the raw log again and compare the changes, dead letters and rules that are there, byte by byte.

    Exit code 0 if all agrees, 1 on any difference.
    """
    from audit.audit import audit as compare
    from audit.screen import EXAMPLES, show
    from schemas.encoding import encode

    settings = read_settings(config)
    with progress("auditing", "records") as watch:
        report = asyncio.run(compare(settings, accounts=account, keep=None if json else EXAMPLES, watch=watch))
    if json:
        sys.stdout.write(encode(report.as_json()).decode() + "\n")
    else:
        show(report, OUT)
    return OK if report.agrees else FAILED


@app.command
def key() -> None:
    """Print a new key for store.key; keep it in a file that only the pipeline can read."""
    from cryptography.fernet import Fernet

    OUT.print(Fernet.generate_key().decode(), highlight=False)


@app.command
def demo(
    *,
    keep: Annotated[bool, Parameter(help="Leave everything running until Ctrl-C.", negative="")] = False,
    folder: Annotated[Path, Parameter(help="Where the demo keeps its data and logs.")] = Path(".tradewind/demo"),
    notifications: Annotated[int, Parameter(help="How many notifications the office day has at least.")] = 2000,
    duration_s: Annotated[float, Parameter(help="How long the office day takes.")] = 40,
) -> int:
    """Run the whole pipeline on an embedded Kafka against a simulated ServiceTrade, and account for everything."""
    from demo.main import run_demo

    return run_demo(folder, keep=keep, notifications=notifications, duration_s=duration_s, out=OUT)


@app.command
def demo_day(
    *,
    config: Config = DEFAULT_CONFIG,
    rules: Annotated[Path | None, Parameter(help="Put this rules file in force first.")] = None,
    notifications: Annotated[int, Parameter(help="How many notifications the office day has at least.")] = 2000,
    duration_s: Annotated[float, Parameter(help="How long the office day takes.")] = 40,
) -> int:
    """Let a day pass at a simulated ServiceTrade, in front of a pipeline that is up, and account for everything.

    servicetrade.base_url leads to the simulator, ingest.public_url is how that one reaches ingest. Exit code 0 if every
    notification that was answered with 2xx is accounted for.
    """
    from demo.visit import visit

    settings = read_settings(config)
    return asyncio.run(visit(settings, rules=rules, notifications=notifications, duration_s=duration_s, out=OUT))


if __name__ == "__main__":
    main()
