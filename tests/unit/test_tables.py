"""Small pure parts by cases: old spellings, settings and their precedence."""

from __future__ import annotations

from pathlib import Path

import pytest

from vppctl.cli.legacy import translate
from vppctl.cli.settings import Settings, duration
from vppctl.errors import InvalidInputError, UsageError
from vppctl.store.settings import parse_endpoints

KEY = "/vnf-agent/vpp1/linux/config/v1/interface/veth1"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (f"-put {KEY} json/veth1.json", f"put {KEY} json/veth1.json"),
        (f"/etc/etcd.conf -put {KEY} veth1.json", f"--config /etc/etcd.conf put {KEY} veth1.json"),
        (f"-put {KEY} -", f"put {KEY} -"),
        (f"-put {KEY} x.json --raw", f"put {KEY} x.json --raw"),
        (f"-get {KEY}", f"get {KEY}"),
        (f"etcd.conf -del {KEY}", f"--config etcd.conf del {KEY}"),
        ("-dump", "dump"),
        (f"-dump {KEY}", f"dump {KEY}"),
        ("-list", "list"),
        ("-ps", "status"),
        ("-ierr", "status --problems"),
        ("-cvth1", "preset put veth1"),
        ("etcd.conf -cvth2", "--config etcd.conf preset put veth2"),
        ("-dvth1", "preset del veth1"),
        ("-caf", "preset put afpacket1"),
        ("-maf", "preset put afpacket1"),
        ("-daf", "preset del afpacket1"),
        ("-cms", "preset put memif2"),
        ("-l my-agent -cvth1", "-l my-agent preset put veth1"),
        ("-lmy-agent -cvth1", "-lmy-agent preset put veth1"),
        ("-llist -list", "-llist list"),
        ("-lx --debug etcd.conf -list", "-lx --debug --config etcd.conf list"),
        ("-put --raw /any/key x.json", "put --raw /any/key x.json"),
        ("--store=embedded --label x -list", "--store=embedded --label x list"),
        ("put json/veth1.json", "put json/veth1.json"),
        ("-l x put -", "-l x put -"),
        ("--help", "--help"),
        ("-h", "-h"),
        ("get -list", "--config get list"),
        ("", ""),
    ],
)
def test_old_spellings_become_ours(old: str, new: str) -> None:
    assert translate(old.split()) == new.split()


@pytest.mark.parametrize(
    ("old", "said"),
    [
        (f"-put {KEY}", "-put takes KEY and FILE"),
        (
            "-put /foo/bar x.json",
            "/foo/bar is no key of an interface; to store something else there use 'put --raw KEY",
        ),
        (
            "-put veth1 x.json",
            "veth1 is no key of an interface; to store something else there use 'put --raw KEY FILE'",
        ),
        ("-get", "-get takes one KEY"),
        ("-dump a b", "-dump takes at most one KEY"),
        ("-cvth1 x", "-cvth1 takes no arguments, but there is 'x'"),
        ("-ct", "-ct is not supported; write the JSON to a file and use 'put --raw KEY FILE'"),
    ],
)
def test_old_spellings_used_wrongly(old: str, said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("(", r"\(")):
        translate(old.split())


FILE = "endpoints: ['file:1']\noperation-timeout: 3000000000\n"


@pytest.mark.parametrize(
    ("options", "environment", "endpoints"),
    [
        ({}, {}, ("file:1",)),
        ({}, {"ETCD_ENDPOINTS": "ligato:2"}, ("ligato:2",)),
        ({}, {"ETCDV3_ENDPOINTS": "ligato:2", "ETCDCTL_ENDPOINTS": "ctl:3,ctl:4"}, ("ctl:3", "ctl:4")),
        ({}, {"ETCDCTL_ENDPOINTS": "ctl:3", "VPPCTL_STORE": "etcd://ours:5"}, ("ours:5",)),
        ({"endpoints": "option:6"}, {"VPPCTL_STORE": "etcd://ours:5"}, ("option:6",)),
        ({"store": "etcd://a,[::1]:7"}, {"ETCDCTL_ENDPOINTS": "ctl:3"}, ("a:2379", "[::1]:7")),
        ({"store": "embedded"}, {"ETCDCTL_ENDPOINTS": "ctl:3"}, ()),
        ({}, {"ETCDCTL_ENDPOINTS": "http://ctl:3/"}, ("ctl:3",)),
    ],
)
def test_the_nearest_source_wins(
    tmp_path: Path, options: dict[str, str], environment: dict[str, str], endpoints: tuple[str, ...]
) -> None:
    file = tmp_path / "etcd.conf"
    file.write_text(FILE)
    found = Settings(options, {"ETCDV3_CONFIG": str(file), **environment}).store()
    assert found.endpoints == endpoints
    assert bool(found.path) == (not endpoints)
    assert found.timeout == 3.0


def test_defaults_and_users() -> None:
    found = Settings({}, {}).store()
    assert (found.endpoints, found.timeout, found.secure) == (("127.0.0.1:2379",), 5.0, False)
    found = Settings({"user": "root:secret"}, {"ETCDCTL_PASSWORD": "other"}).store()
    assert (found.user, found.password) == ("root", "secret")
    assert "secret" not in repr(found)
    assert Settings({}, {"ETCDCTL_CACERT": "/ca"}).store().secure
    assert Settings({}, {"MICROSERVICE_LABEL": "a"}).label == "a"
    assert Settings({}, {"MICROSERVICE_LABEL": "a", "VPPCTL_LABEL": "b"}).label == "b"


