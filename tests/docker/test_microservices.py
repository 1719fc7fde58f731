"""Microservices against a real Docker engine: what starts, restarts, moves and ends, seen in the kernel."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.agent import Agent, Vppctl, veth
from tests.support.docker import Engine, pid
from tests.support.netns import ip, links, links_of, wait_until

pytestmark = [pytest.mark.kernel, pytest.mark.docker]


def service(label: str) -> dict[str, Any]:
    return {"type": 1, "microservice": label}


WEB = veth("a", "b", service("web"), ip_addresses=["10.0.0.1/24"])
NAMED = veth("b", "a", "two", ip_addresses=["10.0.0.2/24"])


def inside(container: Any) -> set[str]:
    return links_of(pid(container))


def test_it_waits_for_the_container_and_follows_it_through_its_life(vppctl: Vppctl, engine: Engine) -> None:
    with Agent(vppctl):
        vppctl.put(WEB, NAMED)
        vppctl.wait_state("a", "PENDING", "MicroserviceNotRunning")
        text = "no running container has MICROSERVICE_LABEL=web"
        wait_until(lambda: vppctl.state("a")["message"] == text, "Docker's first answer")
        container = engine.run("server", "web")
        report = vppctl.wait_state("a", "APPLIED")
        assert inside(container) == {"a"}
        assert ip("netns", "exec", "two", "ping", "-c1", "-W2", "10.0.0.1")
        assert report["container"] == {"name": "server", "id": container.id, "pid": pid(container)}
        described = vppctl("describe", "a")
        assert f"server, id {container.id}, PID {pid(container)}\n" in described
        assert "microservice:web" in described
        inode = os.stat(f"/proc/{pid(container)}/ns/net").st_ino
        assert f"net:[{inode}], /proc/{pid(container)}/ns/net, process started 2" in described
        before = pid(container)

        container.restart(timeout=0)
        wait_until(lambda: pid(container) not in (0, before) and inside(container) == {"a"}, "the pair after a restart")
        vppctl.wait_state("b", "APPLIED")
        assert set(links("two")) == {"b"}

        container.stop(timeout=0)
        vppctl.wait_state("a", "PENDING", "MicroserviceNotRunning")
        wait_until(lambda: not links("two"), "the pair to go with its container")
        container.start()
        wait_until(lambda: inside(container) == {"a"}, "the pair to return with its container")
        container.remove(force=True)
        wait_until(lambda: not links("two"), "the pair to go with its container")
        assert engine.run("another", "web")
        vppctl.wait_state("a", "APPLIED")


def test_both_ends_in_containers_and_one_in_the_default_namespace(vppctl: Vppctl, engine: Engine) -> None:
    one, two = engine.run("one", "one"), engine.run("two", "two")
    with Agent(vppctl):
        vppctl.put(
            veth("a", "b", service("one")),
            veth("b", "a", service("two")),
            veth("c", "d", service("one")),
            veth("d", "c"),
        )
        vppctl("wait", "a", "b", "c", "d", "--for", "applied", "--timeout", "10s")
        assert (inside(one), inside(two), set(links())) == ({"a", "c"}, {"b"}, {"d"})
        two.kill()
        wait_until(lambda: inside(one) == {"c"}, "the pair to go with either end")
        two.start()
        wait_until(lambda: inside(two) == {"b"} and inside(one) == {"a", "c"}, "the pair to return")


def test_quick_restarts_leave_one_pair_in_the_last_namespace(vppctl: Vppctl, engine: Engine) -> None:
    container = engine.run("server", "web")
    with Agent(vppctl):
        vppctl.put(WEB, NAMED, wait=True)
        for _ in range(5):
            container.restart(timeout=0)
        wait_until(lambda: inside(container) == {"a"}, "the pair after the last restart")
        vppctl.wait_state("a", "APPLIED")
        assert set(links("two")) == {"b"}


def test_a_process_that_crashes_and_is_restarted_by_the_engine(vppctl: Vppctl, engine: Engine) -> None:
    container = engine.run("server", "web", restart_policy={"Name": "always"})
    with Agent(vppctl):
        vppctl.put(WEB, NAMED, wait=True)
        before = pid(container)
        os.kill(before, signal.SIGKILL)
        wait_until(
            lambda: pid(container) not in (0, before) and inside(container) == {"a"}, "the pair after a crash", 20
        )


def test_two_containers_of_one_label_are_ambiguous_until_one_goes(vppctl: Vppctl, engine: Engine) -> None:
    first = engine.run("first", "web")
    with Agent(vppctl):
        vppctl.put(WEB, NAMED, wait=True)
        second = engine.run("second", "web")
        report = vppctl.wait_state("a", "PENDING", "MicroserviceAmbiguous")
        for container in (first, second):
            assert f"{container.name!r} ({container.id[:12]})" in report["message"]
        assert (inside(first), inside(second)) == (set(), set())
        first.kill()
        vppctl.wait_state("a", "APPLIED")
        assert inside(second) == {"a"}


def test_namespaces_that_are_shared(vppctl: Vppctl, engine: Engine) -> None:
    holder = engine.run("holder")
    guest = engine.run("guest", "web", network="container:holder")
    with Agent(vppctl):
        vppctl.put(WEB, NAMED, wait=True)
        assert inside(holder) == {"a"}
        guest.kill()
        vppctl.wait_state("a", "PENDING", "MicroserviceNotRunning")
        wait_until(lambda: inside(holder) == set(), "the pair to go although its namespace stays")
        guest.start()
        wait_until(lambda: inside(holder) == {"a"}, "the pair to return")


def test_a_container_in_the_network_of_the_host(tmp_path: Path, own_engine: Engine) -> None:
    vppctl = Vppctl({"VPPCTL_STORE": f"sqlite:{tmp_path}/state/store.db"}, tmp_path)
    container = own_engine.run("server", "web", network="host")
    with Agent(vppctl, "--docker-host", own_engine.host):
        vppctl.put(WEB, NAMED, wait=True)
        assert set(links()) == {"a"}, "the host's namespace is the agent's own"
        container.kill()
        wait_until(lambda: not links(), "the pair to go with the container")


def test_a_container_without_a_label_and_a_rename(vppctl: Vppctl, engine: Engine) -> None:
    engine.run("nobody")
    container = engine.run("server", "web")
    with Agent(vppctl):
        vppctl.put(WEB, NAMED, wait=True)
        container.rename("renamed")
        before = links("two")["b"]["ifindex"]
        vppctl.put({**WEB, "mtu": 1400}, NAMED, wait=True)
        assert vppctl.state("a")["container"]["name"] == "renamed"
        assert links("two")["b"]["ifindex"] == before


def test_only_the_pairs_of_the_label_are_woken(vppctl: Vppctl, engine: Engine) -> None:
    with Agent(vppctl, "--log-level", "debug") as agent:
        vppctl.put(WEB, NAMED, *[veth(f"x{n}", f"y{n}", "one") for n in range(20)])
        vppctl.wait_state("a", "PENDING", "MicroserviceNotRunning")
        vppctl.wait_state("x19", "PENDING", "PeerNotConfigured")
        told = len(agent.log.read_text())
        engine.run("server", "web")
        vppctl.wait_state("a", "APPLIED")
        passes = [line for line in agent.log.read_text()[told:].splitlines() if "looked at" in line]
        assert passes
        assert all("looked at 2 interfaces" in line for line in passes), passes


def test_no_docker_at_all_concerns_nobody_else(vppctl: Vppctl, tmp_path: Path) -> None:
    with Agent(vppctl, "--docker-host", f"unix://{tmp_path}/nothing.sock"):
        vppctl.put(WEB, NAMED, veth("c", "d", "one"), veth("d", "c", "two"))
        vppctl.wait_state("c", "APPLIED")
        report = vppctl.wait_state("a", "PENDING", "MicroserviceNotRunning")
        assert (
            f"Docker cannot be asked at unix://{tmp_path}/nothing.sock: No such file or directory" in report["message"]
        )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_an_engine_that_stops_and_starts_again(tmp_path: Path, own_engine: Engine, number: signal.Signals) -> None:
    vppctl = Vppctl({"VPPCTL_STORE": f"sqlite:{tmp_path}/state/store.db"}, tmp_path)
    own_engine.run("server", "web")
    with Agent(vppctl, "--docker-host", own_engine.host):
        vppctl.put(WEB, NAMED, veth("c", "d", "one"), veth("d", "c", "two"), wait=True)
        others = links("one")["c"]["ifindex"]
        own_engine.stop(number)
        if number is signal.SIGTERM:
            # It took its containers along.
            report = vppctl.wait_state("a", "PENDING", "MicroserviceNotRunning", timeout=20)
            wait_until(lambda: "Docker cannot be asked" in vppctl.state("a")["message"], "the reason to say so")
            assert report["state"] == "PENDING"
        own_engine.start()
        container = own_engine.client.containers.get("server")
        container.reload()
        if container.status != "running":
            container.start()
        wait_until(lambda: inside(container) == {"a"}, "the pair when the engine is back", 20)
        vppctl.wait_state("a", "APPLIED", timeout=20)
        assert links("one")["c"]["ifindex"] == others


def test_an_engine_that_hangs_changes_nothing(tmp_path: Path, own_engine: Engine) -> None:
    vppctl = Vppctl({"VPPCTL_STORE": f"sqlite:{tmp_path}/state/store.db"}, tmp_path)
    container = own_engine.run("server", "web")
    with Agent(vppctl, "--docker-host", own_engine.host):
        vppctl.put(WEB, NAMED, wait=True)
        before = links("two")["b"]["ifindex"]
        assert own_engine.process is not None
        own_engine.process.send_signal(signal.SIGSTOP)
        try:
            vppctl.put(veth("c", "d", "one"), veth("d", "c", "two"), wait=True)
            ip("-n", "two", "link", "set", "dev", "b", "mtu", "1400")
            wait_until(lambda: links("two")["b"]["mtu"] == 1500, "drift to be repaired meanwhile")
            assert links("two")["b"]["ifindex"] == before
        finally:
            own_engine.process.send_signal(signal.SIGCONT)
        container.kill()
        wait_until(lambda: not links("two").get("b"), "events to be heard again")


def test_restart_of_the_agent_keeps_what_matches_or_makes_it_again(vppctl: Vppctl, engine: Engine) -> None:
    container = engine.run("server", "web")
    with Agent(vppctl):
        vppctl.put(WEB, NAMED, wait=True)
    before = links("two")["b"]["ifindex"]
    with Agent(vppctl, "--resync", "adopt"):
        vppctl.wait_state("a", "APPLIED")
        assert links("two")["b"]["ifindex"] == before
    container.restart(timeout=0)
    result = vppctl.run("agent", "run", "--once")
    assert result.returncode == 0, result.stderr
    assert inside(container) == {"a"}
    assert links("two")["b"]["ifindex"] != before


@pytest.mark.timeout(300)
def test_a_hundred_starts_and_stops_leave_nothing_behind(vppctl: Vppctl, engine: Engine) -> None:
    container = engine.run("server", "web")
    with Agent(vppctl) as agent:
        vppctl.put(WEB, NAMED, wait=True)
        assert agent.process is not None
        folder = Path(f"/proc/{agent.process.pid}")

        def resources() -> tuple[int, int]:
            return len(list((folder / "fd").iterdir())), len(list((folder / "task").iterdir()))

        def cycle() -> None:
            container.kill()
            wait_until(lambda: not links("two"), "the pair to go")
            container.start()
            wait_until(lambda: "b" in links("two"), "the pair to return")

        cycle()
        before = resources()
        for _ in range(99):
            cycle()
        wait_until(lambda: resources() <= before, f"no more descriptors and threads than {before}")
        assert (set(links("two")), inside(container)) == ({"b"}, {"a"})
        assert not links()


EXAMPLES = Path(__file__).parents[2] / "json"


def test_the_example(vppctl: Vppctl, engine: Engine) -> None:
    container = engine.run("server", "web")
    with Agent(vppctl):
        vppctl("put", str(EXAMPLES / "microservice1.json"), str(EXAMPLES / "microservice2.json"), "--wait")
        assert (inside(container), set(links("ns7"))) == ({"ms1"}, {"ms2"})
