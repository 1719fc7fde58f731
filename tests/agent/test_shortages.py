"""What runs out: the state and the log name it, all else goes on, and all is well again when there is room."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.agent import Agent, Vppctl, veth
from tests.support.etcd import Etcd
from tests.support.limits import Tasks, tasks
from tests.support.netns import links, wait_until

pytestmark = pytest.mark.kernel


@pytest.fixture
def group() -> Iterator[Tasks]:
    with tasks() as found:
        yield found


@contextlib.contextmanager
def tmpfs(folder: str, options: str) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def test_deleting_where_there_are_no_more_threads(vppctl: Vppctl, group: Tasks) -> None:
    """Once, the agent ended with an internal error: can't start new thread."""
    count = 20
    with Agent(vppctl) as agent:
        vppctl.put(
            *(d for n in range(count) for d in (veth(f"a{n}", f"b{n}", f"x{n}"), veth(f"b{n}", f"a{n}", f"y{n}")))
        )
        vppctl("wait", *(f"a{n}" for n in range(count)), "--for", "applied")
        assert agent.process is not None
        group.take(agent.process.pid)
        group.limit(group.number)
        vppctl("del", *(f"{side}{n}" for n in range(count) for side in "ab"))
        wait_until(lambda: not any(links(f"{s}{n}") for n in range(count) for s in "xy"), "all to be deleted", 30)
        group.limit("max")
        assert agent.process.poll() is None


def test_docker_where_there_is_no_thread_to_follow_it(vppctl: Vppctl, group: Tasks) -> None:
    with Agent(vppctl) as agent:
        vppctl.put(veth("a", "b"), veth("b", "a"))
        vppctl.wait_state("a", "APPLIED")
        assert agent.process is not None
        group.take(agent.process.pid)
        group.limit(group.number)
        vppctl.put(veth("m", "n", {"type": 1, "microservice": "web"}), veth("n", "m"))
        report = vppctl.wait_state("m", "PENDING", "MicroserviceNotRunning")
        assert "Docker cannot be asked: there are no more threads; raise TasksMax=" in report["message"]
        group.limit("max")
        wait_until(lambda: "docker.sock" in vppctl.state("m")["message"], "Docker to be asked", 20)


def test_more_processes_than_descriptors(vppctl: Vppctl) -> None:
    """Once, those that are waited for took all descriptors, and no namespace could be opened."""
    processes = [subprocess.Popen(["sleep", "1000"]) for _ in range(50)]
    try:
        with Agent(vppctl, before=["sh", "-c", 'ulimit -n 40; exec "$@"', "sh"]):
            sides = [(f"a{n}", f"b{n}", {"type": 0, "pid": p.pid}) for n, p in enumerate(processes)]
            vppctl.put(*(d for a, b, place in sides for d in (veth(a, b, place), veth(b, a))))
            vppctl("wait", *(side for a, b, _ in sides for side in (a, b)), "--for", "applied")
            for gone in (0, 49):
                processes[gone].kill()
                processes[gone].wait()
                vppctl.wait_state(f"a{gone}", "PENDING", "ProcessNotRunning")
            assert links().keys() == {side for a, b, _ in sides[1:-1] for side in (a, b)}
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_a_lock_for_which_there_is_no_room(vppctl: Vppctl) -> None:
    with tmpfs("/run/vppctl", "nr_inodes=1,mode=700"):
        result = vppctl.run("agent", "run", "--once")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "/run/vppctl/agent-vpp1.lock: cannot be made: No space left on device; make room there\n"


@pytest.mark.etcd
@pytest.mark.parametrize("limit", [2, 10])
def test_an_agent_that_starts_where_there_are_too_few_threads(
    on_etcd: Vppctl, etcd: Etcd, group: Tasks, limit: int
) -> None:
    """Once, it hung without a word, or gRPC ended it by abort()."""
    on_etcd.put(veth("a", "b"), veth("b", "a"))
    group.limit(limit)
    with Agent(on_etcd, before=group.command()) as agent:
        short = f"cannot reach etcd {etcd.endpoint}: there are no more threads; raise TasksMax= of its unit (pids.max)"
        wait_until(lambda: short in agent.log.read_text(), "the log to name it")
        assert f"store: {short}" in on_etcd("agent", "health")
        group.limit("max")
        on_etcd.wait_state("a", "APPLIED", timeout=20)
        wait_until(lambda: short not in on_etcd("agent", "health"), "all to be well again", 20)


@pytest.mark.etcd
@pytest.mark.parametrize(
    ("limit", "command"), [(1, ["list"]), (5, ["put", "put.json"]), (6, ["status"]), (8, ["status", "-w"])], ids=str
)
def test_a_command_that_has_too_few_threads(on_etcd: Vppctl, group: Tasks, limit: int, command: list[str]) -> None:
    """Once, it waited for ever, without a word, or was ended by SIGABRT."""
    on_etcd.put(veth("a", "b"))
    group.limit(limit)
    command = group.command(*on_etcd.command("vppctl", command))
    with subprocess.Popen(
        command, env=on_etcd.environment, cwd=on_etcd.folder, stderr=subprocess.PIPE, text=True
    ) as it:
        assert it.stderr is not None
        lines = iter(it.stderr)
        assert any("there are no more threads; raise TasksMax=" in line for line in lines)
        if "-w" in command:
            it.terminate()
        else:
            assert list(lines) == []
            assert it.wait(10) == 5


