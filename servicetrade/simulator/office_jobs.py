"""Pure: the routines of an office: a job's life, a job that never rests, a bulk edit, work on the side."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from servicetrade.simulator.world import Action, Op, World, job_follows

# Between two actions on one entity, so that what the first one says is out before the second begins.
STEP_S = (0.4, 2.0)
SCHEDULE_S = 1_790_000_000  # any day; windows are Unix seconds
SERVICES = ("Inspection", "Repair", "Pump test", "Extinguisher service", "Sprinkler check")


@dataclass(frozen=True, slots=True, kw_only=True)
class Clump:
    """What one user action does at `at_s` seconds of the nominal day; a batch is told in one message."""

    at_s: float
    ops: tuple[Op, ...]
    batch: bool = False


class Office:
    """The people and places of one account, and the entities that the day has planned to make."""

    def __init__(self, world: World, rng: random.Random, api_user: int) -> None:
        self.rng = rng
        self.new_id = world.new_id
        companies = world.all_of("company")
        self.vendor: int = companies[0]["id"]
        self.locations = [(entity["id"], entity.get("company")) for entity in world.all_of("location")]
        self.contacts = [entity["id"] for entity in world.all_of("contact")]
        self.technicians = [entity["id"] for entity in world.all_of("user") if entity.get("isTech")]
        # People only: the API's own user shows up where something really writes through the API.
        people = [entity for entity in world.all_of("user") if entity["id"] != api_user]
        self.dispatchers = [entity["id"] for entity in people if not entity.get("isTech")]

    def op(self, action: Action, type_: str, id_: int, by: int | None, **fields: Any) -> Op:
        """One change."""
        return Op(action=action, type=type_, id=id_, user_id=by, fields=fields)

    def item(self, action: Action, item: int, job: int, by: int | None, fields: Mapping[str, Any]) -> tuple[Op, ...]:
        """A job item edit with its burst: the item, the job, the job again for the total."""
        return (self.op(action, "jobitem", item, by, **{"job": job, **fields}), *job_follows(job, by))

    def priced(self) -> Mapping[str, Any]:
        """Quantity and price of a job item."""
        quantity, price = self.rng.randint(1, 9), self.rng.randint(500, 30000) / 100
        return {"quantity": quantity, "price": price, "totalPrice": round(quantity * price, 2)}

    def new_job(self, by: int | None) -> tuple[int, int, tuple[Op, ...]]:
        """Ids of a job and its appointment, and the changes that make them."""
        job, appointment = self.new_id(), self.new_id()
        location, customer = self.rng.choice(self.locations)
        service = self.rng.choice(SERVICES)
        return (
            job,
            appointment,
            (
                self.op(
                    "created",
                    "job",
                    job,
                    by,
                    name=f"{service} {job % 100_000}",
                    type="repair",
                    status="new",
                    vendor=self.vendor,
                    customer=customer,
                    location=location,
                    owner=self.dispatchers[0],
                    primaryContact=self.rng.choice(self.contacts),
                ),
                self.op(
                    "created",
                    "appointment",
                    appointment,
                    by,
                    name=f"Visit {appointment % 100_000}",
                    status="unscheduled",
                    job=job,
                    location=location,
                    techs=[],
                ),
                self.op("updated", "job", job, by, currentAppointment=appointment),
            ),
        )

    def window(self) -> Mapping[str, int]:
        """A two-hour window on some day."""
        start = SCHEDULE_S + self.rng.randint(0, 200) * 3600
        return {"windowStart": start, "windowEnd": start + 7200}


class _Steps:
    """Clumps one after the other on the nominal clock."""

    def __init__(self, office: Office, start_s: float) -> None:
        self._rng = office.rng
        self._at_s = start_s
        self.clumps: list[Clump] = []

    def then(self, *ops: Op, gap_s: tuple[float, float] = STEP_S, batch: bool = False) -> None:
        self.clumps.append(Clump(at_s=self._at_s, ops=ops, batch=batch))
        self._at_s += self._rng.uniform(*gap_s)


def job_life(office: Office, start_s: float) -> list[Clump]:
    """A dispatcher makes and schedules a job, a technician does it, the office bills it; some are deleted."""
    rng, steps = office.rng, _Steps(office, start_s)
    by, tech = rng.choice(office.dispatchers), rng.choice(office.technicians)
    job, visit, made = office.new_job(by)
    steps.then(*made)
    for _ in range(rng.randint(1, 3)):  # the dispatcher drags the window around
        window = office.op("updated", "appointment", visit, by, status="scheduled", techs=[tech], **office.window())
        steps.then(window, office.op("updated", "job", job, by, status="scheduled"), gap_s=(0.4, 1.0))
    items = [office.new_id() for _ in range(rng.randint(1, 3))]
    for number, item in enumerate(items):
        part = {"name": f"Part {number + 1}", **office.priced()}
        steps.then(*office.item("created", item, job, tech, part))
    steps.then(*office.item("updated", items[0], job, tech, office.priced()), gap_s=(0.4, 1.0))
    ending = rng.random()
    if ending < 0.12:  # noqa: PLR2004 - the mix of a day
        steps.then(*office.item("deleted", items[-1], job, by, {}))
    if ending > 0.92:  # noqa: PLR2004
        steps.then(office.op("deleted", "appointment", visit, by), office.op("deleted", "job", job, by))
        return steps.clumps
    done = office.op("updated", "appointment", visit, tech, status="completed")
    steps.then(done, office.op("updated", "job", job, tech, status="completed"))
    invoice = office.new_id()
    bill = {"status": "ok", "name": f"Invoice {invoice % 100_000}", "job": job}
    # The system, not a person, moves the job on: userId is null.
    steps.then(
        office.op("created", "invoice", invoice, by, **bill),
        office.op("updated", "job", job, None, status="pending_invoice"),
    )
    return steps.clumps


def hot_job(office: Office, *, edits: int) -> list[Clump]:
    """One job that is edited all day long without a pause of a second."""
    rng, steps = office.rng, _Steps(office, 0.5)
    by = rng.choice(office.dispatchers)
    job, visit, made = office.new_job(by)
    steps.then(*made)
    item = office.new_id()
    steps.then(*office.item("created", item, job, by, {"name": "Labour", **office.priced()}))
    for number in range(edits):
        chance = rng.random()
        ops: tuple[Op, ...] = (office.op("updated", "job", job, by, description=f"Note {number + 1}"),)
        if chance < 0.2:  # noqa: PLR2004 - the mix of a day
            ops = office.item("updated", item, job, by, office.priced())
        elif chance < 0.4:  # noqa: PLR2004
            ops = (office.op("updated", "appointment", visit, by, status="scheduled", **office.window()),)
        steps.then(*ops, gap_s=(0.4, 0.9))
    return steps.clumps


def bulk(office: Office, *, size: int) -> list[Clump]:
    """Many deficiencies found in one inspection and verified together: one message with many elements."""
    steps = _Steps(office, office.rng.uniform(4.0, 10.0))
    tech = office.rng.choice(office.technicians)
    location, _ = office.rng.choice(office.locations)
    found = [office.new_id() for _ in range(size)]
    if not found:
        return []
    new = [
        office.op("created", "deficiency", one, tech, status="new", location=location, name=f"Finding {one % 1000}")
        for one in found
    ]
    steps.then(*new, batch=True)
    steps.then(*[office.op("updated", "deficiency", one, tech, status="verified") for one in found], batch=True)
    return steps.clumps


def side_work(office: Office, start_s: float) -> list[Clump]:
    """What else happens in an office: master data, a quote, an attachment that comes and goes."""
    rng, steps = office.rng, _Steps(office, start_s)
    by = rng.choice(office.dispatchers)
    location, customer = rng.choice(office.locations)
    phone = f"919-555-{rng.randint(0, 9999):04d}"
    what = rng.randrange(4)
    if what == 0:
        steps.then(office.op("updated", "contact", rng.choice(office.contacts), by, phone=phone))
        steps.then(office.op("updated", "location", location, by, gateCode=str(rng.randint(1000, 9999))))
    elif what == 1:
        quote, item = office.new_id(), office.new_id()
        head = {"name": f"Quote {quote % 100_000}", "status": "new", "customer": customer, "location": location}
        steps.then(office.op("created", "quote", quote, by, **head))
        steps.then(
            office.op("created", "quoteitem", item, by, quote=quote, **office.priced()),
            office.op("updated", "quote", quote, by, status="submitted"),
        )
    elif what == 2:  # noqa: PLR2004
        attachment = office.new_id()
        about = {"name": "photo.jpg", "entityType": 11, "entityId": location}
        steps.then(office.op("created", "attachment", attachment, by, **about))
        if rng.random() < 0.5:  # noqa: PLR2004
            steps.then(office.op("deleted", "attachment", attachment, by))
    else:
        contact = office.new_id()
        steps.then(office.op("created", "contact", contact, by, name="New contact", location=location, phone=phone))
        steps.then(office.op("updated", "contact", contact, by, email=f"c{contact % 1000}@example.com"))
        if rng.random() < 0.3:  # noqa: PLR2004
            steps.then(office.op("deleted", "contact", contact, by))
    return steps.clumps
