"""A name that an operator gives, and that leads to no file: nothing waits, and nothing grows."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.agent import Vppctl, veth
from vppctl import engine
from vppctl.cli.config_file import MAX_CONFIG, read_config
from vppctl.errors import InvalidInputError, StoreError
from vppctl.files import SMALL, first_line, read_whole
from vppctl.model.text import MAX_FILE
from vppctl.store.settings import StoreSettings, open_store


@pytest.fixture
def vppctl(tmp_path: Path) -> Vppctl:
    return Vppctl({"VPPCTL_STORE": f"sqlite:{tmp_path}/store/store.db"}, tmp_path)


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def a_terminal(path: Path) -> None:
    path.symlink_to("/dev/ptmx")


def a_folder(path: Path) -> None:
    path.mkdir()


def a_link_to_one(path: Path) -> None:
    path.symlink_to(f"{path}.target")
    os.mkfifo(f"{path}.target")


KINDS = {
    "FIFO": (os.mkfifo, "it is a FIFO"),
    "socket": (a_socket, "it is a socket"),
    "terminal": (a_terminal, "it is a device"),
    "folder": (a_folder, "it is a folder"),
    "link": (a_link_to_one, "it is a FIFO"),
}
Make = Callable[[Path], None]


@pytest.fixture(params=KINDS)
def no_file(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    """A path, and what is said about it."""
    make, said = KINDS[request.param]
    make(tmp_path / "named")
    return tmp_path / "named", said


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--config", "{}", "list"], id="--config"),
        pytest.param(["{}", "-list"], id="a file in front of a legacy flag"),
        pytest.param(
            ["--store", "http://127.0.0.1:1", "--user", "ann", "--password-file", "{}", "list"], id="--password-file"
        ),
        pytest.param(["put", "{}"], id="put"),
        pytest.param(["put", "--raw", "/a", "{}"], id="put --raw"),
        pytest.param(["validate", "{}"], id="validate"),
        pytest.param(["agent", "run", "--once", "{}"], id="agent run"),
    ],
)
def test_a_command_that_is_given_it(vppctl: Vppctl, no_file: tuple[Path, str], arguments: list[str]) -> None:
    """Once, each of these waited for a FIFO for ever."""
    path, said = no_file
    result = vppctl.run(*(argument.format(path) for argument in arguments))
    assert (result.returncode, result.stdout) == (4, ""), result.stderr
    assert f"{path}: cannot be read: {said}" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("command", [["apply", "-f"], ["diff", "-f"]], ids=lambda c: c[0])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "folder"])
def test_what_is_applied(vppctl: Vppctl, command: list[str], kind: str) -> None:
    make, said = KINDS[kind]
    make(vppctl.folder / "named")
    result = vppctl.run(*command, str(vppctl.folder / "named"))
    assert (result.returncode, result.stdout) == (4, "")
    assert f"named: cannot be read: {said}" in result.stderr
    folder = vppctl.folder / "files"
    folder.mkdir()
    make(folder / "b.json")
    (folder / "a.json").write_text(json.dumps(veth("a", "b")))
    assert "+ a\n1 to create" in vppctl.run(*command, str(folder)).stdout


@pytest.mark.parametrize("option", ["cacert", "cert", "key"])
def test_certificates(tmp_path: Path, no_file: tuple[Path, str], option: str) -> None:
    good = tmp_path / "good.pem"
    good.write_text("")
    secure = StoreSettings(("127.0.0.1:1",), secure=True, cacert=str(good), cert=str(good), key=str(good))
    with pytest.raises(StoreError, match=f"named: cannot be read: {no_file[1]}; see --cacert"):
        open_store(replace(secure, **{option: str(no_file[0])}))  # type: ignore[arg-type]


def test_dockers_files(tmp_path: Path, no_file: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    path, said = no_file
    path.rename(tmp_path / "config.json")
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with pytest.raises(ValueError, match=f"config.json cannot be read: {said}"):
        engine.find(None)
    # The client reads it, too, whatever names the engine.
    with pytest.raises(ValueError, match=f"config.json cannot be read: {said}"):
        engine.connect(engine.find("unix:///nonexistent.sock"), 1)


def test_a_context_of_docker(tmp_path: Path, no_file: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    from hashlib import sha256

    folder = tmp_path / "contexts" / "meta" / sha256(b"far").hexdigest()
    folder.mkdir(parents=True)
    no_file[0].rename(folder / "meta.json")
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("DOCKER_CONTEXT", "far")
    with pytest.raises(ValueError, match=f"meta.json cannot be read: {no_file[1]}"):
        engine.find(None)


def test_a_client_of_docker_goes_on_without_a_configuration_that_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Docker's library does where the engine is named."""
    (tmp_path / "config.json").write_text("{")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("DOCKER_API_VERSION", "1.41")
    engine.connect(engine.find(f"unix://{tmp_path}/nonexistent.sock"), 1).close()


