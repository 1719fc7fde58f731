"""Where the container engine is, and a connection to it: found as Docker's own command line finds it.

In this order: the option, DOCKER_HOST, DOCKER_CONTEXT, the current context of config.json, the default socket. Read
anew for each connection, for contexts and certificates change. Excluded: what the engine is asked.
"""

from __future__ import annotations

import errno
import json
import os
import re
from hashlib import sha256
from importlib.util import find_spec
from ipaddress import ip_address
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from vppctl.files import read_start, read_whole

DEFAULT_HOST, DEFAULT_TLS_HOST = "unix:///var/run/docker.sock", "tcp://localhost:2376"
SCHEMES = ("unix", "tcp", "http", "https", "ssh")
"""How an engine can be reached from Linux."""

LIMIT, CHUNK = 32 << 20, 16 << 10
"""Bytes of an answer that are read, and read at once: a list of 10,000 containers takes some 20 MB."""
OK = 200

_TLS_VARIABLES = ("DOCKER_TLS_VERIFY", "DOCKER_TLS", "DOCKER_CERT_PATH")


class Tls(NamedTuple):
    """The folder with ca.pem, cert.pem and key.pem, and whether the engine's certificate is checked."""

    folder: str
    verify: bool


class Endpoint(NamedTuple):
    """An engine: its URL, what named it (empty: the option or nothing), and how TLS is done."""

    host: str
    origin: str = ""
    tls: Tls | None = None

    def __str__(self) -> str:
        return f"{self.host} ({self.origin})" if self.origin else self.host


def find(option: str | None) -> Endpoint:
    """The engine that the option or the environment names. Raises ValueError, which names what is wrong and where."""
    host, tls = option or os.environ.get("DOCKER_HOST"), _tls_of_environment()
    if host:
        origin = "--docker-host" if option else "DOCKER_HOST"
        return Endpoint(_checked(host, origin, tls), "" if option else origin, tls)
    folder = _config_folder()
    name, origin = os.environ.get("DOCKER_CONTEXT"), "DOCKER_CONTEXT"
    if not name:
        name, origin = _current_context(folder), f"{folder}/config.json"
    if name in ("", "default"):
        given = next((name for name in _TLS_VARIABLES if os.environ.get(name)), "")
        return Endpoint(DEFAULT_TLS_HOST if tls else DEFAULT_HOST, given, tls)
    return _of_context(folder, name, f"context {name!r} of {origin}")


def connect(endpoint: Endpoint, timeout: int) -> Any:
    """A connection (docker.APIClient). Raises docker.errors.DockerException, requests' errors, OSError, ValueError."""
    # Slow to load.
    import docker
    from docker.utils.config import find_config_file

    url = urlsplit(endpoint.host)
    if url.scheme == "ssh" and not find_spec("paramiko"):
        raise ValueError("ssh:// needs the package paramiko; run the agent on the engine's host, with its socket")
    options: dict[str, Any] = {"version": _version()}
    encrypted = endpoint.tls is not None and url.scheme not in ("unix", "ssh", "http")
    if endpoint.tls and encrypted:
        options["tls"] = _tls_config(endpoint.tls, endpoint.origin)
    _refuse_no_file(find_config_file())
    client = _client(docker, direct=url.scheme == "unix" or _is_loopback(url.hostname or ""))
    try:
        return client(base_url=endpoint.host, timeout=timeout, **options)
    except docker.errors.InvalidVersion as error:
        raise ValueError(f"DOCKER_API_VERSION {options['version']}: {error}") from None


def hint(endpoint: Endpoint) -> str:
    """What else there is, when the default socket is not there; empty otherwise."""
    if endpoint.host != DEFAULT_HOST or os.path.exists(DEFAULT_HOST.removeprefix("unix://")):
        return ""
    if other := os.environ.get("CONTAINER_HOST"):
        return f"; CONTAINER_HOST is for Podman's own tools, give the agent --docker-host {other}"
    for path in (f"{os.environ.get('XDG_RUNTIME_DIR') or '/nowhere'}/docker.sock", "/run/podman/podman.sock"):
        if os.path.exists(path):
            return f"; there is {path}, give the agent --docker-host unix://{path}"
    return ""


def problem(host: str) -> str:
    """What is wrong with the URL of an engine; empty when it may do."""
    scheme, separator, rest = host.partition("://")
    if not separator:
        # Docker's SDK takes unix:PATH and HOST:PORT, too.
        scheme, separator, rest = host.partition(":")
        scheme = scheme if scheme == "unix" else "tcp"
    if scheme not in SCHEMES or not separator or not (rest or scheme in ("unix", "tcp")):
        return f"{host!r} is no URL of an engine on Linux; write one such as {DEFAULT_HOST}"
    return ""


def _checked(host: str, origin: str, tls: Tls | None) -> str:
    """The URL with what Docker's command line fills in. Raises ValueError."""
    if wrong := problem(host):
        raise ValueError(f"{origin} {wrong}")
    if host in ("unix://", "unix:"):
        return DEFAULT_HOST
    if host.startswith("tcp://"):
        url = urlsplit(host)
        if url.port is None:
            return url._replace(netloc=f"{url.netloc or 'localhost'}:{2376 if tls else 2375}").geturl()
    return host