@pytest.mark.parametrize(
    ("options", "environment", "password"),
    [
        pytest.param({"user": "ann:colon"}, {"VPPCTL_PASSWORD": "ours"}, "colon", id="option over VPPCTL_"),
        pytest.param({"password": "option"}, {"VPPCTL_USER": "ann:colon"}, "option", id="option over the user's"),
        pytest.param({"password": ""}, {"VPPCTL_USER": "ann:colon"}, "", id="none at all"),
        pytest.param({"user": "ann"}, {"ETCDCTL_USER": "bob:bobs", "ETCDCTL_PASSWORD": "p"}, "p", id="another user's"),
        pytest.param({}, {"VPPCTL_USER": "ann:colon", "ETCDCTL_PASSWORD": "p"}, "colon", id="VPPCTL_ over ETCDCTL_"),
        pytest.param({}, {"ETCDCTL_USER": "ann:colon", "VPPCTL_PASSWORD": "p"}, "p", id="the same for the password"),
        pytest.param({"user": "ann:colon", "password": "option"}, {}, "option", id="of equals its own option"),
        pytest.param({}, {"ETCDCTL_USER": "ann:colon", "ETCDCTL_PASSWORD": "p"}, "p", id="of equals its own variable"),
        pytest.param({"user": "ann:colon", "password_file": "F"}, {}, "of the file", id="of equals the file"),
        pytest.param({"password": "option", "password_file": "F"}, {}, "of the file", id="the file over its option"),
    ],
)
def test_the_nearest_password_wins(
    tmp_path: Path, options: dict[str, str], environment: dict[str, str], password: str
) -> None:
    (tmp_path / "F").write_text("of the file\n")
    if "password_file" in options:
        options = options | {"password_file": str(tmp_path / "F")}
    assert Settings(options, environment).store().password == password


@pytest.mark.parametrize(
    ("content", "options", "environment", "secure"),
    [
        pytest.param("", {"cacert": "/ca"}, {}, True, id="option over the file"),
        pytest.param("", {}, {"ETCDCTL_CACERT": "/ca"}, True, id="variable over the file"),
        pytest.param("ca-file: /ca", {}, {}, False, id="the file itself"),
        pytest.param("ca-file: /ca", {"cert": "/c", "key": "/k"}, {}, True, id="a part of it from above"),
        pytest.param("", {}, {}, False, id="nothing"),
    ],
)
def test_certificates_mean_tls_over_a_file_that_says_insecure(
    tmp_path: Path, content: str, options: dict[str, str], environment: dict[str, str], *, secure: bool
) -> None:
    file = tmp_path / "etcd.conf"
    file.write_text(f"insecure-transport: true\n{content}")
    assert Settings({"config": str(file), **options}, environment).store().secure is secure


@pytest.mark.parametrize(
    ("content", "seconds"),
    [
        ("dial-timeout: 1000000000", 1),
        ("dial-timeout: 1s", 1),
        ("dial-timeout:", 5),
        ("dial-timeout: 1s\noperation-timeout: 500ms", 0.5),
    ],
)
def test_times_of_a_config_file(tmp_path: Path, content: str, seconds: float) -> None:
    file = tmp_path / "etcd.conf"
    file.write_text(content)
    assert Settings({"config": str(file)}, {}).store().timeout == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("dial-timeout: abc", "etcd.conf: dial-timeout: 'abc' is no time; write one such as 1s"),
        ("dial-timeout: true", "etcd.conf: dial-timeout: True is no time; write one such as 1s"),
        ("operation-timeout: -1", "etcd.conf: operation-timeout: -1 is no time"),
        ("#" * (64 * 1024 + 1), "is longer than 65536 bytes"),
        ("[1]", "is no mapping"),
        ("a: [", "is no YAML"),
        ("insecure-skip-tls-verify: true", "insecure-skip-tls-verify: is not supported"),
    ],
)
def test_a_bad_config_file_is_named(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "etcd.conf"
    file.write_text(content)
    with pytest.raises(InvalidInputError, match=said):
        Settings({"config": str(file)}, {})


@pytest.mark.parametrize(("text", "seconds"), [("5s", 5), ("500ms", 0.5), ("1m30s", 90), ("2", 2), ("1.5", 1.5)])
def test_times(text: str, seconds: float) -> None:
    assert duration(text, "--timeout") == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "-1s", "0", "5 s", "1h1", "nan", "9999999h"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(UsageError, match="is no time"):
        duration(text, "--timeout")


@pytest.mark.parametrize(
    "text",
    [
        "unix:2379",
        "unix:etcd.sock",
        "a:1,unix:2379",
        "UNIX:2379",
        "a?b:1",
        "a#b:1",
        "a%2f:1",
        "-a:1",
        "a b:1",
        "a\\b:1",
    ],
)
def test_endpoints_that_mean_something_else_to_grpc(text: str) -> None:
    with pytest.raises(UsageError, match="is no endpoint"):
        parse_endpoints(text)


@pytest.mark.parametrize(
    ("text", "endpoints"),
    [
        ("http://unix:2379", ("unix:2379",)),
        ("dns:1,ipv4:2,vsock:3,xds:4", ("dns:1", "ipv4:2", "vsock:3", "xds:4")),
        ("a_b.example-1:1", ("a_b.example-1:1",)),
        ("[::1]:1,10.0.0.1", ("[::1]:1", "10.0.0.1:2379")),
        ("unix:///run/a b%20?c#d", ("unix:/run/a b%20?c#d",)),
    ],
)
def test_endpoints(text: str, endpoints: tuple[str, ...]) -> None:
    assert parse_endpoints(text) == endpoints
