"""What etcd can be set up as: small limits, no space, learners, a proxy of its own, users switched on and off."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.store.test_etcd import Follower, settings
from tests.support.etcd import PROGRAM, Etcd, free_port
from tests.support.netns import wait_until
from vppctl.cli.entries import commit
from vppctl.errors import StoreError, TooLargeError, UnknownOutcomeError
from vppctl.store.base import Changed, Put, Store
from vppctl.store.etcd_client import EtcdClient
from vppctl.store.settings import StoreSettings, open_store

pytestmark = pytest.mark.etcd
Start = Callable[..., Etcd]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts members, each with data of its own."""
    with ExitStack() as stack:

        def one(*options: str) -> Etcd:
            folder = tmp_path / str(free_port())
            folder.mkdir()
            return stack.enter_context(Etcd(folder, *options))

        yield one


@pytest.fixture
def connect() -> Iterator[Callable[[StoreSettings], Store]]:
    with ExitStack() as stack:

        def one(where: StoreSettings) -> Store:
            store = open_store(where)
            stack.callback(store.close)
            return store

        yield one


Connect = Callable[[StoreSettings], Store]


def test_a_small_limit_of_operations(start: Start, connect: Connect, capsys: pytest.CaptureFixture[str]) -> None:
    server = start("--max-txn-ops=16")
    store = connect(settings(server))
    with pytest.raises(TooLargeError, match="too many operations"):
        store.commit([Put(f"/{n}", b"x") for n in range(17)])
    revisions = commit(store, [Put(f"/{n:02}", b"x") for n in range(40)])
    assert [entry.mod_revision for entry in store.list("/").entries] == revisions
    assert len(set(revisions)) == 4
    assert capsys.readouterr().err == (
        "40 keys are more than one transaction of this store takes: written in several, of at most 10\n"
    )


def test_a_small_limit_of_bytes(start: Start, connect: Connect, capsys: pytest.CaptureFixture[str]) -> None:
    server = start("--max-request-bytes=20000")
    store = connect(settings(server))
    revisions = commit(store, [Put(f"/{n:02}", b"x" * 1000) for n in range(40)])
    assert [entry.mod_revision for entry in store.list("/").entries] == revisions
    assert "written in several" in capsys.readouterr().err
    with pytest.raises(TooLargeError, match=r"^/large: .* write less, or raise etcd's --max-request-bytes"):
        commit(store, [Put("/large", b"x" * 30_000)])


def test_more_than_grpc_takes_is_split_too(start: Start, connect: Connect) -> None:
    """Past the request limit there is that of the connection, which is another error."""
    store = connect(settings(start()))
    revisions = commit(store, [Put(f"/{n:02}", b"x" * 200_000) for n in range(20)])
    assert [entry.mod_revision for entry in store.list("/").entries] == revisions


def test_one_stream_on_a_connection(start: Start, connect: Connect) -> None:
    """Once, a watch took the one place that calls needed, and nothing worked any more."""
    server = start("--max-concurrent-streams=1")
    store = connect(settings(server, timeout=1.0))
    followers = [Follower(store), Follower(store)]
    wait_until(lambda: all(follower.states[-1:] == [True] for follower in followers), "both to follow", 20)
    server.ctl("put", "/a", "1")
    wait_until(lambda: all(follower.seen == {"/a": b"1"} for follower in followers), "the change", 20)
    other = connect(settings(server, timeout=1.0))
    # Once, each new client had to wait for its first call in vain: a publisher, which opens one each time, for ever.
    lease = other.lease(60)
    assert lease.refresh()
    for follower in followers:
        follower.end()


def _works(store: Store) -> bool:
    try:
        store.get("/a")
    except StoreError:
        return False
    return True


def test_no_space_is_said(start: Start, connect: Connect) -> None:
    server = start("--quota-backend-bytes=100000")
    store = connect(settings(server))
    assert store.trouble() == ""

    refusals: list[str] = []

    def full() -> bool:
        try:
            store.commit([Put("/a", b"x" * 30_000)])
        except StoreError as error:
            refusals.append(str(error))
        return bool(refusals)

    wait_until(full, "the quota to be used up", 20)
    assert "out of space (alarm NOSPACE)" in refusals[0]
    assert "out of space (alarm NOSPACE)" in store.trouble()
    assert len(store.list("/").entries) == 1


def test_an_alarm_that_refuses_writes_is_said(start: Start, connect: Connect) -> None:
    """Once, etcd's refusal counted as an answer that was lost."""
    from vppctl.store.etcd_stubs import etcdrpc

    where = settings(start())
    store, client = connect(where), EtcdClient(where)
    member = client.call("Maintenance", "Status", etcdrpc.StatusRequest()).header.member_id
    client.call(
        "Maintenance", "Alarm", etcdrpc.AlarmRequest(action=etcdrpc.AlarmRequest.ACTIVATE, memberID=member, alarm=2)
    )
    with pytest.raises(StoreError, match=r"refused: .*alarm CORRUPT.* takes no writes") as refusal:
        store.commit([Put("/a", b"1")])
    assert not isinstance(refusal.value, UnknownOutcomeError)
    assert "alarm CORRUPT" in store.trouble()
    client.close()


