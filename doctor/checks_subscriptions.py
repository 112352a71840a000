"""Pure: whether ServiceTrade tells ingest of an account's changes, judged by the webhooks that it has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from doctor.finding import SUBSCRIPTIONS, Finding, many
from schemas.entity_type import EntityType
from servicetrade.hook_events import ACTIONS, Events, shown_events
from servicetrade.subscription_plan import Hook, Owner, Verdict, judged

Judged = Sequence[tuple[Hook, Verdict]]


def subscription_findings(owner: Owner, hooks: Iterable[Hook], types: Mapping[str, EntityType]) -> list[Finding]:
    """What is to be said of one account's webhooks; those that lead elsewhere are nobody's business.

    Args:
        owner: whose they are, and the live secrets.
        hooks: as ServiceTrade shows them.
        types: every known type by its name.
    """
    account, subscribe = owner.account, f"`tradewind subscribe {owner.account}`"
    ours = [one for one in judged(hooks, owner) if one[1] is not Verdict.NOT_OURS]
    found = [_main(owner, ours, types)]
    ours = [(hook, verdict) for hook, verdict in ours if hook.enabled]
    if extra := _of(ours, Verdict.DUPLICATE):
        what = f"{_named(extra)} on the same URL: every webhook comes {len(extra) + 1} times"
        found.append(SUBSCRIPTIONS.warning(account, what, f"{subscribe} leaves one"))
    if retired := _of(ours, Verdict.RETIRED_SECRET):
        what = f"{_named(retired)} to a secret that ingest does not know: what is sent there is lost"
        found.append(SUBSCRIPTIONS.warning(account, what, f"{subscribe} deletes what is out of date"))
    if (old := _of(ours, Verdict.OLD_SECRET)) and _of(ours, Verdict.OK):
        what = f"{_named(old)} to the old secret as well: every webhook comes twice"
        found.append(SUBSCRIPTIONS.warning(account, what, f"{subscribe} deletes what is out of date"))
    return found


def _main(owner: Owner, ours: Judged, types: Mapping[str, EntityType]) -> Finding:
    """Whether there is a webhook by which something arrives, and everything."""
    account, subscribe = owner.account, f"`tradewind subscribe {owner.account}`"
    for hook in _of(ours, Verdict.OK):
        missing = untold(hook.events, types)
        changesets = "with" if hook.include_changesets else "without"
        told = f"webhook {hook.id} tells of {shown_events(hook.events, types)}, {changesets} changesets"
        if missing:
            do = f"{subscribe} asks for everything; nothing is to be done if these are all that is wanted"
            return SUBSCRIPTIONS.warning(account, f"{told}; not of {missing}", do)
        return SUBSCRIPTIONS.ok(account, told)
    for hook in _of(ours, Verdict.OLD_SECRET):
        if hook.enabled:
            what = f"webhook {hook.id} leads to the old secret: it works until that is retired, then webhooks are lost"
            return SUBSCRIPTIONS.warning(account, what, f"{subscribe}, before `tradewind secret retire`")
    for hook in _of(ours, Verdict.DISABLED):
        return SUBSCRIPTIONS.failed(account, f"webhook {hook.id} is disabled: nothing comes", f"{subscribe} enables it")
    what = f"no webhook leads to {owner.base.text}/webhooks/{account}/… with a live secret: nothing comes"
    return SUBSCRIPTIONS.failed(account, what, subscribe)


def untold(events: Events, types: Mapping[str, EntityType]) -> str:
    """What a webhook does not tell of though ServiceTrade could, for people; empty: nothing is left out."""
    if events is None:
        return ""
    sending = {name: known for name, known in types.items() if known.sends_webhooks}
    pairs = {(known.code, action) for known in sending.values() if known.code is not None for action in ACTIONS}
    without_code = [name for name, known in sending.items() if known.code is None]
    missing = pairs - events
    return ", ".join([*([shown_events(frozenset(missing), types)] if missing else []), *without_code])


def _of(ours: Judged, verdict: Verdict) -> list[Hook]:
    return [hook for hook, one in ours if one is verdict]


def _named(hooks: Iterable[Hook]) -> str:
    ids = [str(hook.id) for hook in hooks]
    return f"{many(len(ids), 'webhook')} ({', '.join(ids)}) lead{'s' if len(ids) == 1 else ''}"