def _version() -> str:
    version = os.environ.get("DOCKER_API_VERSION")
    if version and not re.fullmatch(r"[0-9]+\.[0-9]+", version):
        raise ValueError(f"DOCKER_API_VERSION {version!r} is no version; unset it, or write one such as 1.41")
    return version or "auto"


def _config_folder() -> str:
    return os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")


def _current_context(folder: str) -> str:
    """The context that `docker context use` has chosen; empty for none."""
    path = f"{folder}/config.json"
    try:
        return str(_read(path).get("currentContext") or "")
    except FileNotFoundError:
        return ""


def _of_context(folder: str, name: str, origin: str) -> Endpoint:
    key = sha256(name.encode(errors="surrogateescape")).hexdigest()
    path = f"{folder}/contexts/meta/{key}/meta.json"
    try:
        endpoint = _read(path).get("Endpoints", {}).get("docker", {})
        host = endpoint.get("Host") or DEFAULT_HOST
        verify = not endpoint.get("SkipTLSVerify")
    except FileNotFoundError:
        raise ValueError(f"{origin} does not exist; 'docker context ls' prints those that do") from None
    except AttributeError:
        raise ValueError(f"{path} has no endpoint of an engine; create the context again") from None
    certificates = f"{folder}/contexts/tls/{key}/docker"
    tls = Tls(certificates, verify) if os.path.isdir(certificates) or not verify else None
    return Endpoint(_checked(host, origin, tls), origin, tls)


def _read(path: str) -> dict[str, Any]:
    """A file of Docker's. Raises FileNotFoundError, and ValueError for all else."""
    try:
        found = json.loads(read_whole(path))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} is no JSON object; mend or remove it")
    return found


def _refuse_no_file(path: Any) -> None:
    """The client opens its configuration by name, and would wait for a FIFO. Raises ValueError."""
    try:
        read_start(path or os.devnull, 0)
    except OSError as error:
        # Without what cannot be read for another reason it goes on.
        if error.errno == errno.EINVAL:
            raise ValueError(f"{path} cannot be read: {error.strerror}") from None


def _tls_of_environment() -> Tls | None:
    """What the command line's global options default to."""
    verify, unchecked, folder = (os.environ.get(name) for name in _TLS_VARIABLES)
    return Tls(folder or _config_folder(), bool(verify)) if verify or unchecked or folder else None


def _tls_config(tls: Tls, origin: str) -> Any:
    from docker.tls import TLSConfig

    ca, certificate, key = (f"{tls.folder}/{name}.pem" for name in ("ca", "cert", "key"))
    if tls.verify and not os.path.isfile(ca) and not origin.startswith("context"):
        raise ValueError(f"{ca} does not exist; set DOCKER_CERT_PATH to the folder of ca.pem, cert.pem and key.pem")
    both = os.path.isfile(certificate) and os.path.isfile(key)
    authority = ca if tls.verify and os.path.isfile(ca) else None
    return TLSConfig(client_cert=(certificate, key) if both else None, ca_cert=authority, verify=tls.verify)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _client(docker: Any, *, direct: bool) -> Any:
    """A client that reads answers to a limit; `direct`: no proxy comes between, as in Go's net/http for this host."""

    class Client(docker.APIClient):  # type: ignore[misc]
        if direct:
            trust_env = property(lambda _: False, lambda *_: None)

        def send(self, request: Any, **options: Any) -> Any:
            streamed = options.get("stream")
            # A redirect is an answer of something else than an engine.
            response = super().send(request, **{**options, "stream": True, "allow_redirects": False})
            if not streamed or response.status_code != OK:
                _read_whole(response)
            return response

        def get_redirect_target(self, resp: Any) -> None:
            """None: `requests` reads the body of a redirect whole, also where it is not to be followed."""

        def _raise_for_status(self, response: Any) -> None:
            try:
                super()._raise_for_status(response)
            except (TypeError, LookupError, AttributeError, RecursionError):
                # The library takes for granted that the body of an error is an object with a message.
                raise ValueError(f"it answers with status {response.status_code}; is it an engine?") from None

        def _result(self, response: Any, *options: Any, **more: Any) -> Any:
            try:
                return super()._result(response, *options, **more)
            except RecursionError:
                raise ValueError("its answer is nested too deeply; is it an engine?") from None

        def _stream_helper(self, response: Any, **_: Any) -> Any:
            # The library's own reads a chunk of any size at once, and tells an error's body as if it were events.
            self._raise_for_status(response)
            yield from response.iter_content(CHUNK)

    return Client


def _read_whole(response: Any) -> None:
    """Read what is left, as `requests` does unless it streams, but not without end. Raises ValueError."""
    with response:
        parts, size = [], 0
        for part in response.iter_content(CHUNK):
            parts.append(part)
            size += len(part)
            if size > LIMIT:
                raise ValueError(f"its answer is longer than {LIMIT >> 20} MiB; is it an engine?")
        # Where `requests` keeps what it has read.
        response._content = b"".join(parts)  # noqa: SLF001
        if response.is_redirect:
            raise ValueError("it answers with a redirect; is it an engine?")
