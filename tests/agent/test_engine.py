"""How the container engine is named: every form is taken, or what cannot be is said with the variable that has it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.agent import Vppctl, veth

pytestmark = pytest.mark.kernel
FIX = "is no URL of an engine on Linux; write one such as unix:///var/run/docker.sock"


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        pytest.param(
            {"DOCKER_HOST": "npipe:////./pipe/x"}, f"asked: DOCKER_HOST 'npipe:////./pipe/x' {FIX}", id="npipe"
        ),
        pytest.param({"DOCKER_HOST": "fd://"}, f"asked: DOCKER_HOST 'fd://' {FIX}", id="fd"),
        pytest.param({"DOCKER_HOST": "ssh://root@x"}, "at ssh://root@x (DOCKER_HOST): ", id="ssh"),
        pytest.param({"DOCKER_HOST": "tcp://127.0.0.1"}, "at tcp://127.0.0.1:2375 (DOCKER_HOST): ", id="no port"),
        pytest.param({"DOCKER_HOST": "unix:/nope"}, "at unix:/nope (DOCKER_HOST): No such file", id="one slash"),
        pytest.param({"DOCKER_CONTEXT": "nope"}, "context 'nope' of DOCKER_CONTEXT does not exist", id="context"),
        pytest.param({"DOCKER_API_VERSION": "new"}, "DOCKER_API_VERSION 'new' is no version", id="version"),
        pytest.param({"DOCKER_TLS_VERIFY": "1"}, "/ca.pem does not exist; set DOCKER_CERT_PATH", id="certificates"),
        pytest.param({"DOCKER_TLS": "1"}, "at tcp://localhost:2376 (DOCKER_TLS): ", id="tls without a check"),
        pytest.param({"CONTAINER_HOST": "unix:///p"}, "CONTAINER_HOST is for Podman's own tools", id="podman"),
        pytest.param({"DOCKER_CONFIG": "bad"}, "bad/config.json cannot be read", id="config"),
        pytest.param({"DOCKER_CONFIG": "lab"}, "at tcp://127.0.0.1:9 (context 'lab' of ", id="docker context use"),
    ],
)
def test_what_is_said_when_it_cannot_be_asked(
    vppctl: Vppctl, tmp_path: Path, variables: dict[str, str], said: str
) -> None:
    if Path("/var/run/docker.sock").exists() and "CONTAINER_HOST" in variables:
        pytest.skip("there is an engine")
    for name in ("bad", "lab"):
        (tmp_path / name).mkdir()
    (tmp_path / "bad" / "config.json").write_text("{")
    (tmp_path / "lab" / "config.json").write_text('{"currentContext": "lab"}')
    # sha256 of its name, as Docker has it.
    key = "a51146d38077ff992eba84cf1d5e9b249073503eb74868699016153b031a38f7"
    meta = tmp_path / "lab" / "contexts" / "meta" / key / "meta.json"
    meta.parent.mkdir(parents=True)
    meta.write_text(json.dumps({"Name": "lab", "Endpoints": {"docker": {"Host": "tcp://127.0.0.1:9"}}}))
    vppctl.environment |= {"HOME": str(tmp_path), **variables}
    if "DOCKER_CONFIG" in variables:
        vppctl.environment["DOCKER_CONFIG"] = str(tmp_path / variables["DOCKER_CONFIG"])
    vppctl.put(veth("a", "b", {"type": 1, "microservice": "web"}), veth("b", "a"))
    result = vppctl.run("agent", "run", "--once")
    assert result.returncode == 1
    assert "a: no running container has MICROSERVICE_LABEL=web; Docker cannot be asked" in result.stderr
    assert said in result.stderr


def test_the_option_is_checked_by_all_that_have_it(vppctl: Vppctl) -> None:
    for command in (["agent", "run"], ["check"]):
        result = vppctl.run(*command, "--docker-host", "npipe:////./pipe/x")
        assert (result.returncode, "--docker-host 'npipe:////./pipe/x' is no URL" in result.stderr) == (2, True)
