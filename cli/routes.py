"""Says who takes what is delivered once more, by the configuration."""

from __future__ import annotations

from runtime.settings import Settings
from schemas.deadletter import PROCESSORS
from schemas.topics import CHANGES, COMMANDS, WEBHOOKS
from sinks.redrive import Routes


def routes_of(settings: Settings) -> Routes:
    """Who takes redriven letters by this configuration."""
    sinks, prefix = settings.sinks, settings.kafka.topic_prefix
    changes = ("mirror", *(f"forward/{name}" for name in sinks.forward), *(f"custom/{name}" for name in sinks.custom))
    topics = {PROCESSORS: WEBHOOKS.name, "command": COMMANDS.name, **dict.fromkeys(changes, CHANGES.name)}
    return Routes(topics={stage: prefix + name for stage, name in topics.items()})