@pytest.mark.parametrize("word", ["put", "validate"])
def test_what_a_shell_hands_over_is_a_file(vppctl: Vppctl, word: str) -> None:
    """`<(command)` is a pipe whose name is a link below /proc."""
    file = vppctl.folder / "a.json"
    file.write_text(json.dumps(veth("a", "b")))
    command = " ".join(vppctl.command("vppctl", [word, f"<(sleep 0.2; cat {file})"]))
    result = vppctl.run("-c", command, program="/bin/bash")
    assert result.returncode == 0, result.stderr


def test_a_password_and_a_configuration_from_a_pipe(tmp_path: Path) -> None:
    code = (
        "import sys; from vppctl.files import first_line; from vppctl.cli.config_file import read_config;"
        "print(first_line(sys.argv[1]), read_config(sys.argv[2]))"
    )
    script = f"exec {os.sys.executable} -c '{code}' <(echo hunter2) <(echo 'endpoints: a:1')"  # type: ignore[attr-defined]
    result = subprocess.run(["/bin/bash", "-c", script], capture_output=True, text=True, check=False)
    assert (result.stdout, result.stderr) == ("hunter2 {'endpoints': 'a:1'}\n", "")


def test_lengths(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * SMALL)
    assert len(read_whole(str(file))) == SMALL
    os.truncate(file, 1 << 40)
    with pytest.raises(OSError, match=f"it is longer than {SMALL} bytes"):
        read_whole(str(file))
    with pytest.raises(InvalidInputError, match=f"is longer than {MAX_CONFIG} bytes"):
        read_config(str(file))
    result = Vppctl({"VPPCTL_STORE": f"sqlite:{tmp_path}/store/store.db"}, tmp_path).run("put", str(file))
    assert result.stderr == f"{file}: is longer than {MAX_FILE} bytes; write several files\n"
    with pytest.raises(OSError, match="zero byte"):
        read_whole("a\0b")
    assert read_whole("/dev/null") == b""


@pytest.mark.parametrize(
    ("content", "line"),
    [(b"pw\n", "pw"), (b"pw\r\nmore", "pw"), (b"", ""), (b"p w\rx", "p w"), ("pä".encode(), "pä")],
)
def test_the_first_line(tmp_path: Path, content: bytes, line: str) -> None:
    (tmp_path / "file").write_bytes(content)
    assert first_line(str(tmp_path / "file")) == line


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{name}: &{name} {{<<: [{', '.join([f'*{before}'] * 10)}]}}\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(f"{LAUGHS}endpoints: *i\n", "line 2 column 8: alias \\*a stands for a list", id="lists"),
        pytest.param(MERGES, "line 2 column 13: alias \\*a stands for a list or a mapping; write it out", id="merges"),
        pytest.param("endpoints: &e [*e]\n", "line 1 column 16: alias \\*e stands for a list", id="itself"),
        pytest.param(
            f"x: &x {'x' * 30_000}\nendpoints: [{'*x, ' * 1500}]", "has 1500 members; write at most", id="texts"
        ),
        pytest.param(f"x: &x {'x' * 30_000}\nca-file: [{'*x, ' * 1500}]", "ca-file: \\[.* is no path", id="a path"),
        pytest.param(f"x: &x {'x' * 30_000}\ndial-timeout: [{'*x, ' * 1500}]", "\\[.* is no time", id="a time"),
        pytest.param("[" * 50_000, "is no YAML: is nested deeper than 10 levels", id="depth"),
        pytest.param("endpoints: [a:1, 3, null]", "endpoints: is no list of texts; write one such as", id="types"),
        pytest.param("endpoints: {a: 1}", "endpoints: is no list of texts", id="mapping"),
        pytest.param("a: 2001-99-99", "is no YAML: month must be in 1..12", id="date"),
        pytest.param("a: !!int x", "is no YAML", id="int"),
        pytest.param("a: !!timestamp x", "is no YAML", id="timestamp"),
        pytest.param("a: !!bool x", "is no YAML", id="bool"),
        pytest.param(f"a: {'1' * 5000}", "is no YAML", id="digits"),
        pytest.param("a: !!python/object/apply:os.system [id]", "is no YAML", id="tag"),
    ],
)
def test_a_configuration_that_grows_or_breaks(tmp_path: Path, content: str, said: str) -> None:
    """Once, nine lines of aliases were half a gigabyte, and a wrong tag an internal error."""
    import tracemalloc

    (tmp_path / "etcd.conf").write_text(content)
    tracemalloc.start()
    try:
        with pytest.raises(InvalidInputError, match=said) as caught:
            read_config(str(tmp_path / "etcd.conf"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20 << 20
    assert all(len(line) < 1000 and "\n" not in line for line in caught.value.lines)


def test_an_alias_of_a_text_is_its_text(tmp_path: Path) -> None:
    (tmp_path / "etcd.conf").write_text("cert-file: &cert /a.pem\nkey-file: *cert\nendpoints: [a:1, b:2]\n")
    assert read_config(str(tmp_path / "etcd.conf")) == {
        "cert-file": "/a.pem",
        "key-file": "/a.pem",
        "endpoints": ["a:1", "b:2"],
    }
