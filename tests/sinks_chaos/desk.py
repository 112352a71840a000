"""One account's office staff: edits entities over the API, and appends the changes that follow from each edit."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from random import Random

from schemas.change import Action
from tests.sinks_chaos.appender import Appender, Record
from tests.sinks_chaos.ledger import Entity, Fate
from tests.sinks_chaos.office import Office

HOT = 3
HOT_SHARE = 0.35
"""Of the edits, those that go to one of the HOT entities."""
FURNISHED = ("location", "contact", "company", "user")
FURNISHED_EACH = 3
"""How many of what an account has from the beginning are edited, of each type."""
PATHLESS = ("quoteitem", "clockevent", "dispatchnote")
IMPOSSIBLE_IDS = ("0", "007")
"""Digits, as a webhook may bring them, but no id of ServiceTrade's."""
COPIED = 12
SCHEDULED = ("scheduled", "completed")

Act = tuple[str, float]
ACTS: tuple[Act, ...] = (
    ("update", 0.79),
    ("create", 0.1),
    ("item", 0.04),
    ("delete", 0.04),
    ("late", 0.01),
    ("pathless", 0.015),
    ("copy", 0.005),
)
"""What staff do, and how often."""


@dataclass(slots=True)
class Thing:
    """An entity that the harness edits; `job` is what a job item belongs to."""

    type: str
    id: str
    job: Thing | None = None
    alive: bool = True


@dataclass(slots=True, kw_only=True)
class Desk:
    """One account; whatever it does is decided by `rng` alone."""

    account: str
    office: Office
    appender: Appender
    rng: Random
    things: list[Thing] = field(default_factory=list)
    gone: list[Thing] = field(default_factory=list)
    _recent: deque[Record] = field(default_factory=lambda: deque[Record](maxlen=COPIED))
    _edits: int = 0

    async def open(self) -> None:
        """Find what the account has from the beginning, and make what edits need: no changes yet."""
        names = sorted(await self.office.entities(self.account))
        for kind in FURNISHED:
            found = [name.split("/")[1] for name in names if name.startswith(f"{kind}/")]
            self.things += [Thing(kind, id_) for id_ in self.rng.sample(found, FURNISHED_EACH)]
        self.rng.shuffle(self.things)

    async def act(self) -> None:
        """Do one thing."""
        names, weights = zip(*ACTS, strict=True)
        (name,) = self.rng.choices(names, weights)
        await getattr(self, f"_{name}")()

    async def edit(self, thing: Thing) -> None:
        """Update an entity: a field that stands in no other entity's answer."""
        self._edits += 1
        body: dict[str, object] = {"note": f"edit {self._edits}", "priority": self.rng.randint(1, 9)}
        if thing.type == "job":
            body["status"] = self.rng.choice(SCHEDULED)
        if thing.type == "jobitem":
            body["totalPrice"] = self.rng.randint(1, 99_999) / 100
        await self.office.write(self.account, "PUT", f"{thing.type}/{thing.id}", body)
        await self.tell(thing, "updated")
        await self._tell_job(thing)

    async def create(self, kind: str, job: Thing | None = None) -> Thing:
        """Make an entity of this kind."""
        body: dict[str, object] = {"name": f"{kind} {self.rng.randint(0, 9_999)}"}
        if kind in ("job", "quote", "contact"):
            body["locationId"] = int(next(thing.id for thing in self.things if thing.type == "location"))
        if job is not None:
            body |= {"jobId": int(job.id), "totalPrice": self.rng.randint(1, 99_999) / 100}
        answer = await self.office.write(self.account, "POST", kind, body)
        made = Thing(kind, str(answer.get(kind, answer)["id"]), job)
        self.things.append(made)
        await self.tell(made, "created")
        await self._tell_job(made)
        return made

    async def delete(self, thing: Thing) -> None:
        """Delete an entity that was made here."""
        self.things.remove(thing)
        self.gone.append(thing)
        thing.alive = False
        await self.office.write(self.account, "DELETE", f"{thing.type}/{thing.id}")
        await self.tell(thing, "deleted")
        await self._tell_job(thing)

    async def tell(self, thing: Thing, action: Action, fate: Fate = "good") -> None:
        """Append a change."""
        record = await self.appender.change(self._entity(thing), action, fate=fate, note=f"edit {self._edits}")
        if fate == "good":
            self._recent.append(record)

    def stranger(self) -> Thing:
        """An entity that the account does not have."""
        return Thing("quote", str(self.rng.randint(10**9, 10**10)))

    async def impossible(self) -> None:
        """Append a change of an entity that cannot be."""
        await self.tell(Thing("job", self.rng.choice(IMPOSSIBLE_IDS)), "updated", "impossible")

    async def garbage(self, value: bytes, *, key: bytes | None = None, keyed: bool = True) -> None:
        """Append bytes that are no change, by default under the key of an entity that has changes too."""
        thing = self.rng.choice([one for one in self.things if one.type in FURNISHED])
        await self.appender.garbage("/".join(self._entity(thing)).encode() if keyed else key, value)

    async def _update(self) -> None:
        hot = self.rng.random() < HOT_SHARE
        await self.edit(self.rng.choice(self.things[:HOT] if hot else self.things))

    async def _create(self) -> None:
        await self.create(self.rng.choice(("job", "job", "quote", "contact")))

    async def _item(self) -> None:
        jobs = [thing for thing in self.things if thing.type == "job"]
        await (self.create("jobitem", self.rng.choice(jobs)) if jobs else self.create("job"))

    async def _delete(self) -> None:
        made = [thing for thing in self.things if thing.type not in FURNISHED]
        await (self.delete(self.rng.choice(made)) if made else self._create())

    async def _late(self) -> None:
        """A notification that comes after that of the deletion."""
        if self.gone:
            await self.tell(self.rng.choice(self.gone), "updated")

    async def _pathless(self) -> None:
        thing = Thing(self.rng.choice(PATHLESS), str(self.rng.randint(1, 10**6)))
        await self.tell(thing, self.rng.choice(("created", "updated")), "pathless")

    async def _copy(self) -> None:
        for record in list(self._recent):
            await self.appender.copy(record)

    async def _tell_job(self, thing: Thing) -> None:
        # An edit of an item is one of its job too: of its total.
        if thing.job is not None and thing.job.alive:
            await self.tell(thing.job, "updated")

    def _entity(self, thing: Thing) -> Entity:
        return self.account, thing.type, thing.id
