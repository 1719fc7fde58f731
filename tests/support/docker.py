"""A real Docker engine for tests and measurements: own socket, own data, no bridge, an image made from busybox."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import socket
import subprocess
import tarfile
from pathlib import Path
from typing import Any, Self

import docker

from tests.support.netns import wait_until

IMAGE = "vppctl-test:latest"


class Engine:
    """One engine; started by `with`, stopped with its containers at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = f"unix://{folder}/docker.sock"
        self.process: subprocess.Popen[bytes] | None = None
        self.containerd: subprocess.Popen[bytes] | None = None
        self.client: Any = None

    def __enter__(self) -> Self:
        # A service of its own, as on a real host: containers outlive an engine that is killed.
        config = self.folder / "containerd.toml"
        config.write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
        folders = [f"--root={self.folder}/containerd", f"--state={self.folder}/state"]
        with (self.folder / "containerd.log").open("ab") as log:
            self.containerd = subprocess.Popen(
                ["containerd", f"--config={config}", *folders, f"--address={self.folder}/containerd.sock"],
                stdout=log,
                stderr=log,
            )
        self.start()
        self._make_image()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is None:
            self.start()
        for container in self.client.containers.list(all=True):
            container.remove(force=True)
        self.stop()
        if self.containerd:
            self.containerd.terminate()
            self.containerd.wait(30)

    def start(self) -> None:
        with (self.folder / "dockerd.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    "dockerd",
                    f"--host={self.host}",
                    f"--containerd={self.folder}/containerd.sock",
                    f"--data-root={self.folder}/data",
                    f"--exec-root={self.folder}/exec",
                    f"--pidfile={self.folder}/docker.pid",
                    "--iptables=false",
                    "--ip6tables=false",
                    "--bridge=none",
                    "--storage-driver=vfs",
                ],
                stdout=log,
                stderr=log,
            )
        wait_until(self._answers, "the Docker engine to answer", 60)

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "dockerd.log").read_text()[-3000:]
        # The SDK leaves a socket open when nobody listens.
        with contextlib.suppress(OSError, docker.errors.DockerException), socket.socket(socket.AF_UNIX) as probe:
            probe.connect(f"{self.folder}/docker.sock")
            self.client = docker.DockerClient(self.host, version="auto", timeout=60)
            return True
        return False

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self.process is not None:
            self.client.close()
            os.kill(self.process.pid, number)
            self.process.wait(60)
            self.process = None

    def _make_image(self) -> None:
        busybox = shutil.which("busybox")
        assert busybox
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as archive:
            archive.add(busybox, "bin/busybox")
        self.client.api.import_image_from_data(content.getvalue(), *IMAGE.split(":"))

    def run(self, name: str, label: str | None = None, network: str = "none", **more: Any) -> Any:
        """Start a container that sleeps, with a microservice label if one is given."""
        environment = {"MICROSERVICE_LABEL": label} if label else {}
        command = ["/bin/busybox", "sleep", "3600"]
        return self.client.containers.run(
            IMAGE, command, name=name, detach=True, environment=environment, network_mode=network, **more
        )


def pid(container: Any) -> int:
    container.reload()
    number: int = container.attrs["State"]["Pid"]
    return number
