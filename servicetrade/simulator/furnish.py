"""Pure: the customers, places and people that an account has before its first day."""

from __future__ import annotations

import random

from servicetrade.simulator.world import World

TECHNICIANS = 4
DISPATCHERS = 2
CUSTOMERS = 5
LOCATIONS = 12  # more than the location list's default page of ten
CONTACTS = 14
ASSETS = 6
STREETS = ("Typewriter Way", "Harbor Road", "Mill Lane", "Depot Street", "Orchard Avenue")
CITIES = ("Aiburg", "Bayfield", "Corinth", "Dunmore")


def furnish(world: World, rng: random.Random, now: float, *, name: str, user_id: int | None) -> int:
    """Fill a new world; returns the id of the API's own user. Makes no events."""
    office = world.furnish("company", {"name": name, "status": "active", "vendor": True}, now)
    api_user = {"name": "Api User", "status": "active", "company": office}
    user_id = world.furnish("user", api_user, now, id_=user_id)
    for number in range(TECHNICIANS):
        person = {"name": f"Technician {number + 1}", "status": "active", "isTech": True, "company": office}
        world.furnish("user", person, now)
    for number in range(DISPATCHERS):
        person = {"name": f"Dispatcher {number + 1}", "status": "active", "isTech": False, "company": office}
        world.furnish("user", person, now)
    customers = [
        world.furnish("company", {"name": f"Customer {number + 1}", "status": "active", "customer": True}, now)
        for number in range(CUSTOMERS)
    ]
    locations = []
    for number in range(LOCATIONS):
        address = {
            "street": f"{rng.randint(1, 900)} {rng.choice(STREETS)}",
            "city": rng.choice(CITIES),
            "state": "NC",
            "postalCode": f"{rng.randint(20000, 29999)}",
        }
        fields = {"name": f"Location {number + 1}", "status": "active", "address": address}
        locations.append(world.furnish("location", {**fields, "company": rng.choice(customers)}, now))
    for number in range(CONTACTS):
        fields = {"name": f"Contact {number + 1}", "phone": f"919-555-{rng.randint(0, 9999):04d}", "status": "active"}
        world.furnish("contact", {**fields, "location": rng.choice(locations)}, now)
    for number in range(ASSETS):
        fields = {"name": f"Fire pump {number + 1}", "status": "active"}
        world.furnish("asset", {**fields, "location": rng.choice(locations)}, now)
    return user_id
