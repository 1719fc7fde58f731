"""Certificates that are renewed on the disk: the agent follows again, and nothing claims more than is so meanwhile."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

from tests.store.test_etcd import mutual, sign_all
from tests.support.agent import Agent, Vppctl, veth
from tests.support.etcd import Etcd
from tests.support.netns import links, wait_until

pytestmark = [pytest.mark.kernel, pytest.mark.etcd]

FILES = ("ca.pem", "cert.pem", "key.pem")


def client(folder: Path, endpoint: str) -> Vppctl:
    """The command line with the certificates of this folder, which are those of now."""
    variables = ("ETCDCTL_CACERT", "ETCDCTL_CERT", "ETCDCTL_KEY")
    paths = {variable: str(folder / file) for variable, file in zip(variables, FILES, strict=True)}
    return Vppctl({"ETCDCTL_ENDPOINTS": endpoint, **paths}, folder)


def hand_out(source: Path, target: Path) -> None:
    for file in FILES:
        shutil.copy(source / file, target / file)


def test_all_certificates_are_renewed(tmp_path: Path) -> None:
    """Once, the watch kept the old CA for ever, and status showed APPLIED of the old revision as if it were the new."""
    central, host = tmp_path / "central", tmp_path / "host"
    central.mkdir()
    host.mkdir()
    (central / "ext").write_text("subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n")
    sign_all(central)
    hand_out(central, host)
    with mutual(central) as server:
        operator, on_host = client(central, server.endpoint), client(host, server.endpoint)
        with Agent(on_host):
            on_host.put(veth("a", "b"), veth("b", "a"), wait=True)
            sign_all(central)
            server.kill()
            server.start()
            operator.put(veth("a", "b", mtu=1400), veth("b", "a", mtu=1400))
            wait_until(
                lambda: "its certificate is not signed by a CA that is known here" in on_host("agent", "health"),
                "health to report it",
                20,
            )
            assert "what is applied is of revision " in on_host("agent", "health")
            assert operator.state("a").get("state") != "APPLIED", "not of this revision"
            assert links()["a"]["mtu"] == 1500
            hand_out(central, host)
            operator.wait_state("a", "APPLIED", timeout=20)
            assert links()["a"]["mtu"] == 1400
            wait_until(lambda: "degraded" not in on_host("agent", "health"), "all to be well again", 20)
            # And from then on, by what the connection brings.
            operator.put(veth("a", "b", mtu=1300), veth("b", "a", mtu=1300), wait=True)


def test_settings_that_have_changed_are_read_at_sighup(vppctl: Vppctl, tmp_path: Path) -> None:
    """A file of --config: the agent moves to the store that it names now, and does not while the file has a mistake."""
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    config = tmp_path / "etcd.conf"
    del vppctl.environment["VPPCTL_STORE"]
    with Etcd(tmp_path / "old") as old, Etcd(tmp_path / "new") as new:
        config.write_text(f"endpoints: ['{old.endpoint}']\n")
        vppctl.environment["ETCDV3_CONFIG"] = str(config)
        with Agent(vppctl) as agent:
            assert agent.process is not None
            vppctl.put(veth("a", "b"), veth("b", "a"), wait=True)
            config.write_text("endpoints: [\n")
            agent.process.send_signal(signal.SIGHUP)
            wait_until(
                lambda: "the store's settings stay as they were: " in agent.log.read_text(), "the log to name it"
            )
            config.write_text(f"endpoints: ['{new.endpoint}']\n")
            vppctl.put(veth("a", "b", mtu=1400), veth("b", "a", mtu=1400))
            agent.process.send_signal(signal.SIGHUP)
            vppctl.wait_state("a", "APPLIED")
            assert links()["a"]["mtu"] == 1400