def test_a_learner_first_among_the_endpoints(start: Start, connect: Connect, tmp_path: Path) -> None:
    first = start("--name=default")
    folder = tmp_path / "learner"
    folder.mkdir()
    learner = Etcd(folder, "--name=learner", "--initial-cluster-state=existing")
    peer = f"http://127.0.0.1:{learner.peer_port}"
    first.ctl("member", "add", "learner", "--learner", f"--peer-urls={peer}")
    cluster = f"default=http://127.0.0.1:{first.peer_port},learner={peer}"
    learner.options += (f"--initial-cluster={cluster}",)
    with learner:
        store = connect(settings(learner, first, timeout=4.0))
        store.commit([Put("/a", b"1")])
        follower = Follower(store)
        wait_until(lambda: follower.seen == {"/a": b"1"}, "the list")
        assert follower.states == [True]
        follower.end()


@pytest.fixture
def proxy(start: Start) -> Iterator[tuple[Etcd, str, subprocess.Popen[bytes]]]:
    """etcd's own proxy in front of a member."""
    server = start()
    endpoint = f"127.0.0.1:{free_port()}"
    log = (server.folder / "proxy.log").open("ab")
    command = [PROGRAM, "grpc-proxy", "start", f"--endpoints={server.endpoint}", f"--listen-addr={endpoint}"]
    process = subprocess.Popen(command, stdout=log, stderr=log)
    log.close()
    yield server, endpoint, process
    process.kill()
    process.wait()


def test_etcds_own_proxy(
    proxy: tuple[Etcd, str, subprocess.Popen[bytes]], connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, it was asked for progress, which it does not pass on: listed again every 35 s, or the proxy had ended."""
    server, endpoint, process = proxy
    monkeypatch.setattr("vppctl.store.etcd_watch.SILENCE", 0.2)
    store = connect(StoreSettings((endpoint,), timeout=2.0))
    wait_until(lambda: _works(store), "the proxy")
    watch = store.watch("/", store.list("/").revision + 1)
    assert watch.next(4.0) is None
    assert process.poll() is None
    server.ctl("put", "/a", "1")
    message = watch.next(5.0)
    assert isinstance(message, Changed)
    watch.close()
    lease = store.lease(60)
    store.commit([Put("/b", b"1", lease.id)])
    assert lease.refresh()
    assert len(store.list("/").entries) == 2
    lease.revoke()
    assert len(store.list("/").entries) == 1


def test_a_user_where_there_are_none(start: Start, connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    """As etcdctl: a warning, and on. And when users are switched on, off, and another password is set, on as well."""
    server = start("--auth-token-ttl=1")
    password = server.folder / "password"
    password.write_text("one\n")
    where = settings(server, user="root", password="one", password_file=str(password))
    store = connect(where)
    store.commit([Put("/a", b"1")])
    store.get("/a")
    assert [r.message for r in caplog.records] == [
        f"etcd {server.endpoint} has no users switched on (etcdctl auth enable): --user is not used"
    ]
    server.ctl("user", "add", "root:one")
    server.ctl("user", "grant-role", "root", "root")
    server.ctl("auth", "enable")
    store.commit([Put("/a", b"2")])
    server.ctl("--user=root:one", "user", "passwd", "root", "--interactive=false", stdin="two")
    with pytest.raises(StoreError, match="wrong name or password"):
        store.commit([Put("/a", b"3")])
    password.write_text("two\n")
    store.commit([Put("/a", b"4")])
    server.ctl("--user=root:two", "auth", "disable")
    store.commit([Put("/a", b"5")])


def test_a_token_that_is_not_good_any_more(start: Start, connect: Connect) -> None:
    """A server that has started again knows no token from before, as one whose --auth-token-ttl is over."""
    server = start()
    server.ctl("user", "add", "root:one")
    server.ctl("user", "grant-role", "root", "root")
    server.ctl("auth", "enable")
    store = connect(settings(server, user="root", password="one"))
    follower = Follower(store)
    store.commit([Put("/a", b"1")])
    lease = store.lease(60)
    server.kill()
    wait_until(lambda: follower.states[-1:] == [False], "the break to be noticed")
    server.start()
    wait_until(lambda: _works(store), "the connection")
    assert lease.refresh()
    store.commit([Put("/a", b"2")])
    wait_until(lambda: follower.seen == {"/a": b"2"}, "the change", 20)
    follower.end()


@pytest.mark.kernel
def test_a_name_that_leads_elsewhere_while_it_is_followed(tmp_path: Path) -> None:
    """Once, half a minute passed until the name was looked up again."""
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 store.test\n")
    subprocess.run(["mount", "--bind", str(hosts), "/etc/hosts"], check=True)
    try:
        with Etcd(tmp_path) as server:
            store = open_store(StoreSettings((f"store.test:{server.port}",), timeout=2.0))
            store.commit([Put("/a", b"1")])
            follower = Follower(store)
            wait_until(lambda: follower.seen.get("/a") == b"1", "the first list")
            server.kill()
            server.host, server.url = "127.0.0.5", f"http://127.0.0.5:{server.port}"
            hosts.write_text("127.0.0.5 store.test\n")
            server.start()
            server.ctl("put", "/b", "2")
            try:
                wait_until(lambda: "/b" in follower.seen, "the new address to be followed", 12)
            finally:
                follower.end()
                store.close()
    finally:
        subprocess.run(["umount", "/etc/hosts"], check=True)
