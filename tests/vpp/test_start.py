"""What a start would do in VPP, whose AF_PACKET interfaces go and come with the host interfaces that it re-creates."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.agent import veth
from tests.support.netns import ip
from tests.support.passes import new_reconciler, put
from tests.vpp.conftest import Bench
from vppctl.agent.check import CheckSettings
from vppctl.agent.forecast import forecast
from vppctl.model.interface import VppInterface, VppInterfaceType
from vppctl.reconcile.state import Reason, State
from vppctl.store.base import Entry

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(120)]

PAIR = (veth("h", "p"), veth("p", "h"))


def packet(name: str, host: str) -> dict[str, Any]:
    return {"name": name, "type": 4, "enabled": True, "afpacket": {"host_if_name": host}}


def steps(bench: Bench, *documents: dict[str, Any], adopt: bool = False) -> dict[str, tuple[str, str]]:
    """Action and detail by name."""
    entries = []
    for document in documents:
        kind = "vpp" if "afpacket" in document else "linux"
        key = f"/vnf-agent/vpp1/{kind}/config/v1/interface/{document['name']}"
        entries.append(Entry(key, json.dumps(document).encode(), 1))
    found = forecast(CheckSettings("vpp1", vpp_socket=bench.path), entries, adopt=adopt, takeover=True)
    return {step.name: (str(step.action), step.detail) for step in found}


def test_its_interfaces_follow_the_links_of_the_plan(bench: Bench) -> None:
    af = packet("af", "h")
    found = steps(bench, *PAIR, af)
    assert {name: action for name, (action, _) in found.items()} == dict.fromkeys(("h", "p", "af"), "create")
    assert steps(bench, af)["af"][0] == "wait"
    reconciler = new_reconciler()
    put(reconciler, PAIR)
    reconciler.run(0.0)
    bench.put(VppInterface("af", VppInterfaceType.AF_PACKET_INTERFACE, enabled=True, host_if_name="h"))
    bench.wait("af", State.APPLIED)
    before = bench.links()
    assert steps(bench, *PAIR, af)["af"][0] == "recreate", "it goes with its host interface"
    found = steps(bench, *PAIR, af, adopt=True)
    assert found["af"] == ("adopt", "as configured")
    assert steps(bench, *PAIR)["af"][0] == "delete"
    action, detail = steps(bench, af)["af"]
    assert (action, detail.split(":")[0]) == ("delete", "PENDING HostInterfaceMissing"), "its host interface goes"
    assert bench.links() == before


def test_what_is_not_the_agents_own(bench: Bench) -> None:
    ip("link", "add", "name", "h", "type", "bridge")
    assert steps(bench, packet("af", "h"))["af"][0] == "create"
    assert steps(bench, packet("af", "none"))["af"][1].startswith(f"PENDING {Reason.HOST_INTERFACE_MISSING}")


def test_a_vpp_that_is_away(bench: Bench) -> None:
    away = CheckSettings("vpp1", vpp_socket=f"{bench.path}.not")
    entry = Entry("/vnf-agent/vpp1/vpp/config/v1/interface/af", json.dumps(packet("af", "h")).encode(), 1)
    (step,) = forecast(away, [entry], adopt=True, takeover=True)
    assert (step.action, step.differs) == ("wait", False)
    assert step.detail.startswith(f"PENDING {Reason.VPP_UNAVAILABLE}")
