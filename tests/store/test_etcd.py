"""What only a server can do to us: restarts, silence, compaction, users, certificates."""

from __future__ import annotations

import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.etcd import Etcd, free_port
from tests.support.netns import wait_until
from vppctl.errors import StoreError
from vppctl.reconcile.mirror import Batch, Mirror
from vppctl.store.base import Put, Store
from vppctl.store.etcd_watch import SILENCE
from vppctl.store.follow import follow
from vppctl.store.settings import StoreSettings, open_store

pytestmark = pytest.mark.etcd


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Etcd]:
    with Etcd(tmp_path) as etcd:
        yield etcd


def settings(*servers: Etcd, **more: object) -> StoreSettings:
    return replace(StoreSettings(tuple(s.endpoint for s in servers), timeout=2.0), **more)  # type: ignore[arg-type]


@pytest.fixture
def store(server: Etcd) -> Iterator[Store]:
    store = open_store(settings(server))
    yield store
    store.close()


class Follower:
    """A followed prefix, as the agent has it."""

    def __init__(self, store: Store) -> None:
        self.seen: dict[str, bytes | None] = {}
        self.states: list[bool] = []
        self.stop = threading.Event()
        arguments = (store, "/", Mirror(), self.stop, self.deliver, lambda ready, _: self.states.append(ready))
        self.thread = threading.Thread(target=follow, args=arguments)
        self.thread.start()

    def deliver(self, batch: Batch) -> None:
        self.seen.update((entry.key, entry.value) for entry in batch.entries)

    def end(self) -> None:
        self.stop.set()
        self.thread.join(10)
        assert not self.thread.is_alive()


def test_nobody_there_is_one_line(tmp_path: Path) -> None:
    store = open_store(StoreSettings((f"127.0.0.1:{free_port()}",), timeout=2.0))
    with pytest.raises(StoreError, match="cannot reach etcd 127") as caught:
        store.get("/a")
    assert "\n" not in str(caught.value)
    store.close()


