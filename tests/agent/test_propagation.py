"""A /run/netns that belongs to another mount namespace: what is created here must be seen there, or is not created."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agent import Agent, Vppctl, veth
from tests.support.netns import ip, links

pytestmark = pytest.mark.kernel
PAIR = (veth("a", "b", "ns1"), veth("b", "a", "ns2"))


class Contained(Vppctl):
    """The command line in a container's mount namespace; the test's own is the host."""

    how: tuple[str, ...] = ("--propagation", "private")
    before = "true"
    """What was done there when the container was started."""

    def command(self, program: str, arguments: object) -> list[str]:
        command = super().command(program, arguments)  # type: ignore[arg-type]
        return ["unshare", "--mount", *self.how, "sh", "-c", f'{self.before} && exec "$@"', "sh", *command]


@pytest.fixture
def contained(tmp_path: Path) -> Contained:
    return Contained({"VPPCTL_STORE": f"sqlite:{tmp_path}/state/store.db"}, tmp_path)


@pytest.fixture(params=["folder", "file system"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """The host's folder of namespaces as `ip netns add` makes it: of a file system that has more, or a whole one."""
    if request.param == "file system":
        ip("netns", "add", "there")
        yield Path("/run/netns")
        return
    run = tmp_path / "run"
    run.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(run)], check=True)
    (run / "netns").mkdir()
    subprocess.run(["mount", "--bind", str(run / "netns"), "/run/netns"], check=True)
    ip("netns", "add", "there")
    yield run / "netns"
    for name in os.listdir("/run/netns"):
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
    subprocess.run(["umount", "/run/netns"], check=True)
    subprocess.run(["umount", "-R", str(run)], check=True)


BINDS = [
    pytest.param(("--propagation", "private"), "private", id="private"),
    pytest.param(("--propagation", "slave"), "slave", id="slave"),
    # The first process of the container's own PID namespace tells nothing of the host.
    pytest.param(("--propagation", "private", "--pid", "--fork", "--mount-proc"), "private", id="private, own PIDs"),
    pytest.param(("--propagation", "slave", "--pid", "--fork", "--mount-proc"), "slave", id="slave, own PIDs"),
]


@pytest.mark.parametrize(("how", "word"), BINDS)
def test_no_namespace_is_created_where_the_host_does_not_see_it(
    contained: Contained, host: Path, how: tuple[str, ...], word: str
) -> None:
    contained.how = how
    contained.put(*PAIR)
    before = ip("netns", "list")
    for _ in range(2):
        result = contained.run("agent", "run", "--once")
        assert result.returncode == 1
        assert "NamespaceNotFound" in result.stdout
        assert f"a: named namespace 'ns1' does not exist, and is not created here: /run/netns is bound with {word}" in (
            result.stderr
        )
        assert "docker run -v /run/netns:/run/netns:rshared" in result.stderr
        assert ip("netns", "list") == before
        assert set(os.listdir("/run/netns")) == {"there"}


@pytest.mark.parametrize(("how", "word"), BINDS[1::2])
def test_what_the_host_creates_is_entered_through_a_slave(
    contained: Contained, host: Path, how: tuple[str, ...], word: str
) -> None:
    contained.how = how
    contained.put(*PAIR)
    agent = subprocess.Popen(contained.command("vppctl", ["agent", "run"]), env=contained.environment)
    try:
        contained.wait_state("a", "PENDING", "NamespaceNotFound")
        for name in ("ns1", "ns2"):
            ip("netns", "add", name)
        contained.wait_state("a", "APPLIED")
        assert (set(links("ns1")), set(links("ns2"))) == ({"a"}, {"b"})
    finally:
        _end(agent)


@pytest.mark.parametrize(("how", "word"), BINDS[::2])
def test_a_file_that_the_host_mounted_on_is_left_alone(
    contained: Contained, host: Path, how: tuple[str, ...], word: str, tmp_path: Path
) -> None:
    contained.how = how
    # The container is there first; then the host adds a namespace.
    fifo = tmp_path / "go"
    os.mkfifo(fifo)
    contained.put(*PAIR)
    contained.before = f"echo here > {fifo}; read go < {fifo}"
    result = tmp_path / "result"
    with result.open("wb") as out:
        agent = subprocess.Popen(
            contained.command("vppctl", ["agent", "run", "--once"]), env=contained.environment, stdout=out, stderr=out
        )
        assert fifo.read_text() == "here\n"
        ip("netns", "add", "ns1")
        fifo.write_text("go\n")
        assert agent.wait(30) == 1
    assert "a: /run/netns/ns1 is an empty file and not a network namespace; one that was mounted on it" in (
        result.read_text()
    )
    assert "lo" in ip("-n", "ns1", "link"), "the host's own namespace"
    assert links("ns1") == {}
    assert not os.path.ismount("/run/netns/ns2")


@pytest.mark.parametrize("more", [(), ("--pid", "--fork", "--mount-proc")], ids=["", "own PIDs"])
def test_a_shared_bind_serves_both_sides(contained: Contained, host: Path, more: tuple[str, ...]) -> None:
    contained.how = ("--propagation", "unchanged", *more)
    contained.put(*PAIR)
    result = contained.run("agent", "run", "--once")
    assert result.returncode == 0, result.stdout + result.stderr
    assert (set(links("ns1")), set(links("ns2"))) == ({"a"}, {"b"})
    ip("netns", "del", "ns1")
    assert "ns1" not in os.listdir("/run/netns")


def test_an_earlier_namespace_of_the_container_hides_nothing(contained: Contained, host: Path) -> None:
    """`ip netns add` there makes its copy of the folder shared, with nobody to share it with."""
    contained.put(*PAIR)
    contained.before = "ip netns add inner"
    result = contained.run("agent", "run", "--once")
    assert "ns1' does not exist, and is not created here: /run/netns is bound with private" in result.stderr
    assert not os.path.lexists("/run/netns/ns1")


def test_a_folder_of_its_own_is_its_own(contained: Contained, host: Path) -> None:
    """As in a container that has all it needs, or on a host that has not had a namespace yet."""
    contained.put(*PAIR)
    for before in ("mount -t tmpfs tmpfs /run/netns", "mount -t tmpfs tmpfs /run && mkdir /run/netns"):
        contained.before = before
        result = contained.run("agent", "run", "--once")
        assert result.returncode == 0, result.stdout + result.stderr
        assert "ns1" not in ip("netns", "list")


@pytest.mark.parametrize("path", ["/run/netns/late", "/var/run/netns/late"])
def test_an_empty_file_behind_a_path_says_why(contained: Contained, host: Path, path: str) -> None:
    contained.put(veth("a", "b", {"type": 3, "filepath": path}), veth("b", "a"))
    contained.before = "touch /run/netns/late"
    result = contained.run("agent", "run", "--once")
    assert f"a: {path} is an empty file and not a network namespace; one that was mounted on it" in result.stderr
    assert "rshared" in result.stderr


def test_without_creating_an_empty_file_is_not_said_to_be_made_by_ip(vppctl: Vppctl) -> None:
    """`ip netns add` refuses it: File exists."""
    ip("netns", "add", "there")
    Path("/run/netns/ns1").touch(mode=0)
    with Agent(vppctl, "--no-create-namespaces"):
        vppctl.put(*PAIR)
        assert "remove the file" in vppctl.wait_state("a", "PENDING", "NamespaceNotFound")["message"]


def _end(agent: subprocess.Popen[bytes]) -> None:
    """The container's first process does not hand signals on."""
    children = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
    for pid in [*map(int, children), agent.pid]:
        os.kill(pid, signal.SIGKILL)
    agent.wait()
