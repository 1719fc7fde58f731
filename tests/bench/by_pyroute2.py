"""Makes pairs by pyroute2's own calls, as its documentation shows: `python -m tests.bench.by_pyroute2 COUNT`."""

from __future__ import annotations

import sys

from pyroute2 import NetNS

from tests.bench.pairs import interfaces


def main() -> None:
    sides = interfaces(int(sys.argv[1]))
    with NetNS("ns1", flags=0) as one, NetNS("ns2", flags=0) as two:
        for a, b in zip(sides[::2], sides[1::2], strict=True):
            peer = {"ifname": b["name"], "net_ns_fd": "ns2", "address": b["phys_address"], "mtu": 1500}
            one.link("add", ifname=a["name"], kind="veth", address=a["phys_address"], mtu=1500, peer=peer)
        for space, column in ((one, sides[::2]), (two, sides[1::2])):
            indexes = {link.get_attr("IFLA_IFNAME"): link["index"] for link in space.get_links()}
            for side in column:
                for address in side["ip_addresses"]:
                    host, _, prefix = address.partition("/")
                    space.addr("add", index=indexes[side["name"]], address=host, prefixlen=int(prefix))
                space.link("set", index=indexes[side["name"]], state="up")


if __name__ == "__main__":
    main()