STREAMS = """
import os, sys, threading
from vppctl.errors import StoreError
from vppctl.store.base import Put
from vppctl.store.settings import open_store, parse_store_url

def refuse(thread):
    raise RuntimeError("can't start new thread")

store = open_store(parse_store_url(sys.argv[1]))
lease = store.lease(60)
start, threading.Thread.start = threading.Thread.start, refuse
for begin in (lambda: store.watch("/", 1), lease.refresh):
    try:
        begin()
    except StoreError as error:
        print(error)
threading.Thread.start = start
assert lease.refresh()
watch = store.watch("/", 1)
store.commit([Put("/a", b"1")])
print(watch.next(5.0).entries[0].key, flush=True)
watch.close()
store.close()
os._exit(0)
"""


@pytest.mark.etcd
def test_a_stream_that_gets_no_thread_takes_no_other_along(etcd: Etcd) -> None:
    """Others take the threads between the trial and the stream: its channel would give no later stream an answer."""
    command = [sys.executable, "-c", STREAMS, f"etcd://{etcd.endpoint}"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    short = f"cannot reach etcd {etcd.endpoint}: there are no more threads; raise TasksMax= of its unit (pids.max) "
    assert [line.startswith(short) for line in result.stdout.splitlines()] == [True, True, False], result.stdout
    assert result.stdout.endswith("\n/a\n")


def limited(name: str) -> list[str]:
    """A command that runs another one in a user namespace, whose limits are its own: there is none of these."""
    prepare = f"mount -t tmpfs tmpfs /run/netns; ip link set lo up; echo 0 > /proc/sys/user/{name}"
    return ["unshare", "--user", "--map-root-user", "--net", "--mount", "sh", "-c", f'{prepare}; exec "$@"', "sh"]


def lift(agent: Agent, name: str) -> None:
    """And now there are ten."""
    assert agent.process is not None
    inside = ["nsenter", f"--target={agent.process.pid}", "--user", "--preserve-credentials", "sh", "-c"]
    subprocess.run([*inside, f"echo 10 > /proc/sys/user/{name}"], check=True)


def test_an_embedded_store_without_inotify(vppctl: Vppctl) -> None:
    """Once, the watch failed at once and the store was listed again, ten times a second, with two lines of log each."""
    with Agent(vppctl, "--log-level", "debug", before=limited("max_inotify_instances")) as agent:
        for mtu in (1500, 1400):
            vppctl.put(veth("a", "b", mtu=mtu), veth("b", "a"), wait=True)
        lines = agent.log.read_text().splitlines()
        warnings = [line for line in lines if " warning " in line]
        assert len(warnings) == 1
        assert "since inotify has no room: Too many open files (see fs.inotify.max_user_instances" in warnings[0]
        assert sum("the store is followed" in line for line in lines) == 1
        assert vppctl("agent", "health") == "the agent of label vpp1 is alive\n"
        lift(agent, "max_inotify_instances")
        vppctl.put(veth("a", "b", mtu=1200), veth("b", "a"), wait=True)


def test_namespaces_that_may_not_be_created(vppctl: Vppctl) -> None:
    """Once, PENDING NamespaceNotFound for ever, and the kernel's words were in the log alone."""
    with Agent(vppctl, before=limited("max_net_namespaces")) as agent:
        vppctl.put(veth("a", "b", "one"), veth("b", "a"))
        report = vppctl.wait_state("a", "FAILED", "ResourceExhausted")
        assert "No space left on device; raise sysctl user.max_net_namespaces, which is 0" in report["message"]
        assert vppctl.state("b")["reason"] == "ResourceExhausted"
        lift(agent, "max_net_namespaces")
        vppctl.wait_state("a", "APPLIED", timeout=20)


def test_namespaces_on_a_file_system_that_is_read_only(vppctl: Vppctl) -> None:
    with Agent(vppctl):
        subprocess.run(["mount", "--bind", "/run/netns", "/run/netns"], check=True)
        try:
            subprocess.run(["mount", "-o", "remount,bind,ro", "/run/netns"], check=True)
            vppctl.put(veth("a", "b", "one"), veth("b", "a"))
            report = vppctl.wait_state("a", "FAILED", "KernelError")
            assert "cannot create namespace 'one': /run/netns/one: Read-only file system" in report["message"]
            subprocess.run(["mount", "-o", "remount,bind,rw", "/run/netns"], check=True)
            vppctl.wait_state("a", "APPLIED", timeout=20)
        finally:
            subprocess.run(["umount", "--lazy", "/run/netns"], check=True)
