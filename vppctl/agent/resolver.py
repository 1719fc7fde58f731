"""Where references lead to: the namespaces of the kernel, and those of Docker's containers."""

from __future__ import annotations

from typing import Self

from vppctl.agent.bindings import Bindings
from vppctl.agent.settings import AgentSettings
from vppctl.agent.status import Report, rfc3339
from vppctl.linux.named import RUN_NETNS
from vppctl.linux.namespaces import Netns
from vppctl.linux.processes import epoch, of_process, start_of
from vppctl.linux.resolve import resolve
from vppctl.microservices import Container, Microservices
from vppctl.model.interface import NamespaceRef, NamespaceType
from vppctl.reconcile.state import Creatable, NetnsId, Reason, Resolution, Unavailable

_ENDED = (Reason.PROCESS_NOT_RUNNING, Reason.FOREIGN_PID)
"""The process is no more, whether its number is used again or not."""


class Resolver:
    """Opens what a reference leads to at present."""

    def __init__(
        self,
        microservices: Microservices,
        *,
        create: bool,
        allowed_dirs: tuple[str, ...],
        bindings: Bindings | None = None,
    ) -> None:
        self._microservices = microservices
        self.bindings = bindings or Bindings()
        """Which processes the PIDs of documents mean."""
        self._create, self._allowed_dirs = create, allowed_dirs

    @classmethod
    def of_agent(cls, settings: AgentSettings, microservices: Microservices) -> Self:
        """As the agent has it, which remembers the processes that documents mean."""
        bindings, folders = Bindings(settings.label, keep=True), tuple(settings.allowed_dirs)
        return cls(microservices, create=settings.create_namespaces, allowed_dirs=folders, bindings=bindings)

    def open(self, reference: NamespaceRef) -> Netns | Unavailable | Creatable:
        """The namespace, open; or why there is none."""
        if reference.type is NamespaceType.MICROSERVICE_REF_NS:
            return self._of_microservice(reference)
        if reference.start < 0:
            late = self.bindings.late(reference)
            if isinstance(late, Unavailable):
                return late
            reference = late
        return resolve(reference, create=self._create, extra_dirs=self._allowed_dirs)

    def told(self, reference: NamespaceRef, place: Resolution) -> Report:
        """What is published about where a reference leads: the namespace as the kernel names it, and the way there."""
        content: Report = {}
        pid, path = reference.pid, reference.filepath
        if reference.type is NamespaceType.NAMED_NS and reference.name:
            path = f"{RUN_NETNS}/{reference.name}"
        if container := self._container(reference):
            content["container"] = {"name": container.name, "id": container.id, "pid": container.pid}
            pid = container.pid
        if isinstance(place, NetnsId):
            # As readlink(2) of /proc/PID/ns/net has it, and ls and lsns(8) show it.
            content["netns"] = {"id": f"net:[{place.ino}]", "path": f"/proc/{pid}/ns/net" if pid else path}
            if pid and (started := _started(pid)):
                content["netns"]["process_start"] = started
        return content

    def _container(self, reference: NamespaceRef) -> Container | None:
        """The one container that a reference leads to."""
        if reference.type is not NamespaceType.MICROSERVICE_REF_NS:
            return None
        found = self._microservices.find(reference.microservice)
        return found[0] if len(found) == 1 else None

    def _of_microservice(self, reference: NamespaceRef) -> Netns | Unavailable:
        label = reference.microservice
        running: list[tuple[Container, Netns | Unavailable]] = []
        # While Docker is away its containers may have ended unnoticed: their processes tell.
        for container in self._microservices.find(label):
            if container.foreign:
                running.append((container, Unavailable(Reason.FOREIGN_PID, container.foreign)))
                continue
            opened = of_process(container.pid, str(reference), start=container.start)
            if isinstance(opened, Netns) or opened.reason not in _ENDED:
                running.append((container, opened))
        if len(running) == 1:
            return running[0][1]
        for _, opened in running:
            if isinstance(opened, Netns):
                opened.close()
        if running:
            names = " and ".join(str(container) for container, _ in running)
            text = f"containers {names} both have MICROSERVICE_LABEL={label}; stop all but one"
            return Unavailable(Reason.MICROSERVICE_AMBIGUOUS, text)
        trouble = f"; {self._microservices.trouble}" if self._microservices.trouble else ""
        text = f"no running container has MICROSERVICE_LABEL={label}{trouble}"
        return Unavailable(Reason.MICROSERVICE_NOT_RUNNING, text)


def _started(pid: int) -> str:
    """When a process was started; empty when there is none."""
    ticks = start_of(pid)
    return "" if ticks is None else rfc3339(epoch(ticks), "seconds")
