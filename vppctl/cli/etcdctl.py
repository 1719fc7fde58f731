"""etcdctl's own variables: what is done for them, and which are refused rather than ignored.

Without effect here, and without harm: ETCDCTL_API (it is always 3), ETCDCTL_DIAL_TIMEOUT (a part of
ETCDCTL_COMMAND_TIMEOUT here), ETCDCTL_KEEPALIVE_TIME and _TIMEOUT, ETCDCTL_DEBUG, ETCDCTL_WRITE_OUT, ETCDCTL_HEX.
"""

from __future__ import annotations

from collections.abc import Mapping

from vppctl.errors import UsageError

_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")
"""As Go's strconv.ParseBool."""


def wants_tls(environment: Mapping[str, str]) -> bool:
    """Whether ETCDCTL_INSECURE_TRANSPORT=false asks for TLS where no scheme says otherwise. Raises UsageError."""
    return _flag(environment, "ETCDCTL_INSECURE_TRANSPORT") is False


def refuse(environment: Mapping[str, str], *, secure: bool, chosen: bool, user: bool) -> None:
    """Refuse what cannot be done; `chosen`: endpoints were given nearer than by these variables. Raises UsageError."""
    if _flag(environment, "ETCDCTL_INSECURE_SKIP_TLS_VERIFY") and secure:
        raise UsageError(
            "ETCDCTL_INSECURE_SKIP_TLS_VERIFY is not supported: whoever answers would decide what the agent does;"
            " give the CA as --cacert and unset it"
        )
    if environment.get("ETCDCTL_DISCOVERY_SRV") and not chosen:
        raise UsageError("ETCDCTL_DISCOVERY_SRV is not supported; give the members as --endpoints HOST:PORT,...")
    if environment.get("ETCDCTL_AUTH_JWT_TOKEN") and not user:
        raise UsageError("ETCDCTL_AUTH_JWT_TOKEN is not supported; give a user as --user, and unset it")


def _flag(environment: Mapping[str, str], name: str) -> bool | None:
    value = environment.get(name)
    if not value:
        return None
    if value not in (*_TRUE, *_FALSE):
        raise UsageError(f"{name} {value!r} is neither true nor false")
    return value in _TRUE
