"""Turns events of an account into messages for each of its webhooks and hands them to the sender."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence

from servicetrade.simulator.accounts import Account
from servicetrade.simulator.journal import Entry
from servicetrade.simulator.messages import Script, encode
from servicetrade.simulator.world import Event

# What the ratio switches do: a repeat follows after up to so many seconds, a message is held back so long.
REPEAT_WITHIN_S = 1.0
HELD_WITHIN_S = 1.0


def publish(account: Account, events: Sequence[Event], now: float, script: Script | None = None) -> int:
    """Send the events as one message to every webhook that wants them; returns the elements sent.

    Every webhook of the account gets the message, under the same messageId, cut to its own filter.
    """
    script = script or _unscripted(account)
    sent = 0
    for hook in account.subscriptions.values():
        wanted = [event for event in events if hook.wants(event)]
        if not hook.enabled or not (wanted or script.oddity):
            continue
        message = encode(
            wanted,
            message_id=script.message_id,
            now=now,
            include_changesets=hook.include_changesets,
            switches=account.switches,
            oddity=script.oddity,
        )
        delays = [script.hold_s]
        if script.repeat_after_s is not None:
            delays.append(script.hold_s + script.repeat_after_s)
        for delay_s in delays:
            entry = account.journal.sending(
                Entry(
                    webhook_id=hook.id,
                    message_id=script.message_id,
                    sha256=hashlib.sha256(message.body).hexdigest(),
                    elements=message.elements,
                    poison_elements=message.poison_elements,
                    poison_body=message.poison_body,
                )
            )
            account.sender.submit(hook.hook_url, message.body, entry, delay_s=delay_s)
        sent += message.elements
    return sent


def _unscripted(account: Account) -> Script:
    switches, rng = account.switches, account.rng
    held = rng.random() < switches.reorder_ratio
    repeated = rng.random() < switches.repeat_ratio
    return Script(
        # Not from the seed: a restarted simulator must not reuse the ids of its former life.
        message_id=str(uuid.uuid4()),
        hold_s=rng.uniform(0.1, HELD_WITHIN_S) if held else 0.0,
        repeat_after_s=rng.uniform(0.0, REPEAT_WITHIN_S) if repeated else None,
    )
