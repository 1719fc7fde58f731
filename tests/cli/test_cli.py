"""The command line as scripts see it: output, streams and exit codes, on the embedded store."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.agent import Vppctl
from tests.support.etcd import free_port
from vppctl.cli.main import COMMANDS

EXAMPLES = Path(__file__).parents[2] / "json"
VETH1 = str(EXAMPLES / "veth1.json")
VETH2 = str(EXAMPLES / "veth2.json")
PREFIX = "/vnf-agent/vpp1/linux/config/v1/interface/"
STORED = (
    '{"name":"veth1","enabled":true,"phys_address":"d2:74:8c:12:67:d2","mtu":1500,'
    '"ip_addresses":["192.168.22.1/24","2001:db8::ff00:89e3:bb42/48"],'
    '"namespace":{"type":2,"name":"ns1"},"veth":{"peer_if_name":"veth2"}}'
)


@pytest.fixture
def vppctl(tmp_path: Path) -> Vppctl:
    return Vppctl({"VPPCTL_STORE": f"sqlite:{tmp_path}/store.db"}, tmp_path)


def write(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_put_list_get_dump_del(vppctl: Vppctl) -> None:
    result = vppctl.run("put", VETH1, VETH2)
    assert (result.returncode, result.stdout) == (0, "")
    assert result.stderr == f"put {PREFIX}veth1 (revision 2)\nput {PREFIX}veth2 (revision 2)\n"
    assert vppctl("list") == f"key:  {PREFIX}veth1\nkey:  {PREFIX}veth2\n"
    assert vppctl("get", "veth1") == json.dumps(json.loads(STORED), indent=2) + "\n"
    assert vppctl("get", f"{PREFIX}veth1") == vppctl("get", "veth1")
    assert len(json.loads(vppctl("get", "veth1", "veth2"))) == 2
    assert vppctl("dump", f"{PREFIX}veth1") == f"{PREFIX}veth1\n{STORED}\n\n"
    vppctl("del", "veth1")
    assert vppctl("list") == f"key:  {PREFIX}veth2\n"


def test_a_key_decides_label_and_name(vppctl: Vppctl) -> None:
    key = "/vnf-agent/other/linux/config/v1/interface/veth1"
    vppctl("put", key, VETH1)
    assert vppctl("list") == f"key:  {key}\n"
    assert vppctl("-l", "other", "get", "veth1")
    result = vppctl.run("put", key.replace("veth1", "veth9"), VETH1)
    assert result.returncode == 4
    assert "name: 'veth1' is not the last part of the key, 'veth9'; make them equal" in result.stderr


def test_the_command_line_reads_standard_input(vppctl: Vppctl) -> None:
    assert vppctl.run("put", "-", stdin=Path(VETH1).read_text()).returncode == 0
    assert vppctl("list") == f"key:  {PREFIX}veth1\n"


def test_dry_run_writes_nothing(vppctl: Vppctl) -> None:
    assert vppctl("put", "--dry-run", VETH1) == f"{PREFIX}veth1\n{STORED}\n\n"
    assert vppctl("list") == ""


def test_all_errors_of_all_files_and_nothing_written(vppctl: Vppctl, tmp_path: Path) -> None:
    bad = write(
        tmp_path,
        "bad.json",
        '{"name": "x", "mtu": 10, "ip_addresses": ["192.168.22.1"], "nmespace": {}, "veth": {"peer_if_name": "x"}}',
    )
    worse = write(tmp_path, "worse.json", '{"name": "y",}')
    result = vppctl.run("put", VETH1, bad, worse)
    assert (result.returncode, result.stdout) == (4, "")
    assert result.stderr == (
        f"{bad}: nmespace: unknown field; did you mean 'namespace'?\n"
        f"{bad}: mtu: 10 is out of range; write 68 to 65535, or 0 for the default\n"
        f"{bad}: ip_addresses[0]: '192.168.22.1' has no prefix length; write '192.168.22.1/24'\n"
        f"{bad}: veth.peer_if_name: 'x' is the interface itself; write the name of the other side\n"
        f"{worse}: line 1 column 13: a comma before the closing bracket; remove it\n"
    )
    assert vppctl("list") == ""


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        pytest.param(["get", "nobody"], 3, "nobody: not found under /vnf-agent/vpp1/linux/", id="get missing"),
        pytest.param(["del", "nobody"], 3, "nobody: not found", id="del missing"),
        pytest.param(["-get", "/vnf-agent/x"], 3, "/vnf-agent/x: not found; 'vppctl list'", id="old get missing"),
        pytest.param(["del", "nobody", "--ignore-not-found"], 0, "", id="del ignored"),
        pytest.param(["preset", "show", "veth7"], 3, "there is no such preset; there are veth1", id="no preset"),
        pytest.param(["put", "nofile.json"], 4, "nofile.json: cannot be read: No such file", id="no file"),
        pytest.param(["put", "/vnf-agent/x/y", "f"], 2, "is no key of an interface", id="unknown key"),
        pytest.param(["nonsense"], 2, "No such command 'nonsense'", id="no command"),
        pytest.param(["get"], 2, "Missing argument", id="no argument"),
        pytest.param(["--store", "what", "list"], 2, "is no store; write etcd://HOST:PORT", id="no store"),
        pytest.param(["-l", "a/b", "status"], 2, "'a/b' is no label", id="no label"),
        pytest.param(["-cvx"], 2, "-cvx is not supported", id="unsupported old"),
        pytest.param(["-put", "/vnf-agent/x"], 2, "-put takes KEY and FILE", id="old put"),
        pytest.param(["wait", "a", "--for", "applied", "--timeout", "200ms"], 6, "a: is not configured", id="time out"),
        pytest.param(["wait", "a", "--for", "absent", "--timeout", "1s"], 0, "no agent of label vpp1", id="absent"),
        pytest.param(["agent", "run", "--docker-host", "x"], 2, "--docker-host 'x' is no URL", id="docker host"),
        pytest.param(["status", "nobody"], 3, "nobody: is not configured", id="status missing"),
    ],
)
def test_exit_codes_and_one_line_errors(vppctl: Vppctl, arguments: list[str], code: int, said: str) -> None:
    result = vppctl.run(*arguments)
    assert (result.returncode, result.stdout) == (code, "")
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_an_unreachable_store_is_exit_code_5(vppctl: Vppctl) -> None:
    del vppctl.environment["VPPCTL_STORE"]
    port = free_port()
    result = vppctl.run("--endpoints", f"127.0.0.1:{port}", "--command-timeout", "2s", "list")
    assert (result.returncode, result.stdout) == (5, "")
    assert result.stderr.startswith(f"cannot reach etcd 127.0.0.1:{port}: ")
    assert result.stderr.count("\n") == 1


def test_a_deletion_is_never_by_prefix_and_all_or_nothing(vppctl: Vppctl) -> None:
    vppctl("put", VETH1, VETH2)
    assert vppctl.run("del", f"{PREFIX}veth").returncode == 3
    assert vppctl.run("del", "veth1", "nobody").returncode == 3
    assert vppctl("list").count("\n") == 2


def test_raw_takes_any_key_as_it_is(vppctl: Vppctl, tmp_path: Path) -> None:
    file = write(tmp_path, "any", "not json")
    vppctl("-put", "--raw", "/vnf-agent/vpp1/vpp/config/v1/acl/x", file)
    assert vppctl("get", "/vnf-agent/vpp1/vpp/config/v1/acl/x") == '"not json"\n'


def test_names_given_twice_are_an_error(vppctl: Vppctl) -> None:
    result = vppctl.run("put", VETH1, VETH1)
    assert result.returncode == 4
    assert "'veth1' is also in" in result.stderr


def test_old_spellings(vppctl: Vppctl) -> None:
    for word in ("-cvth1", "-cvth2", "-caf"):
        vppctl(word, program="vpp-agent-ctl")
    assert vppctl("-list").count("key:  ") == 3
    assert vppctl("-dump", f"{PREFIX}veth1") == f"{PREFIX}veth1\n{STORED}\n\n"
    vppctl("-dvth1", program="vpp-agent-ctl")
    assert vppctl.run("-get", f"{PREFIX}veth1").returncode == 3
    vppctl("-del", f"{PREFIX}veth2")
    vppctl("-daf")
    assert vppctl("-list") == ""


def test_validate_needs_no_store(vppctl: Vppctl, tmp_path: Path) -> None:
    vppctl.environment["VPPCTL_STORE"] = "etcd://127.0.0.1:1"
    assert vppctl("validate", VETH1, str(EXAMPLES / "pair.json")) == (
        f"{VETH1}: ok\n{EXAMPLES / 'pair.json'}: ok, 2 interfaces\n"
    )
    assert vppctl.run("validate", write(tmp_path, "x.json", "{}")).returncode == 4


def test_the_schema_accepts_the_examples(vppctl: Vppctl) -> None:
    import jsonschema

    validator = jsonschema.Draft202012Validator(json.loads(vppctl("schema")))
    for file in EXAMPLES.glob("*.json"):
        document = json.loads(file.read_text())
        if "afpacket" not in document and "memif" not in document:
            validator.validate(document)
    assert not validator.is_valid({"name": "x", "veth": {"peer_if_name": "y"}, "mtu": 3})


def test_status_without_an_agent(vppctl: Vppctl) -> None:
    assert json.loads(vppctl("status", "-o", "json")) == []
    vppctl("put", VETH1)
    result = vppctl.run("status")
    assert result.stdout == (
        "NAME   STATE    REASON           NAMESPACE  PEER   ADDRESSES\n"
        "veth1  UNKNOWN  AgentNotRunning  ns1        veth2  192.168.22.1/24, 2001:db8::ff00:89e3:bb42/48\n"
    )
    assert result.stderr == "veth1: no agent of label vpp1 is running on this host\n"
    assert vppctl("status", "--problems", "-o", "name") == ""


def test_what_is_stored_cannot_steer_a_terminal(vppctl: Vppctl, tmp_path: Path) -> None:
    file = write(tmp_path, "esc", '{"name": "\\u001b[31mred", "state": "[/]\\u001b]0;x"}')
    vppctl("put", "--raw", "/vnf-agent/vpp1/linux/status/v1/interface/x", file)
    vppctl("put", "--raw", "/vnf-agent/vpp1/linux/config/v1/interface/\x1b[1m", file)
    for arguments in (["list"], ["dump"], ["status"], ["get", f"{PREFIX}\x1b[1m"], ["--color", "always", "status"]):
        output = vppctl(*arguments)
        colors = output.replace("\x1b[1m", "").replace("\x1b[0m", "").replace("\x1b[2m", "")
        assert "\x1b]" not in colors
        assert "\x1b[31mred" not in colors


def test_interrupted_is_130(vppctl: Vppctl) -> None:
    command = vppctl.command("vppctl", ["wait", "a", "--for", "applied"])
    process = subprocess.Popen(command, env=vppctl.environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while process.poll() is None:
        # A signal before Python listens for it would end the process otherwise.
        if (Path(vppctl.folder) / "store.db").exists():
            process.send_signal(signal.SIGINT)
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert process.returncode == 130


def test_no_arguments_list_all_commands(vppctl: Vppctl) -> None:
    assert vppctl() == vppctl("--help")
    for name in COMMANDS:
        assert f"\n  {name} " in vppctl()
    assert "-cvth1" in vppctl()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(vppctl: Vppctl, name: str) -> None:
    text = vppctl(name, "--help")
    assert f"Example:\n    vppctl {'' if name in ('agent', 'preset') else name}" in text
    assert COMMANDS[name][1].rstrip(".") in " ".join(text.split()), "the list of commands says the same"


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in COMMANDS)], ids=lambda a: a[0])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    heavy = ["etcd3.etcdrpc", "grpc", "google.protobuf", "jsonschema", "rich", "yaml", "sqlite3", "docker", "asyncio"]
    program = (
        "import sys; from vppctl.cli.main import run; run(sys.argv[1:]);"
        f"print([m for m in {heavy} if m in sys.modules], file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    assert result.stderr == "[]\n"


def test_a_valid_put_does_not_pay_for_schemas(vppctl: Vppctl) -> None:
    program = (
        "import sys; from vppctl.cli.main import run; run(sys.argv[1:]);"
        "print([m for m in ('jsonschema', 'google.protobuf', 'rich', 'yaml', 'grpc') if m in sys.modules])"
    )
    command = [sys.executable, "-c", program, "put", VETH1]
    result = subprocess.run(command, env=vppctl.environment, capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def test_version() -> None:
    command = [str(Path(sys.executable).parent / "vpp-agent-ctl"), "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ).stdout.startswith("vpp")
