"""Sends every invoice that changes to a service of your own; docs/sinks.md tells how to configure it."""

from sinks import Context, EntityChange, NotFound, Reject, RetryLater


async def deliver(change: EntityChange, context: Context) -> None:
    """Called with the changes of an entity one by one, in order; to return is to say that it is delivered."""
    try:
        invoice = await context.servicetrade.get("invoice", change.entity_id)
    except NotFound:
        invoice = None
    headers = {"Authorization": f"Bearer {context.secrets['token'].reveal()}", "Idempotency-Key": change.id}
    body = {"account": change.account, "id": change.entity_id, "invoice": invoice}
    answer = await context.http.post(context.options["url"], json=body, headers=headers)
    if answer.status_code in (408, 429) or answer.is_server_error:
        raise RetryLater(f"HTTP {answer.status_code}", scope="sink")
    if not answer.is_success:
        raise Reject(f"HTTP {answer.status_code}: {answer.text[:200]}")
