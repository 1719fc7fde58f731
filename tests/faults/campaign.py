"""A campaign: rounds of changes with a fault in most of them, and a look at everything at rest after each round.

Each round draws from a generator of its own, made of the seed and the round's number, so that what is decided in a
round depends on the seed and on the documents alone, and not on how fast an agent was or where it died.
"""

from __future__ import annotations

import random
from typing import Self

from tests.faults.process import Violation
from tests.faults.rounds import Rounds
from tests.faults.runner import POINTS
from tests.faults.world import World
from tests.support.docker import Engine

STILL = 0.3
"""At the end of so many rounds nothing may happen, too."""


class Campaign(Rounds):
    """Rounds on one world, drawn by weight, with agents that die at a call."""

    only: frozenset[str] = frozenset()
    """The kinds of rounds that there are; empty: all."""

    def __init__(self, world: World, seed: int, *, kills: bool = True, engine: Engine | None = None) -> None:
        super().__init__(world, seed, engine)
        self.kills, self.lives = kills, 0
        self.still = STILL

    def __enter__(self) -> Self:
        self.surroundings.build()
        self.world.revive = self._revive
        for label in self.world.agents:
            self.world.start(label)
        self.rest("the start")
        return self

    def __exit__(self, *_: object) -> None:
        return

    def round(self) -> str:
        """One round; returns what kind it was. Raises Violation."""
        self.tally.rounds += 1
        self.lives = 0
        self.rng = random.Random(f"{self.seed}/{self.tally.rounds}")
        kinds = [kind for kind in self.kinds if not (self.only and kind not in self.only)]
        kind = self.rng.choices(kinds, [self.kinds[kind][0] for kind in kinds])[0]
        label = self.rng.choice(sorted(self.world.agents))
        agent = self.world.agents[label]
        if self.kills and self.rng.random() < 0.85:
            self._arm(label, self.rng)
        try:
            self.kinds[kind][1](label)
            self.rest(kind, still=random.Random(f"{self.seed}/{self.tally.rounds}/still").random() < self.still)
        except Violation as violation:
            raise Violation(f"seed {self.seed}, round {self.tally.rounds}: {violation}") from None
        if complaint := agent.complaint():
            raise Violation(f"seed {self.seed}, round {self.tally.rounds}: agent {label} complains: {complaint}")
        self.tally.faults[kind] += 1
        return kind

    def _arm(self, label: str, rng: random.Random) -> None:
        """The agent of this label dies at a call that is drawn; it may take some rounds to come to it."""
        point = rng.choices(POINTS, (50, 15, 10, 25))[0]
        reach = {"write": 25, "netlink": 60, "namespace": 3, "store": 6}[point]
        self.world.agents[label].control.arm(point, rng.randint(1, reach), after=rng.random() < 0.5)

    def _revive(self, label: str) -> None:
        """Start it again: from scratch or adopting, sometimes to die again at once."""
        # How often it dies in a round is no decision.
        self.lives += 1
        rng = random.Random(f"{self.seed}/{self.tally.rounds}/{self.lives}")
        self.world.agents[label].control.disarm()
        if rng.random() < 0.4:
            self._arm(label, rng)
        self.world.start(label, *self._options(rng))
