"""What a failed call of etcd means: whether the request can have been carried out, and one line with the fix."""

from __future__ import annotations

from vppctl.errors import StoreError, TooLargeError, VppctlError
from vppctl.store.etcd_stubs import grpc
from vppctl.store.settings import StoreSettings

_REFUSED = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.UNIMPLEMENTED,
    # etcd's alarm CORRUPT (api/v3rpc/rpctypes/error.go).
    grpc.StatusCode.DATA_LOSS,
)
_NEVER_SENT = (
    "failed to connect to all addresses",
    "DNS resolution failed",
    "etcdserver: rpc not supported for learner",
)
"""Of UNAVAILABLE, which otherwise also stands for an answer that was lost."""
LONGEST = 200
"""Characters of gRPC's own words that are repeated."""


class UnsureError(VppctlError):
    """A request was sent, and no answer came: whether it was carried out is not known here."""


def text_of(error: grpc.RpcError) -> str:
    """The server's or gRPC's own words, on one line."""
    return " ".join((error.details() or "").split())


def was_refused(error: grpc.RpcError) -> bool:
    """Whether the request has surely not been carried out."""
    if error.code() in _REFUSED:
        return True
    return error.code() is grpc.StatusCode.UNAVAILABLE and text_of(error).startswith(_NEVER_SENT)


def is_elsewhere(error: grpc.RpcError) -> bool:
    """Whether another endpoint may answer what this one did not."""
    unanswered = error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    return unanswered or "not supported for learner" in text_of(error)


def is_stale(error: grpc.RpcError) -> bool:
    """Whether a new token is needed: it has expired, the password or a role was changed, or users were switched on."""
    text = text_of(error)
    signs = ("invalid auth token", "old revision", "revision of auth store is old", "user name is empty")
    return any(sign in text for sign in signs)


def explain(error: grpc.RpcError, where: str, endpoint: str, settings: StoreSettings) -> StoreError:
    """What a failed call means, in one line with the fix."""
    code, text = error.code(), text_of(error)
    if is_elsewhere(error):
        return StoreError(f"cannot reach {where}: {_why(code, text, endpoint, settings)}")
    user = settings.user
    if code is grpc.StatusCode.PERMISSION_DENIED or "permission denied" in text:
        who = f"user {user!r}" if user else "this client"
        return StoreError(f"{where} refused: {who} has no permission; grant it a role, or see --user")
    if "user name is empty" in text and user:
        why = f"user {user!r} has no password; give it as ETCDCTL_PASSWORD or --password-file"
        return StoreError(f"{where} refused: {why}")
    if "user name is empty" in text:
        return StoreError(f"{where} refused: it asks for a user; see --user")
    if "authentication failed" in text:
        return StoreError(f"{where} refused user {user!r}: wrong name or password; see --user")
    if "too many operations" in text or "request is too large" in text or "message larger than max" in text:
        return TooLargeError(f"{where} refused: {text.removeprefix('etcdserver: ')}")
    if "database space exceeded" in text:
        return StoreError(f"{where} refused: {NO_SPACE}")
    if code is grpc.StatusCode.DATA_LOSS:
        return StoreError(f"{where} refused: {CORRUPT}")
    return StoreError(f"{where} refused: {text.removeprefix('etcdserver: ')[:LONGEST] or code.name}")


NO_SPACE = (
    "it is out of space (alarm NOSPACE) and takes no writes; compact and defragment it, then 'etcdctl alarm disarm'"
)
CORRUPT = (
    "its members have different data (alarm CORRUPT) and it takes no writes; see 'etcdctl endpoint hashkv --cluster',"
    " replace the member that differs, then 'etcdctl alarm disarm'"
)
ALARMS = {1: NO_SPACE, 2: CORRUPT}
"""By AlarmType of etcd's rpc.proto; the stubs do not know the second one."""


def _why(code: grpc.StatusCode, text: str, endpoint: str, settings: StoreSettings) -> str:
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"no answer within {settings.timeout:g} s; is it running? see --endpoints"
    if "Connection refused" in text:
        return "connection refused; is it running? see --endpoints"
    for words in ("Network is unreachable", "No route to host"):
        if words in text:
            return f"{words.lower()}; is the network up? see --endpoints"
    if "Name or service" in text or "DNS" in text:
        return "its name is unknown; see --endpoints"
    # gRPC has one word for many mistakes with certificates; a TLS library has one for each.
    from vppctl.store.etcd_tls import tls_problem

    if found := tls_problem(endpoint, settings):
        return found
    last = text.rpartition("last error: ")[2]
    return f"{last[:LONGEST] or 'unavailable'}; is it running? see --endpoints"
