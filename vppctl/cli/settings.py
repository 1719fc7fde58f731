"""From options, environment and configuration file to the settings of one run.

Precedence: option, VPPCTL_*, ETCDCTL_*, ligato's names, configuration file, default.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from vppctl.cli.config_file import TIMES, read_config
from vppctl.cli.durations import duration as duration
from vppctl.cli.etcdctl import refuse, wants_tls
from vppctl.errors import InvalidInputError, UsageError
from vppctl.files import first_line

if TYPE_CHECKING:
    from vppctl.store.base import Store
    from vppctl.store.settings import StoreSettings

_ENVIRONMENT = {
    "store": ("VPPCTL_STORE",),
    "endpoints": ("VPPCTL_ENDPOINTS", "ETCDCTL_ENDPOINTS", "ETCDV3_ENDPOINTS", "ETCD_ENDPOINTS"),
    "cacert": ("VPPCTL_CACERT", "ETCDCTL_CACERT"),
    "cert": ("VPPCTL_CERT", "ETCDCTL_CERT"),
    "key": ("VPPCTL_KEY", "ETCDCTL_KEY"),
    "user": ("VPPCTL_USER", "ETCDCTL_USER"),
    "password": ("VPPCTL_PASSWORD", "ETCDCTL_PASSWORD"),
    "command_timeout": ("VPPCTL_COMMAND_TIMEOUT", "ETCDCTL_COMMAND_TIMEOUT"),
    "config": ("VPPCTL_CONFIG", "ETCDV3_CONFIG"),
    "label": ("VPPCTL_LABEL", "MICROSERVICE_LABEL"),
}
_RANKS = ("file", "ligato", "ETCDCTL_", "VPPCTL_", "option")
_FILE_KEYS = {"endpoints": "endpoints", "ca-file": "cacert", "cert-file": "cert", "key-file": "key"}


class Settings:
    """What the global options amount to; looked up when asked for."""

    def __init__(self, options: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> None:
        self._options = options
        self._environment = os.environ if environment is None else environment
        self._file: dict[str, Any] = {}
        self._warned = False
        self._asked: str | None = None
        if path := self._value("config")[1]:
            self._file = read_config(path)

    @property
    def label(self) -> str:
        """The label whose keys are meant. Raises UsageError."""
        label: str = self._value("label")[1] or "vpp1"
        check_label(label, "--label")
        return label

    @property
    def color(self) -> str:
        """`auto`, `always` or `never` (no-color.org, force-color.org)."""
        if self._options.get("color"):
            return str(self._options["color"])
        if self._environment.get("NO_COLOR"):
            return "never"
        return "always" if self._environment.get("FORCE_COLOR") else "auto"

    def store(self) -> StoreSettings:
        """Which store, and how to reach it. Raises UsageError."""
        from dataclasses import replace

        from vppctl.store.settings import DEFAULT_TIMEOUT, DEFAULT_URL, parse_endpoints, parse_store_url
        from vppctl.store.settings import wants_tls as endpoints_want_tls

        store_rank, url = self._value("store")
        endpoint_rank, endpoints = self._value("endpoints")
        given = str(url or DEFAULT_URL)
        settings = parse_store_url(given)
        timeout = duration(self._value("command_timeout")[1] or DEFAULT_TIMEOUT, "--command-timeout")
        settings = replace(settings, timeout=timeout)
        if settings.path and store_rank >= endpoint_rank:
            return settings
        if endpoints and endpoint_rank >= store_rank:
            given = ",".join(map(str, endpoints)) if isinstance(endpoints, list) else str(endpoints)
            settings = replace(settings, path="", endpoints=parse_endpoints(given))
        found = {name: self._value(name) for name in ("cacert", "cert", "key")}
        files = {name: str(value or "") for name, (_, value) in found.items()}
        if bool(files["cert"]) != bool(files["key"]):
            raise UsageError("--cert and --key go together; give both or none")
        # What the file says of TLS is about its own certificates; one that was given over it means TLS.
        least = _RANKS.index("ligato") if self._file.get("insecure-transport") else _RANKS.index("file")
        secure = endpoints_want_tls(given) or any(rank >= least for rank, _ in found.values())
        if wants_tls(self._environment) and ("://" not in given or not (url or endpoints)):
            secure = True
        user, password = self._user()
        chosen = max(store_rank, endpoint_rank) > _RANKS.index("ETCDCTL_")
        refuse(self._environment, secure=secure, chosen=chosen, user=bool(user))
        settings = replace(settings, cacert=files["cacert"], cert=files["cert"], key=files["key"], secure=secure)
        path = str(self._options.get("password_file") or "")
        return replace(settings, user=user, password=password, password_file=path if user else "")

    def open_store(self) -> Store:
        """The store itself. Raises StoreError."""
        from vppctl.store.settings import open_store

        settings = self.store()
        self.warn(settings)
        return open_store(settings)

    def warn(self, settings: StoreSettings) -> None:
        """Say on standard error what others can read or change: once, unless VPPCTL_ALLOW_PLAINTEXT is set."""
        if self._warned or self._environment.get("VPPCTL_ALLOW_PLAINTEXT"):
            return
        self._warned = True
        import click

        from vppctl.store.private import exposed, who_may_write

        # Where it is not there, or cannot be looked at, opening it says so.
        with suppress(OSError):
            if settings.path and (text := who_may_write(settings.path)):
                click.echo(f"warning: {text}", err=True)
        for endpoint in settings.endpoints:
            with suppress(OSError):
                if endpoint.startswith("unix:/") and (text := exposed(endpoint.removeprefix("unix:"))):
                    click.echo(f"warning: {text}, and answer in place of etcd; choose another folder", err=True)
        away = [endpoint for endpoint in settings.endpoints if not is_loopback(endpoint)]
        if away and not settings.secure:
            what = "configuration and password go" if settings.password else "configuration goes"
            text = f"warning: {what} to etcd {away[0]} in plain text; use https:// and --cacert"
            click.echo(f"{text}, or set VPPCTL_ALLOW_PLAINTEXT=1", err=True)
        if self._options.get("password") or ":" in str(self._options.get("user") or ""):
            text = "warning: everybody on this host can read a password of the command line"
            click.echo(f"{text}; use --password-file or ETCDCTL_PASSWORD", err=True)

    def _user(self) -> tuple[str, str]:
        """Name and password. Raises UsageError and InvalidInputError."""
        given = self._value("user")[1]
        name, colon, in_user = str(given or "").partition(":")
        if given and not name:
            raise UsageError(f"--user {given!r} has no name; write NAME, or NAME:PASSWORD")
        password = self._password(in_user, missing=bool(name and not colon))
        return name, self._ask(name) if password is None else password

    def _password(self, in_user: str, *, missing: bool) -> str | None:
        """From the source of the highest rank; of equal ones the file, then its own option, then behind the user.

        None when it is `missing` behind the user, and there is no other. Raises InvalidInputError.
        """
        path = self._options.get("password_file")
        if not path:
            rank, given = self._value("password")
            if rank < 0 and missing:
                return None
            return in_user if in_user and self._value("user")[0] > rank else str(given or "")
        try:
            return first_line(str(path))
        except OSError as error:
            raise InvalidInputError([f"{path}: cannot be read: {error.strerror}; see --password-file"]) from None

    def _ask(self, name: str) -> str:
        """For the password, on a terminal, as etcdctl does; elsewhere there is none, and etcd may not ask for it."""
        # A key press that completes a word is no time for questions.
        if not sys.stdin.isatty() or any(variable.endswith("_COMPLETE") for variable in self._environment):
            return ""
        if self._asked is None:
            import click

            self._asked = str(click.prompt(f"Password of {name}", hide_input=True, err=True))
        return self._asked

    def _value(self, name: str) -> tuple[int, Any]:
        """A value and the rank of its source: greater wins over smaller; -1 when nobody gave one."""
        if self._options.get(name) is not None:
            return _RANKS.index("option"), self._options[name]
        for variable in _ENVIRONMENT[name]:
            if self._environment.get(variable):
                prefix = variable[: variable.index("_") + 1]
                rank = _RANKS.index(prefix) if prefix in _RANKS else _RANKS.index("ligato")
                return rank, self._environment[variable]
        if name == "command_timeout":
            for key in TIMES:
                if key in self._file:
                    return 0, self._file[key]
        for key, option in _FILE_KEYS.items():
            if option == name and self._file.get(key):
                return 0, self._file[key]
        return -1, None


def check_label(label: str, where: str) -> None:
    """It is one part of a key, and of the marks of links. Raises UsageError."""
    # A colon would end the label in the marks of links, and make another agent's ours.
    if "/" in label or ":" in label or not label.isprintable() or label in (".", ".."):
        raise UsageError(f"{where} {label!r} is no label; it is one part of a key, without slashes and colons")


def is_loopback(endpoint: str) -> bool:
    """Whether `HOST:PORT` is on this host."""
    import ipaddress

    host = endpoint.rpartition(":")[0].strip("[]")
    if endpoint.startswith("unix:/"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
