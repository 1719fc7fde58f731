"""Documents: what is accepted, what is refused and with which words; any bytes, any value."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

import jsonschema
import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st

from vppctl.model import linux_interfaces_pb2, vpp_interfaces_pb2
from vppctl.model.document import decode, decode_bytes, documents, encode, guess_kind
from vppctl.model.fields import MESSAGES, Enum, Message
from vppctl.model.interface import DEFAULT_NAMESPACE, Interface, NamespaceRef, NamespaceType, VppInterface
from vppctl.model.keys import Kind, config_key, parse_config_key
from vppctl.model.rules import _PLAIN_ADDRESS
from vppctl.model.schema import explain, file_schema, json_schema
from vppctl.model.text import InvalidDocument, parse

BASE: dict[str, Any] = {"name": "a", "veth": {"peer_if_name": "b"}}
AFPACKET = {"name": "p", "type": 4, "afpacket": {"host_if_name": "eth0"}}
MEMIF = {"name": "m", "type": 2, "memif": {"id": 1}}


def problems(document: object, kind: Kind = Kind.LINUX, **more: Any) -> list[str]:
    return [str(problem) for problem in decode(document, kind=kind, **more).problems]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        pytest.param({"name": ""}, "name: the name is missing", id="no name"),
        pytest.param({"name": "a/b"}, "name: 'a/b' has a slash", id="slash"),
        pytest.param({"name": "a\x1b[31m"}, "name: 'a\\x1b[31m' has control characters", id="control"),
        pytest.param({"name": "x" * 16}, "too long for the kernel; set host_if_name", id="long name"),
        pytest.param({"name": "ü" * 8}, "is 16 bytes long", id="bytes count"),
        pytest.param({"host_if_name": "x" * 16}, "host_if_name: 'xxxxxxxxxxxxxxxx' is 16 bytes long", id="host name"),
        *(
            pytest.param({"host_if_name": n}, "is no interface name for the kernel", id=f"host name {n!r}")
            for n in ("v%d", "a b", "..", "a:b", "[red]x", "\x1b", "é", "a/b")
        ),
        pytest.param({"veth": {}}, "veth.peer_if_name: the peer is missing", id="no peer"),
        pytest.param({"veth": {"peer_if_name": "a"}}, "'a' is the interface itself", id="own peer"),
        pytest.param({"phys_address": "01:00:5e:00:00:01"}, "write a unicast one, such as 00:00:5e", id="multicast"),
        pytest.param({"phys_address": "02:00"}, "'02:00' is no MAC address", id="short mac"),
        pytest.param({"phys_address": "00:00:00:00:00:00"}, "is all zero", id="zero mac"),
        pytest.param({"mtu": 67}, "mtu: 67 is out of range; write 68 to 65535", id="mtu low"),
        pytest.param({"mtu": 65536}, "mtu: 65536 is out of range", id="mtu high"),
        pytest.param({"mtu": -1}, "mtu: -1 is out of range", id="mtu negative"),
        pytest.param({"mtu": 1.5}, "mtu: 1.5 is not a whole number", id="mtu fraction"),
        pytest.param({"mtu": True}, "mtu: true is not a whole number", id="mtu boolean"),
        pytest.param({"enabled": "yes"}, "enabled: 'yes' is a string; write true or false", id="not boolean"),
        pytest.param({"type": "TAP"}, "type: 'TAP' is not known; write one of 0 (VETH)", id="type"),
        pytest.param(
            {"ip_addresses": ["192.168.22.1"]},
            "ip_addresses[0]: '192.168.22.1' has no prefix length; write '192.168.22.1/24'",
            id="no prefix",
        ),
        pytest.param({"ip_addresses": ["1.2.3.4/33"]}, "beyond 32", id="prefix too long"),
        pytest.param({"ip_addresses": ["1.2.3.4/0.0.0.255"]}, "no number behind the slash", id="hostmask"),
        pytest.param({"ip_addresses": ["fe80::1%eth0/64"]}, "has a zone", id="zone"),
        pytest.param({"ip_addresses": ["fe80::1%\x1b[2J"]}, "'fe80::1%\\x1b[2J' has a zone", id="control in a zone"),
        pytest.param({"type": "00"}, "type: '00' is not known; write one of 0 (VETH)", id="number with zeros"),
        pytest.param({"ip_addresses": ["ff02::1/64"]}, "multicast", id="multicast address"),
        pytest.param({"ip_addresses": ["300.1.1.1/8"]}, "is no IP address", id="no address"),
        pytest.param({"ip_addresses": "1.2.3.4/8"}, "write a list of strings", id="no list"),
        pytest.param(
            {"ip_addresses": ["::2/64", "0:0::2/64"]}, "ip_addresses[1]: '0:0::2/64' is the same as", id="double"
        ),
        pytest.param(
            {"ip_addresses": ["2001:db8::1/48", "10.0.0.1/8", "2001:db8::1/64"]},
            "ip_addresses[2]: '2001:db8::1/64' is the address of ip_addresses[0] with another prefix length",
            id="two prefixes",
        ),
        pytest.param({"ip_addresses": ["::1/128"]}, "is the loopback address", id="loopback address"),
        pytest.param(
            {"mtu": 1279, "ip_addresses": ["10.0.0.1/8", "2001:db8::1/48"]},
            "mtu: 1279 is too small for IPv6 address '2001:db8::1/48'; write at least 1280",
            id="mtu too small for IPv6",
        ),
        *(pytest.param({"host_if_name": n}, f"'{n}' is no interface name: it", id=n) for n in ("all", "default")),
        pytest.param({"name": "all"}, "name: 'all' is no interface name: it", id="name all"),
        pytest.param({"host_if_name": "lo"}, "'lo' is the loopback interface of every namespace", id="loopback"),
        pytest.param({"name": "lo"}, "set host_if_name to another name", id="loopback by its name"),
        *(
            pytest.param({"host_if_name": n}, "is no interface name for the kernel", id=f"for a shell {n!r}")
            for n in ("$(reboot)", "`id`", "a;b", "a|b", "*", "~", "a&b", "{a,b}", "a>b", "!x", "#x")
        ),
        pytest.param({"host_if_name": "-rf"}, "'-rf' begins like an option of a program; write a name", id="option"),
        pytest.param({"name": "--help"}, "set host_if_name to a name without the dash", id="option by its name"),
        pytest.param({"namespace": {"name": "ns1"}}, 'write "type": 2 (NAMED_NS)', id="type forgotten"),
        pytest.param({"namespace": {"type": 2, "name": "../x"}}, "has a slash", id="namespace path"),
        pytest.param({"namespace": {"type": 2, "name": "x", "pid": 5}}, "namespace.pid: 5 does not go", id="two"),
        pytest.param({"namespace": {"type": 1}}, "the label is missing", id="no label"),
        pytest.param({"namespace": {"type": 3, "filepath": "/etc/passwd"}}, "not below an allowed", id="file"),
        pytest.param({"namespace": {"type": 3, "filepath": "/run/netns/../x"}}, "plain absolute path", id="dots"),
        pytest.param({"namespace": {"type": 0, "pid": 2**23}}, "is no PID", id="pid"),
        pytest.param({"nmae": 1}, "nmae: unknown field; did you mean 'name'?", id="unknown"),
        pytest.param({"host_if_name": "x", "hostIfName": "y"}, "is given twice", id="both spellings"),
    ],
)
def test_refused_with_the_mend(more: dict[str, Any], said: str) -> None:
    found = problems({**BASE, **more})
    assert any(said in line for line in found), found
    assert all("\n" not in line and line.isprintable() for line in found)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        pytest.param({**AFPACKET, "afpacket": {}}, "afpacket.host_if_name: is missing", id="no host interface"),
        pytest.param({"name": "t", "type": 3}, "type: 3 is not supported; write one of 2", id="tap"),
        pytest.param({**MEMIF, "afpacket": {"host_if_name": "x"}}, "afpacket: does not go with", id="both"),
        pytest.param({"name": "m", "type": 2}, "memif: the section is missing", id="no memif"),
        pytest.param({**MEMIF, "memif": {"ring_size": 1000}}, "no power of two", id="ring size"),
        pytest.param({**AFPACKET, "afpacket": {"host_if_name": "all"}}, "is no interface name: it", id="all"),
        *(
            pytest.param({**MEMIF, "ip_addresses": [*addresses]}, f"'{addresses[1]}' overlaps ip_addresses[0]", id=name)
            for name, addresses in {
                "one address twice": ("10.0.0.1/16", "10.0.0.1/24"),
                "a longer prefix in a shorter one": ("10.0.0.1/16", "10.0.9.1/24"),
                "a shorter prefix around a longer one": ("10.0.9.1/24", "10.0.0.1/16"),
                "IPv6": ("2001:db8:0:9::1/64", "2001:db8::1/48"),
            }.items()
        ),
        pytest.param({**MEMIF, "ip_addresses": ["fe80::1/128"]}, "is a link-local address, which VPP", id="link-local"),
    ],
)
def test_vpp_is_refused_with_the_mend(document: dict[str, Any], said: str) -> None:
    assert any(said in line for line in problems(document, Kind.VPP))


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        pytest.param(Kind.LINUX, {"mtu": 1279, "ip_addresses": ["10.0.0.1/8"]}, id="a small MTU without IPv6"),
        pytest.param(Kind.LINUX, {"mtu": 1280, "ip_addresses": ["2001:db8::1/64"]}, id="the smallest MTU of IPv6"),
        pytest.param(Kind.LINUX, {"ip_addresses": ["10.0.0.1/8", "10.0.0.1/24"]}, id="IPv4 with two prefixes"),
        pytest.param(Kind.LINUX, {"ip_addresses": ["fe80::1/64"]}, id="link-local"),
        pytest.param(Kind.LINUX, {"name": "lo", "host_if_name": "lo0"}, id="a logical name of lo"),
        pytest.param(Kind.VPP, {"ip_addresses": ["10.0.0.1/24", "10.0.0.2/24"]}, id="two of one network in VPP"),
        pytest.param(Kind.VPP, {"ip_addresses": ["10.0.0.1/24", "10.0.1.1/16", "10.1.0.1/24"][::2]}, id="neighbours"),
        pytest.param(Kind.VPP, {"afpacket": {"host_if_name": "lo"}}, id="VPP on lo"),
    ],
)
def test_what_kernel_and_vpp_take_is_accepted(kind: Kind, more: dict[str, Any]) -> None:
    assert problems({**(BASE if kind is Kind.LINUX else AFPACKET), **more}, kind) == []


@pytest.mark.parametrize("name", ["$(id>x)", "`id`", "a b", "-x", ".x", "*", "~", "a;b", "é", "=ls", "a{b,c}", "'"])
def test_a_namespace_that_only_exists_already_is_a_warning(name: str) -> None:
    decoded = decode({**BASE, "namespace": {"type": 2, "name": name}}, kind=Kind.LINUX)
    assert decoded.problems == ()
    (warning,) = decoded.warnings
    assert warning.startswith(f"namespace.name: {name!r} is created by no agent") or "'" in name
    assert "letters, digits" in warning


def test_many_addresses_in_vpp_cost_no_more_than_they_have_to() -> None:
    """Each of a thousand with each other would be half a million comparisons."""
    addresses = [f"10.{n % 250}.{n // 250}.1/{8 + n % 25}" for n in range(1024)]
    assert problems({**MEMIF, "ip_addresses": addresses}, Kind.VPP)


def test_all_problems_at_once_and_key_name() -> None:
    found = problems({**BASE, "mtu": 1, "phys_address": "x", "ip_addresses": ["y"]}, name="other")
    assert [line.split(":")[0] for line in found] == ["name", "phys_address", "mtu", "ip_addresses[0]"]


def test_the_agent_tolerates_unknown_fields() -> None:
    decoded = decode({**BASE, "vrf": 1}, kind=Kind.LINUX, tolerant=True)
    assert decoded.interface
    assert decoded.warnings == ("unknown field 'vrf' is ignored",)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('{"name":"a","hostIfName":"x","veth":{"peerIfName":"b"},"mtu":"1500"}', id="camelCase, strings"),
        pytest.param('{"name":"a","host_if_name":"x","veth":{"peer_if_name":"b"},"mtu":1500.0}', id="float"),
        pytest.param(
            '{"name":"a","host_if_name":"x","veth":{"peer_if_name":"b"},"mtu":1500,"type":"VETH","namespace":null}',
            id="enum name, null",
        ),
    ],
)
def test_reads_what_proto_json_reads(text: str) -> None:
    decoded = decode_bytes(text.encode(), kind=Kind.LINUX)
    assert decoded.interface == Interface("a", "b", host_if_name="x", mtu=1500)
    message = json_format.Parse(text, linux_interfaces_pb2.LinuxInterfaces.Interface())
    assert (message.name, message.host_if_name, message.mtu) == ("a", "x", 1500)
    jsonschema.Draft202012Validator(json_schema(Kind.LINUX)).validate(json.loads(text))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        pytest.param(b"", "is empty", id="empty"),
        pytest.param(b"\xff", "is not UTF-8", id="bytes"),
        pytest.param(b'\xef\xbb\xbf{"a":1}', "byte order mark", id="bom"),
        pytest.param(b'{"a":NaN}', "NaN is not JSON", id="nan"),
        pytest.param(b'{"a":1e999}', "too large", id="infinite"),
        pytest.param(b'{"a":1,"a":2}', "a: is given twice", id="twice"),
        pytest.param(b'{"a":"\\ud800"}', "surrogate", id="surrogate"),
        pytest.param(b'{"\\u001b[2J":{"x":"\\ud800"}}', "\\x1b[2J.x: has half of", id="control in a path"),
        pytest.param(b"[" * 3000 + b"]" * 3000, "deeper than 32", id="deep"),
        pytest.param(b"[" * 40 + b"]" * 40, "deeper than 32", id="deep but closed"),
        pytest.param(b"9" * 5000, "too large", id="digits"),
        pytest.param(b'{"mtu": 1500\n"name": 2}', "a comma is missing", id="comma"),
        pytest.param(b" " * 70000, "at most 65536", id="size"),
    ],
)
def test_strict_json(data: bytes, said: str) -> None:
    (problem,) = decode_bytes(data, kind=Kind.LINUX).problems
    assert said in str(problem)
    assert str(problem).isprintable()


@given(st.binary(max_size=200))
def test_any_bytes_give_a_result(data: bytes) -> None:
    for kind in Kind:
        decoded = decode_bytes(data, kind=kind)
        assert (decoded.interface is None) == bool(decoded.problems)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
FIELDS = st.sampled_from([*MESSAGES[Kind.LINUX].fields, "hostIfName", "memif", "afpacket", "x"])


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(FIELDS, VALUES | st.sampled_from([1, "ns1", "02:00:00:00:00:01", ["1.2.3.4/8"]]), max_size=6))
def test_what_we_accept_the_schema_accepts(more: dict[str, Any]) -> None:
    for kind, base in ((Kind.LINUX, BASE), (Kind.VPP, AFPACKET)):
        document = {**base, **more}
        if decode(document, kind=kind).interface:
            assert explain(document, kind) == []


names = st.from_regex(r"[a-z][a-z0-9]{0,10}", fullmatch=True)
references = st.one_of(
    st.just(DEFAULT_NAMESPACE),
    names.map(lambda name: NamespaceRef(NamespaceType.NAMED_NS, name=name)),
    st.integers(1, 2**22).map(lambda pid: NamespaceRef(NamespaceType.PID_REF_NS, pid=pid)),
    names.map(lambda label: NamespaceRef(NamespaceType.MICROSERVICE_REF_NS, microservice=label)),
    names.map(lambda name: NamespaceRef(NamespaceType.FILE_REF_NS, filepath=f"/run/netns/{name}")),
)
interfaces = st.builds(
    Interface,
    names,
    names.map("peer-{}".format),
    description=names,
    enabled=st.booleans(),
    mtu=st.sampled_from([0, 68, 1500, 65535]),
    phys_address=st.sampled_from(["", "02:00:00:00:00:0a"]),
    host_if_name=st.sampled_from(["", "eth7"]),
    ip_addresses=st.lists(st.ip_addresses().map(str), max_size=3, unique=True).map(tuple),
    namespace=references,
)


@given(interfaces)
def test_encoding_and_reading_back(interface: Interface) -> None:
    host = [a for a in interface.ip_addresses if ":" not in a and 1 <= int(a.split(".")[0]) < 224]
    interface = Interface(
        **{
            **{f: getattr(interface, f) for f in Interface._fields},
            "ip_addresses": tuple(f"{a}/24" for a in host),
        }
    )
    stored = encode(interface)
    assert decode_bytes(stored, kind=Kind.LINUX, name=interface.name).interface == interface
    json_format.Parse(stored, linux_interfaces_pb2.LinuxInterfaces.Interface())


def test_vpp_is_encoded_and_read_back() -> None:
    # A section of defaults alone was once left out when it was stored, and what was stored was invalid.
    for document in (AFPACKET, {**MEMIF, "memif": {}}, {**MEMIF, "memif": {"id": 7, "master": True, "secret": "x"}}):
        interface = decode(document, kind=Kind.VPP).interface
        assert isinstance(interface, VppInterface)
        assert guess_kind(document) is Kind.VPP
        assert decode_bytes(encode(interface), kind=Kind.VPP).interface == interface


def test_the_table_of_fields_is_the_descriptors() -> None:
    pairs: list[tuple[Message, Any]] = [
        (MESSAGES[Kind.LINUX], linux_interfaces_pb2.LinuxInterfaces.Interface.DESCRIPTOR),
        (MESSAGES[Kind.VPP], vpp_interfaces_pb2.Interfaces.Interface.DESCRIPTOR),
    ]
    kinds = {9: "string", 8: "bool", 13: "uint32"}
    while pairs:
        message, descriptor = pairs.pop()
        assert list(message.fields) == [field.name for field in descriptor.fields]
        for field in descriptor.fields:
            kind = message.fields[field.name]
            if isinstance(kind, Message):
                pairs.append((kind, field.message_type))
            elif isinstance(kind, Enum):
                assert dict(kind.values) == {value.name: value.number for value in field.enum_type.values}
            else:
                assert kind == ("strings" if field.is_repeated else kinds[field.type])


@pytest.mark.parametrize("kind", Kind)
def test_the_schemas_are_schemas(kind: Kind) -> None:
    for schema in (json_schema(kind), file_schema(kind)):
        jsonschema.Draft202012Validator.check_schema(schema)


def test_a_list_of_interfaces() -> None:
    assert [prefix for prefix, _ in documents(b'{"interface":[{},{}]}')] == ["interface[0].", "interface[1]."]
    for bad in (b'{"interface":[]}', b'{"interface":{}}', b'{"interface":[{}],"x":1}'):
        with pytest.raises(InvalidDocument):
            documents(bad)


def test_keys() -> None:
    key = config_key("vpp1", "veth1")
    assert str(parse_config_key(key)) == key == "/vnf-agent/vpp1/linux/config/v1/interface/veth1"
    for other in ("/vnf-agent/vpp1/linux/status/v1/interface/x", "/vnf-agent//linux/config/v1/interface/x", f"{key}/y"):
        assert parse_config_key(other) is None


def test_parse_raises_nothing_else() -> None:
    with pytest.raises(InvalidDocument):
        parse(b"{")


@given(st.ip_addresses(), st.data())
def test_an_address_that_needs_no_parser_is_what_the_parser_makes_of_it(address: Any, data: Any) -> None:
    if address.version == 6 and data.draw(st.booleans()):
        groups = data.draw(st.lists(st.sampled_from(["0", "1", "abcd", "0db8", "2001", ""]), min_size=2, max_size=8))
        text = f"{data.draw(st.sampled_from(['2001', 'fd00', 'fe80', '3fff']))}:{':'.join(groups)}"
    else:
        text = str(address)
    value = f"{text}/{data.draw(st.integers(0, 129))}"
    if _PLAIN_ADDRESS.fullmatch(value):
        host, _, prefix = value.partition("/")
        parsed = ipaddress.ip_address(host)
        assert value == f"{parsed}/{int(prefix)}"
        assert int(prefix) <= parsed.max_prefixlen
        assert not parsed.is_multicast
        assert not parsed.is_unspecified


@pytest.mark.parametrize("value", ["10.0.0.1/24", "2001:db8:0:4::1/64", "fd00::1/128", "223.255.255.255/32"])
def test_the_usual_addresses_need_no_parser(value: str) -> None:
    assert _PLAIN_ADDRESS.fullmatch(value)
