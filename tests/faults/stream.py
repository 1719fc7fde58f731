"""A seeded stream of configuration changes: what is decided follows from the seed and the decisions before it alone."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from tests.faults.documents import BREAKAGES, Document, Ref

Change = dict[str, Document | None]
"""What one transaction writes; None deletes."""

NAMED = ("m0", "m1", "m2", "m3")
"""Named namespaces, made by the agent or by the test."""
SLOTS = ("p0", "p1")
"""Processes with a namespace of their own."""
MICROSERVICES = ("web", "db")
"""Labels of containers, where there is an engine."""
KERNEL_NAMES = ("x0", "x1", "x2", "x3")
"""Names that several interfaces ask for."""
MTUS = (0, 0, 1280, 1400, 1500, 9000, 65535)


class Stream:
    """Changes for one label; `refs` gives the references that may be used at present, by weight."""

    def __init__(self, names: Sequence[str], refs: Callable[[], Mapping[Ref, float]]) -> None:
        assert len(names) % 2 == 0
        self.names, self._refs = names, refs

    def natural_peer(self, name: str) -> str:
        return self.names[self.names.index(name) ^ 1]

    def change(self, rng: random.Random, documents: Mapping[str, Document]) -> Change:
        """One decision: a change that was possible, or a new pair when what was drawn was not."""
        name = rng.choice(self.names)
        document = documents.get(name)
        kind = rng.choices(
            ("pair", "one", "mismatch", "delete", "delete pair", "alter", "move", "rename", "swap"),
            (20, 12, 4, 10, 4, 28, 8, 8, 6),
        )[0]
        peer = self.natural_peer(name)
        match kind:
            case "one":
                return {name: self.document(rng, name, peer)}
            case "mismatch":
                other = rng.choice([n for n in self.names if n != name])
                return {name: self.document(rng, name, other)}
            case "delete" if document:
                return {name: None}
            case "delete pair" if document and peer in documents:
                return {name: None, peer: None}
            case "alter" if document:
                return {name: self.altered(rng, document)}
            case "move" if document:
                return {name: replace(document, ref=self.ref(rng))}
            case "rename" if document:
                return {name: replace(document, host=rng.choice(("", *KERNEL_NAMES)))}
            case "swap" if document:
                twin = documents[rng.choice(sorted(documents))]
                if twin.name != name:
                    one, two = document.kernel_name, twin.kernel_name
                    return {name: replace(document, host=two), twin.name: replace(twin, host=one)}
        return {name: self.document(rng, name, peer), peer: self.document(rng, peer, name)}

    def breakage(self, rng: random.Random, documents: Mapping[str, Document]) -> Change:
        """Documents with errors where there were none: up to three."""
        whole = sorted(name for name, document in documents.items() if not document.broken)
        names = rng.sample(whole, min(len(whole), rng.randint(1, 3)))
        return {name: replace(documents[name], broken=rng.choice(sorted(BREAKAGES))) for name in names}

    def mending(self, rng: random.Random, documents: Mapping[str, Document]) -> Change:
        """Some of those with errors are mended or deleted."""
        broken = sorted(name for name, document in documents.items() if document.broken)
        names = [name for name in broken if rng.random() < 0.7]
        return {name: documents[name].mended() if rng.random() < 0.8 else None for name in names}

    def burst(self, rng: random.Random, documents: Mapping[str, Document], size: int) -> list[Change]:
        """Transactions with at least `size` changes in all, some of them alone and some together."""
        view: dict[str, Document] = dict(documents)
        found: list[Change] = [{}]
        together = rng.choice((1, 1, 5, 100))
        while size > 0:
            change = self.change(rng, view)
            if found[-1].keys() & change.keys() or len(found[-1]) >= together:
                found.append({})
            found[-1].update(change)
            size -= len(change)
            for name, document in change.items():
                if document:
                    view[name] = document
                else:
                    view.pop(name, None)
        return found

    def document(self, rng: random.Random, name: str, peer: str) -> Document:
        return Document(
            name,
            peer,
            ref=self.ref(rng),
            host=rng.choice(KERNEL_NAMES) if rng.random() < 0.15 else "",
            mtu=rng.choice(MTUS),
            mac=self.mac(rng),
            addresses=self.addresses(rng, name),
            enabled=rng.random() < 0.85,
        )

    def altered(self, rng: random.Random, document: Document) -> Document:
        match rng.randrange(4):
            case 0:
                return replace(document, mtu=rng.choice(MTUS))
            case 1:
                return replace(document, mac=self.mac(rng))
            case 2:
                return replace(document, addresses=self.addresses(rng, document.name))
            case _:
                return replace(document, enabled=not document.enabled)

    def ref(self, rng: random.Random) -> Ref:
        refs = self._refs()
        return rng.choices(list(refs), list(refs.values()))[0]

    def mac(self, rng: random.Random) -> str:
        return f"06:00:00:00:{rng.randrange(256):02x}:{rng.randrange(256):02x}" if rng.random() < 0.3 else ""

    def addresses(self, rng: random.Random, name: str) -> tuple[str, ...]:
        number = self.names.index(name)
        pool = [f"10.{number}.{n}.1/{24 - n}" for n in range(3)] + [
            f"2001:db8:{number + 1:x}:{n + 1}::1/64" for n in range(3)
        ]
        return tuple(rng.sample(pool, rng.randrange(4)))
