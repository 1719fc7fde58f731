"""What the command line says is so: about whom nothing is heard, what is reported, and which revision was written."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.agent import Agent, Vppctl, veth
from tests.support.etcd import Etcd
from tests.support.netns import wait_until
from tests.support.proxy import Proxy
from vppctl.cli.waiting import wait_absent, wait_applied
from vppctl.errors import StoreError, TimedOutError
from vppctl.model.keys import ConfigKey, Kind
from vppctl.store.base import Put, Store
from vppctl.store.settings import StoreSettings, open_store, parse_store_url

CONFIG = "/vnf-agent/vpp1/linux/config/v1/interface/"
STATUS = "/vnf-agent/vpp1/linux/status/v1/interface/"
AGENT = "/vnf-agent/vpp1/check/status/v1/agent"


@pytest.fixture
def vppctl(tmp_path: Path) -> Vppctl:
    return Vppctl({"VPPCTL_STORE": f"sqlite:{tmp_path}/store.db"}, tmp_path)


@pytest.fixture
def store(vppctl: Vppctl, tmp_path: Path) -> Any:
    store = open_store(parse_store_url(f"sqlite:{tmp_path}/store.db"))
    yield store
    store.close()


def report(store: Store, name: str, revision: int, state: str = "APPLIED", **more: Any) -> None:
    content = {"name": name, "state": state, "config_revision": revision, **more}
    store.commit([Put(f"{STATUS}{name}", json.dumps(content).encode()), Put(AGENT, b"{}")])


def revision(store: Store, name: str) -> int:
    entry = store.get(f"{CONFIG}{name}")
    assert entry
    return entry.mod_revision


def test_a_report_about_another_revision_is_no_state_of_what_is_stored(vppctl: Vppctl, store: Store) -> None:
    """Once, an agent that could not hear of a change any more was shown as APPLIED."""
    vppctl.put(veth("veth1", "veth2"))
    report(store, "veth1", revision(store, "veth1"), namespace="ns1")
    assert vppctl.state("veth1")["state"] == "APPLIED"
    vppctl.put(veth("veth1", "veth2", mtu=9000))
    old, new = revision(store, "veth1") - 2, revision(store, "veth1")
    found = vppctl.state("veth1")
    assert (found["state"], found["reason"], found["namespace"]) == ("UNKNOWN", "NotReported", "ns1")
    assert found["message"] == f"the agent has reported APPLIED of revision {old}; revision {new} is stored"
    assert "APPLIED" not in vppctl("status", "-o", "wide").replace(found["message"], "")
    assert "State:         UNKNOWN" in vppctl("describe", "veth1")
    report(store, "veth2", 0)
    assert "veth1" in vppctl("graph")
    assert "APPLIED" not in vppctl("graph")
    result = vppctl.run("wait", "veth1", "--for", "applied", "--timeout", "200ms")
    assert result.returncode == 6
    assert f"it has reported revision {old}; revision {new} is stored" in result.stderr


def test_a_report_that_is_ahead_is_none_either(vppctl: Vppctl, store: Store) -> None:
    """The store was restored from a backup, and the agent has not heard of it."""
    vppctl.put(veth("veth1", "veth2"))
    report(store, "veth1", revision(store, "veth1") + 50)
    assert vppctl.state("veth1")["state"] == "UNKNOWN"
    assert vppctl.run("wait", "veth1", "--for", "applied", "--timeout", "200ms").returncode == 6


def test_a_report_of_what_is_deleted(vppctl: Vppctl, store: Store) -> None:
    vppctl.put(veth("veth1", "veth2"))
    report(store, "veth1", revision(store, "veth1"))
    vppctl("del", "veth1")
    found = vppctl.state("veth1")
    assert (found["state"], found["reason"]) == ("UNKNOWN", "NotReported")
    assert found["message"].endswith("; nothing is stored any more")


@pytest.mark.parametrize("kind", ["veth", "afpacket", "invalid"])
def test_without_reports_the_documents_are_shown(vppctl: Vppctl, store: Store, kind: str) -> None:
    documents: dict[str, dict[str, Any]] = {
        "veth": veth("a", "b", "ns1", ip_addresses=["10.0.0.1/24"], mtu=9000, host_if_name="eth7"),
        "afpacket": {"name": "a", "type": 4, "enabled": True, "afpacket": {"host_if_name": "eth7"}},
    }
    if kind == "invalid":
        store.commit([Put(f"{CONFIG}a", b'{"name": "a", "mtu": 3}')])
    else:
        vppctl.put(documents[kind])
    found = vppctl.state("a")
    assert (found["state"], found["reason"]) == ("UNKNOWN", "AgentNotRunning")
    shown = {name: found.get(name) for name in ("namespace", "peer", "host_if_name", "ip_addresses", "mtu")}
    assert (
        list(shown.values())
        == {
            "veth": ["ns1", "b", "eth7", ["10.0.0.1/24"], 9000],
            "afpacket": ["vpp", "eth7", "eth7", [], 0],
            "invalid": [None] * 5,
        }[kind]
    )


@pytest.mark.etcd
def test_each_put_names_the_revision_of_its_own_transaction(tmp_path: Path, either_etcd: Etcd) -> None:
    """Once, all had that of the last transaction."""
    vppctl = Vppctl({"ETCDCTL_ENDPOINTS": either_etcd.endpoint}, tmp_path)
    file = tmp_path / "many.json"
    file.write_text(json.dumps({"interface": [veth(f"v{n:03}", f"v{n ^ 1:03}") for n in range(20)]}))
    result = vppctl.run("put", str(file))
    assert result.returncode == 0, result.stderr
    said = dict(re.findall(r"^put (\S+) \(revision (\d+)\)$", result.stderr, re.MULTILINE))
    assert len(said) == 20
    store = open_store(StoreSettings((either_etcd.endpoint,)))
    stored = {entry.key: str(entry.mod_revision) for entry in store.list(CONFIG).entries}
    store.close()
    assert said == stored
    assert len({*stored.values()}) == 4
    applied = vppctl.run("apply", "-f", str(file))
    assert applied.returncode == 0
    file.write_text(json.dumps({"interface": [veth(f"v{n:03}", f"v{n ^ 1:03}", mtu=9000) for n in range(20)]}))
    applied = vppctl.run("apply", "-f", str(file))
    first, last = sorted(stored.values())[0], sorted(stored.values())[-1]
    assert f"applied (revisions {int(first) + 4} to {int(last) + 4})" in applied.stderr


@pytest.fixture
def either_etcd(tmp_path: Path) -> Any:
    """A server with small transactions, so that a few documents are several."""
    folder = tmp_path / "etcd-data"
    folder.mkdir()
    with Etcd(folder, "--max-txn-ops=8") as server:
        yield server


@pytest.mark.etcd
def test_apply_whose_answer_is_lost(tmp_path: Path, either_etcd: Etcd) -> None:
    """Once, it was refused by its own first attempt: nothing was written, it said."""
    direct = Vppctl({"ETCDCTL_ENDPOINTS": either_etcd.endpoint}, tmp_path)
    direct.put(veth("a", "b"))
    file = tmp_path / "wanted.json"
    file.write_text(json.dumps(veth("a", "b", mtu=9000)))

    def mtu() -> int:
        return int(json.loads(direct("get", "a")).get("mtu", 0))

    with Proxy(either_etcd.port) as proxy:
        proxy.lose_answer(b'"mtu":9000', lambda: mtu() == 9000)
        result = Vppctl({"ETCDCTL_ENDPOINTS": f"{proxy.endpoint},{either_etcd.endpoint}"}, tmp_path).run(
            "apply", "-f", str(file)
        )
        assert proxy.cuts == 1
    assert (result.returncode, result.stderr) == (0, "applied (revision 3)\n")
    assert '"version":2' in either_etcd.ctl("get", f"{CONFIG}a", "-w", "json")


class DeafStore:
    """A store whose watch fails at once, again and again."""

    def __init__(self, store: Store) -> None:
        self._store, self.lists = store, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def list(self, *arguments: Any, **more: Any) -> Any:
        self.lists += 1
        return self._store.list(*arguments, **more)

    def watch(self, *_: Any) -> Any:
        raise StoreError("no inotify instance is left")


def test_waiting_on_a_watch_that_fails_at_once_does_not_list_all_the_time(vppctl: Vppctl, store: Store) -> None:
    """Once, 269,305 lists in a second."""
    vppctl.put(veth("a", "b"))
    deaf = DeafStore(store)
    with pytest.raises(TimedOutError, match="no inotify instance is left"):
        wait_applied(deaf, [(ConfigKey("vpp1", Kind.LINUX, "a"),)], 1.0)
    assert 2 <= deaf.lists <= 10
    report(store, "a", revision(store, "a"))
    wait_applied(deaf, [(ConfigKey("vpp1", Kind.LINUX, "a"),)], 1.0)
    wait_absent(deaf, [(ConfigKey("vpp1", Kind.LINUX, "b"),)], 1.0)


@pytest.mark.etcd
def test_waiting_goes_on_when_the_store_starts_again(tmp_path: Path) -> None:
    with Etcd(tmp_path) as server:
        vppctl = Vppctl({"ETCDCTL_ENDPOINTS": server.endpoint}, tmp_path)
        vppctl.put(veth("a", "b"))
        command = vppctl.command("vppctl", ["wait", "a", "--for", "absent", "--timeout", "40s"])
        waiting = subprocess.Popen(command, env=vppctl.environment, stderr=subprocess.PIPE, text=True)
        wait_until(lambda: _watchers(server) > 0, "the watch")
        server.signal(signal.SIGKILL)
        server.kill()
        wait_until(lambda: waiting.poll() is None, "it to go on")
        server.start()
        vppctl("del", "a")
        assert waiting.wait(30) == 0, waiting.communicate()
        waiting.communicate()


def _watchers(server: Etcd) -> int:
    from urllib.request import urlopen

    with urlopen(f"{server.url}/metrics") as answer:
        found = re.search(r"^etcd_debugging_mvcc_watcher_total (\d+)", answer.read().decode(), re.MULTILINE)
    return int(found[1]) if found else 0


def _takes(store: Store, size: int) -> bool:
    try:
        store.commit([Put("/fill", b"x" * size)])
    except StoreError:
        return False
    return True


@pytest.mark.kernel
@pytest.mark.etcd
def test_an_agent_that_cannot_publish_is_not_said_to_be_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """etcd without space takes no heartbeat."""
    with listening_on_a_socket(tmp_path, monkeypatch, "--quota-backend-bytes=100000") as (server, socket):
        vppctl = Vppctl({"ETCDCTL_ENDPOINTS": server.endpoint}, tmp_path)
        vppctl.put(veth("a", "b"))
        store = open_store(StoreSettings((server.endpoint,)))
        wait_until(lambda: not _takes(store, 30_000) and "NOSPACE" in store.trouble(), "the quota to be used up", 20)
        store.close()
        with Agent(vppctl) as agent:
            wait_until(lambda: "cannot publish states" in agent.log.read_text(), "the refusal", 20)
            where = f"etcd {server.endpoint}"
            said = f"the agent of label vpp1 runs on this host, but has no heartbeat in {where}: {where}: it is out of"
            assert vppctl.state("a")["reason"] == "NoHeartbeat"
            for arguments in (["status"], ["wait", "a", "--for", "applied", "--timeout", "300ms"]):
                result = vppctl.run(*arguments)
                assert said in result.stderr
                assert "no agent" not in result.stderr
            # On another host there is neither the lock, the agent's name nor its process to be asked.
            elsewhere = [
                "unshare",
                "-m",
                "-n",
                "-p",
                "-f",
                "--mount-proc",
                "sh",
                "-c",
                'mount -t tmpfs none /run/vppctl && exec "$@"',
                "sh",
            ]
            command = [*elsewhere, *vppctl.command("vppctl", ["--store", f"unix:{socket}", "status"])]
            result = subprocess.run(command, env=vppctl.environment, capture_output=True, text=True, check=True)
            assert "NoHeartbeat" in result.stdout
            assert result.stderr.startswith(f"a: no agent of label vpp1 has a heartbeat in etcd unix:{socket}: ")
            assert "is running" not in result.stderr


@pytest.mark.kernel
@pytest.mark.etcd
def test_an_agent_that_may_not_publish_any_more_says_so(tmp_path: Path) -> None:
    """Its heartbeat goes on, since a lease needs no user; once, nothing said why the new revision is not reported."""
    with Etcd(tmp_path) as server:
        for user in ("root", "agent"):
            server.ctl("user", "add", f"{user}:one")
            server.ctl("user", "grant-role", user, "root")
        server.ctl("auth", "enable")
        root = Vppctl({"ETCDCTL_ENDPOINTS": server.endpoint, "ETCDCTL_USER": "root:one"}, tmp_path)
        agent = Vppctl({"ETCDCTL_ENDPOINTS": server.endpoint, "ETCDCTL_USER": "agent:one"}, tmp_path)
        with Agent(agent):
            root.put(veth("a", "b"), veth("b", "a"), wait=True)
            server.ctl("--user=root:one", "user", "passwd", "agent", "--interactive=false", stdin="two")
            root.put(veth("a", "b", mtu=1400))
            said = "on this host it reports: publisher: cannot publish states: .* wrong name or password"
            wait_until(lambda: re.search(said, root.state("a")["message"]), "the reason")
            assert root.state("b")["state"] == "APPLIED"
            result = root.run("wait", "a", "--for", "applied", "--timeout", "100ms")
            assert re.search(said, result.stderr), result.stderr


@pytest.mark.kernel
def test_an_agent_with_another_store(vppctl: Vppctl, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Vppctl({"VPPCTL_STORE": f"sqlite:{tmp_path}/other/store.db"}, tmp_path / "other")
    with Agent(other):
        other.put(veth("a", "b"), veth("b", "a"), wait=True)
        nothing = vppctl.run("status")
        said = "nothing is configured under label vpp1; 'vppctl list' shows what is under others\n"
        assert (nothing.returncode, nothing.stdout, nothing.stderr) == (0, "", said)
        assert vppctl.run("status", "-o", "json").stderr == ""
        vppctl.put(veth("a", "b"))
        said = "runs on this host, but has no heartbeat in sqlite {}/store.db; it may have another --store"
        assert said.format(tmp_path) in vppctl.state("a")["message"]


@contextlib.contextmanager
def listening_on_a_socket(folder: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> Iterator[tuple[Etcd, Path]]:
    """A server, and its socket: a file in the folder where it was started."""
    data = folder / "etcd-data"
    data.mkdir()
    server = Etcd(data, *options)
    server.options += (f"--listen-client-urls={server.url},unix://localhost:{server.port}",)
    with monkeypatch.context() as inside:
        inside.chdir(folder)
        server.start()
    try:
        yield server, folder / f"localhost:{server.port}"
    finally:
        server.kill()


@pytest.mark.etcd
def test_forms_that_etcdctl_takes(tmp_path: Path, either_etcd: Etcd) -> None:
    port = either_etcd.port
    for arguments in (
        ["--endpoints", f" http://127.0.0.1:{port}/ , 127.0.0.1:{port}"],
        ["--endpoints", f"localhost:{port}"],
        ["--endpoints", f"HTTP://127.0.0.1:{port},"],
        ["--store", f"http://127.0.0.1:{port}"],
        ["--endpoints", f"127.0.0.1:{port}", "--user", "bob:pw:with:colons"],
    ):
        result = Vppctl({}, tmp_path).run(*arguments, "list")
        assert result.returncode == 0, (arguments, result.stderr)
    assert f"etcd 127.0.0.1:{port} has no users switched on (etcdctl auth enable): --user is not used" in result.stderr


@pytest.mark.etcd
def test_a_unix_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with listening_on_a_socket(tmp_path, monkeypatch) as (_, socket):
        for url in (f"unix:{socket}", f"unix://{socket}"):
            vppctl = Vppctl({"VPPCTL_STORE": url}, tmp_path)
            vppctl.put(veth("a", "b"))
            assert json.loads(vppctl("get", "a"))["name"] == "a"


def test_a_host_that_is_called_unix_is_no_socket(tmp_path: Path) -> None:
    """To gRPC `unix:2379` is a file in the current folder, whoever has put it there."""
    import socket

    with socket.socket(socket.AF_UNIX) as trap:
        trap.bind(str(tmp_path / "2379"))
        trap.listen()
        trap.settimeout(0.2)
        command = Vppctl({}, tmp_path).command("vppctl", ["--store", "etcd://unix:2379", "list"])
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert result.returncode == 5
        with pytest.raises(TimeoutError):
            trap.accept()


@pytest.mark.parametrize(
    ("environment", "arguments", "said"),
    [
        (
            {"ETCDCTL_INSECURE_SKIP_TLS_VERIFY": "true"},
            ["--endpoints", "https://127.0.0.1:1"],
            "SKIP_TLS_VERIFY is not",
        ),
        ({"ETCDCTL_INSECURE_SKIP_TLS_VERIFY": "yes"}, [], "'yes' is neither true nor false"),
        ({"ETCDCTL_DISCOVERY_SRV": "example.org"}, [], "ETCDCTL_DISCOVERY_SRV is not supported; give the members"),
        ({"ETCDCTL_AUTH_JWT_TOKEN": "x"}, [], "ETCDCTL_AUTH_JWT_TOKEN is not supported"),
        ({}, ["--user", ":"], "--user ':' has no name"),
        ({}, ["--endpoints", "http://127.0.0.1:1,https://127.0.0.1:2"], "'http://127.0.0.1:1' stands beside one with"),
        ({}, ["--store", "https://127.0.0.1:1,http://127.0.0.1:2"], "'http://127.0.0.1:2' stands beside one with TLS"),
        ({}, ["--endpoints", ","], "'' is no endpoint"),
    ],
    ids=lambda value: " ".join(value) if not isinstance(value, str) else None,
)
def test_what_cannot_be_done_is_refused_by_name(
    tmp_path: Path, environment: dict[str, str], arguments: list[str], said: str
) -> None:
    result = Vppctl(environment, tmp_path).run(*arguments, "list")
    assert (result.returncode, result.stdout) == (2, "")
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("endpoints", ["", "127.0.0.1:1"], ids=["default", "without a scheme"])
def test_etcdctls_variable_that_asks_for_tls(endpoints: str) -> None:
    from vppctl.cli.settings import Settings

    variables = {"ETCDCTL_INSECURE_TRANSPORT": "false", "ETCDCTL_ENDPOINTS": endpoints}
    assert Settings({}, variables).store().secure
    assert not Settings({}, {**variables, "ETCDCTL_ENDPOINTS": "http://127.0.0.1:1"}).store().secure
    assert not Settings({}, {**variables, "ETCDCTL_INSECURE_TRANSPORT": "true"}).store().secure
