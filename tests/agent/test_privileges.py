"""The agent with no more than the capabilities that it needs: in each thread, and enough for all that it does."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from tests.support.agent import Agent, Vppctl, veth
from tests.support.netns import addresses, ip, links, links_of, wait_until
from vppctl.linux.privileges import NEEDED

pytestmark = pytest.mark.kernel

OTHER = 65534
MASK = sum(1 << number for number in NEEDED.values())


def capabilities(status: Path) -> dict[str, int]:
    """The sets of a thread, and whether it may get more."""
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return {name: int(lines[name], 16) for name in ("CapPrm", "CapEff", "CapInh", "CapBnd", "CapAmb", "NoNewPrivs")}


@pytest.mark.etcd
@pytest.mark.parametrize("store", ["vppctl", "on_etcd"])
def test_all_threads_have_given_them_up(store: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    vppctl: Vppctl = request.getfixturevalue(store)
    file = tmp_path / "first.json"
    file.write_text('{"name": "x", "veth": {"peer_if_name": "y"}}')
    with Agent(vppctl, str(file), "--http", f"unix:{tmp_path}/http.sock") as agent:
        vppctl.put(veth("a", "b", "one"), veth("b", "a"), wait=True)
        assert agent.process is not None
        threads = list(Path(f"/proc/{agent.process.pid}/task").iterdir())
        assert len(threads) > 5
        for thread in threads:
            assert capabilities(thread / "status") == {
                "CapPrm": MASK,
                "CapEff": MASK,
                "CapInh": 0,
                "CapBnd": MASK,
                "CapAmb": 0,
                "NoNewPrivs": 1,
            }
        assert stat.S_IMODE((tmp_path / "http.sock").stat().st_mode) == 0o600


def test_a_process_of_another_user_whose_namespace_has_no_ipv6(vppctl: Vppctl) -> None:
    other = ["setpriv", f"--reuid={OTHER}", f"--regid={OTHER}", "--clear-groups", "sleep", "600"]
    script = f"echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6; exec {' '.join(other)}"
    process = subprocess.Popen(["unshare", "-n", "sh", "-c", script])
    try:
        wait_until(lambda: Path(f"/proc/{process.pid}").stat().st_uid == OTHER, "the process to be of another user")
        with Agent(vppctl):
            pid = {"type": 0, "pid": process.pid}
            vppctl.put(veth("a", "b", pid, ip_addresses=["2001:db8::1/64"]), veth("b", "a", "two"), wait=True)
            assert links_of(process.pid) == {"a"}
    finally:
        process.kill()
        process.wait()


def test_a_namespace_file_in_a_folder_of_another_user(vppctl: Vppctl, tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o700)
    file = folder / "ns"
    file.touch(mode=0)
    os.chown(folder, OTHER, OTHER)
    ip("netns", "add", "one")
    subprocess.run(["mount", "--bind", "/run/netns/one", str(file)], check=True)
    try:
        with Agent(vppctl, "--allow-dir", str(tmp_path)):
            reference = {"type": 3, "filepath": str(file)}
            both = (veth("a", "b", reference, ip_addresses=["10.0.0.1/24"]), veth("b", "a", "two"))
            store = vppctl.folder / "put.json"
            vppctl.put(veth("b", "a", "two"))
            vppctl.run("put", "--raw", "/vnf-agent/vpp1/linux/config/v1/interface/a", str(_write(store, both[0])))
            vppctl.wait_state("a", "APPLIED")
            assert addresses("one", "a") == {"10.0.0.1/24"}
            ip("netns", "del", "two")
            wait_until(lambda: set(links("two")) == {"b"}, "the namespace to be made again", 20)
    finally:
        subprocess.run(["umount", str(file)], check=True)


def _write(file: Path, document: object) -> Path:
    import json

    file.write_text(json.dumps(document))
    return file