def test_a_server_that_is_far_away(server: Etcd) -> None:
    """Once, a connection had to stand within 100 ms, which it does not with a long way or a busy host."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_forward_late, args=(listener, server.port))
        thread.start()
        store = open_store(StoreSettings((f"127.0.0.1:{listener.getsockname()[1]}",), timeout=5.0))
        store.commit([Put("/a", b"1")])
        store.close()
        thread.join(10)


def _forward_late(listener: socket.socket, port: int) -> None:
    """Pass on both ways of one connection, each piece 0.2 s after it came."""
    late: list[tuple[float, socket.socket, bytes]] = []
    with listener.accept()[0] as near, socket.create_connection(("127.0.0.1", port)) as far:
        while True:
            for source in select.select([near, far], [], [], 0.01)[0]:
                if not (data := source.recv(1 << 16)):
                    return
                late.append((time.monotonic() + 0.2, far if source is near else near, data))
            while late and late[0][0] <= time.monotonic():
                _, target, data = late.pop(0)
                target.sendall(data)


def test_following_survives_a_restart(server: Etcd, store: Store) -> None:
    store.commit([Put("/a", b"1")])
    follower = Follower(store)
    wait_until(lambda: follower.seen == {"/a": b"1"}, "the list")
    server.kill()
    wait_until(lambda: follower.states[-1] is False, "the break to be noticed")
    server.start()
    server.ctl("put", "/b", "2")
    wait_until(lambda: follower.seen.get("/b") == b"2", "what came after the restart", 20)
    follower.end()


def test_following_survives_compaction_while_away(server: Etcd, store: Store) -> None:
    store.commit([Put("/a", b"1"), Put("/b", b"1")])
    follower = Follower(store)
    wait_until(lambda: len(follower.seen) == 2, "the list")
    server.kill()
    wait_until(lambda: follower.states[-1] is False, "the break to be noticed")
    server.start()
    with_own = open_store(settings(server))
    for n in range(5):
        revision = with_own.commit([Put("/a", b"%d" % n)]).revision
    server.ctl("del", "/b")
    server.ctl("compact", str(revision + 1))
    wait_until(lambda: follower.seen == {"/a": b"4", "/b": None}, "changes and deletion", 20)
    follower.end()
    with_own.close()


def test_a_silent_server_is_noticed_and_found_again(server: Etcd, store: Store) -> None:
    store.commit([Put("/a", b"1")])
    server.signal(signal.SIGSTOP)
    try:
        with pytest.raises(StoreError, match="no answer within 2 s"):
            store.get("/a")
    finally:
        server.signal(signal.SIGCONT)
    wait_until(lambda: _there(store), "the server to answer again")


def test_a_watch_notices_a_silent_server(server: Etcd, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vppctl.store.etcd_watch.SILENCE", 0.5)
    follower = Follower(store)
    wait_until(lambda: follower.states == [True], "the list")
    server.signal(signal.SIGSTOP)
    wait_until(lambda: follower.states[-1] is False, "the silence to be noticed", 20)
    server.signal(signal.SIGCONT)
    server.ctl("put", "/late", "1")
    wait_until(lambda: follower.seen.get("/late") == b"1", "what came after the silence", 20)
    follower.end()


def test_pings_notice_a_silent_server(server: Etcd, store: Store) -> None:
    """Once, only the silence of half a minute was noticed: gRPC waits a minute for the answer to a ping."""
    follower = Follower(store)
    wait_until(lambda: follower.states == [True], "the list")
    store.commit([Put("/a", b"1")])
    wait_until(lambda: follower.seen == {"/a": b"1"}, "the change")
    server.signal(signal.SIGSTOP)
    wait_until(lambda: follower.states[-1] is False, "the silence to be noticed", SILENCE - 10)
    server.signal(signal.SIGCONT)
    follower.end()


def test_a_wiped_store_is_listed_again(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    with Etcd(old) as server:
        store = open_store(settings(server))
        for n in range(20):
            store.commit([Put("/a", b"%d" % n)])
        follower = Follower(store)
        wait_until(lambda: follower.seen == {"/a": b"19"}, "the list")
        server.kill()
        server.folder = new
        server.start()
        server.ctl("put", "/b", "1")
        wait_until(lambda: follower.seen == {"/a": None, "/b": b"1"}, "the new content", 20)
        follower.end()
        store.close()


def _there(store: Store) -> bool:
    try:
        return store.get("/a") is not None
    except StoreError:
        return False


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGSTOP], ids=["dead", "silent"])
def test_another_endpoint_takes_over(server: Etcd, tmp_path: Path, stop: signal.Signals) -> None:
    folder = tmp_path / "second"
    folder.mkdir()
    with Etcd(folder) as second:
        store = open_store(settings(server, second, timeout=4.0))
        store.commit([Put("/a", b"1")])
        server.signal(stop)
        store.commit([Put("/a", b"2")])
        assert "2" in second.ctl("get", "/a")
        follower = Follower(store)
        wait_until(lambda: follower.seen == {"/a": b"2"}, "the second endpoint to be followed")
        follower.end()
        store.close()


def test_users(server: Etcd, store: Store) -> None:
    server.ctl("user", "add", "root:secret1")
    server.ctl("role", "add", "reader")
    server.ctl("role", "grant-permission", "reader", "read", "/", "--prefix=true")
    server.ctl("user", "add", "ann:secret2")
    server.ctl("user", "grant-role", "ann", "reader")
    server.ctl("user", "grant-role", "root", "root")
    server.ctl("auth", "enable")
    with pytest.raises(StoreError, match="it asks for a user; see --user"):
        store.commit([Put("/a", b"1")])
    ann = open_store(settings(server, user="ann", password="secret2"))
    assert ann.list("/").entries == ()
    with pytest.raises(StoreError, match="user 'ann' has no permission"):
        ann.commit([Put("/a", b"1")])
    watch = ann.watch("/", ann.list("/").revision + 1)
    assert watch.next(0.2) is None
    watch.close()
    wrong = open_store(settings(server, user="ann", password="guess"))
    with pytest.raises(StoreError, match="wrong name or password") as caught:
        wrong.get("/a")
    assert "guess" not in f"{caught.value}{settings(server, user='ann', password='guess')!r}"
    for opened in (ann, wrong):
        opened.close()


SIGN = ["x509", "-req", "-in", "csr.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"]


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """A CA, and a key and certificate for 127.0.0.1 that serve both sides."""
    (tmp_path / "ext").write_text("subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n")
    sign_all(tmp_path)
    return tmp_path


def sign_all(folder: Path) -> None:
    """A new CA, and new keys and certificates."""
    new = ("req", "-newkey", "rsa:2048", "-nodes")
    openssl(folder, *new, "-x509", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca")
    openssl(folder, *new, "-keyout", "key.pem", "-out", "csr.pem", "-subj", "/CN=root")
    openssl(folder, *SIGN, "-out", "cert.pem", "-extfile", "ext")


def test_tls_with_client_certificates(certificates: Path) -> None:
    ca, cert, key = (str(certificates / name) for name in ("ca.pem", "cert.pem", "key.pem"))
    with mutual(certificates) as server:
        good = open_store(settings(server, secure=True, cacert=ca, cert=cert, key=key))
        good.commit([Put("/a", b"1")])
        watch = good.watch("/", 2)
        assert watch.next(5) is not None
        watch.close()
        good.close()
    with pytest.raises(StoreError, match="cannot be read"):
        open_store(settings(server, secure=True, cacert="/nonexistent.pem"))


def mutual(certificates: Path, cert: str = "cert.pem") -> Etcd:
    """A server that asks for a client certificate."""
    folder = certificates / "data"
    folder.mkdir(exist_ok=True)
    options = [f"--cert-file={certificates / cert}", f"--key-file={certificates / 'key.pem'}"]
    options += [f"--trusted-ca-file={certificates / 'ca.pem'}", "--client-cert-auth"]
    return Etcd(folder, *options, scheme="https")


@pytest.fixture
def mistakes(certificates: Path) -> Path:
    """And certificates with which something is wrong."""
    openssl(certificates, *SIGN, "-out", "old.pem", "-extfile", "ext", "-days", "-1")
    (certificates / "ext2").write_text("subjectAltName=DNS:elsewhere\n")
    openssl(certificates, *SIGN, "-out", "name.pem", "-extfile", "ext2")
    other = ("-newkey", "rsa:2048", "-nodes", "-subj", "/CN=other")
    openssl(certificates, "req", "-x509", *other, "-keyout", "other.key", "-out", "other.pem")
    (certificates / "junk").write_text("junk")
    return certificates


def test_each_mistake_with_certificates_has_a_line_of_its_own(mistakes: Path) -> None:
    """Once, they were all `the TLS handshake failed` or `TSI_DATA_CORRUPTED`, with `is it running?`."""
    at = {name: str(mistakes / name) for name in ("ca.pem", "cert.pem", "key.pem", "old.pem", "other.pem", "other.key")}
    good = {"secure": True, "cacert": at["ca.pem"], "cert": at["cert.pem"], "key": at["key.pem"]}
    junk = str(mistakes / "junk")
    with mutual(mistakes) as server:
        for change, said in (
            ({"cert": "", "key": ""}, "it asks for a client certificate; see --cert and --key"),
            ({"cert": at["old.pem"]}, "is it signed by the server's CA and still valid|has expired; renew --cert"),
            ({"cert": at["other.pem"], "key": at["other.key"]}, "signed by the server's CA|does not know the CA"),
            ({"key": at["other.key"]}, "do not belong together; see --cert and --key"),
            ({"cert": junk}, "junk or .*key.pem is no PEM file that can be read"),
            ({"key": junk}, "cert.pem or .*junk is no PEM file that can be read"),
            ({"cacert": junk}, "junk is no PEM file that can be read"),
            ({"cacert": at["other.pem"]}, "is not signed by a CA that is known here .*; see --cacert"),
            ({"cacert": ""}, "is not signed by a CA that is known here .*; see --cacert"),
            ({"secure": False, "cert": "", "key": ""}, "it speaks TLS and this client does not; write https://"),
        ):
            refuses(settings(server, **{**good, **change}), said)
    for cert, said in (
        ("old.pem", "its certificate has expired"),
        ("name.pem", "its certificate is not for 127.0.0.1"),
    ):
        with mutual(mistakes, cert) as server:
            refuses(settings(server, **good), said)
    folder = mistakes / "plain"
    folder.mkdir()
    with Etcd(folder) as server:
        refuses(settings(server, **good), "it does not speak TLS; write http://")


def refuses(where: StoreSettings, said: str) -> None:
    store = open_store(where)
    with pytest.raises(StoreError, match=f"^cannot reach .*({said})") as caught:
        store.get("/a")
    assert "\n" not in str(caught.value)
    assert "is it running" not in str(caught.value)
    store.close()


def test_certificates_that_are_renewed_are_read_again(certificates: Path) -> None:
    """Once, the watch kept the old CA for ever, and the agent heard of no change any more."""
    ca, cert, key = (str(certificates / name) for name in ("ca.pem", "cert.pem", "key.pem"))
    with mutual(certificates) as server:
        store = open_store(settings(server, secure=True, cacert=ca, cert=cert, key=key))
        store.commit([Put("/a", b"1")])
        follower = Follower(store)
        wait_until(lambda: follower.seen == {"/a": b"1"}, "the list")
        server.kill()
        sign_all(certificates)
        server.start()
        other = open_store(settings(server, secure=True, cacert=ca, cert=cert, key=key))
        other.commit([Put("/a", b"2")])
        wait_until(lambda: follower.seen == {"/a": b"2"}, "what came after the renewal", 20)
        store.commit([Put("/a", b"3")])
        follower.end()
        store.close()
        other.close()


def test_the_stubs_are_loaded_without_the_client_and_whoever_wants_it_still_gets_it() -> None:
    program = (
        "import sys; from vppctl.store.etcd import etcdrpc;"
        "print([m for m in ('etcd3.client', 'grpc.aio._channel') if m in sys.modules]);"
        "import etcd3; print(hasattr(etcd3, 'MultiEndpointEtcd3Client'), etcd3.etcdrpc is etcdrpc);"
        "from grpc import aio; import grpc; print(aio.insecure_channel.__module__, grpc.aio is aio)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\nTrue True\ngrpc.aio._channel True\n"
