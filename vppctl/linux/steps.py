"""Changes of links as messages: many steps make one batch, and each answer finds the operation it belongs to."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import NamedTuple

from vppctl.errors import cause
from vppctl.linux import wire
from vppctl.linux.namespaces import Netns, enable_ipv6
from vppctl.linux.rtnl import Answer, Rtnl
from vppctl.reconcile.operations import AddAddress, DelAddress, End, Failure, SetLink
from vppctl.reconcile.state import NetnsId

PERMANENT = {errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM, errno.EACCES, errno.ERANGE, errno.EADDRNOTAVAIL}
"""Errors that the same attempt will meet again."""


class Step(NamedTuple):
    """One message, the outcome it belongs to, and errors that mean that it was done already."""

    outcome: int
    message: bytes
    what: tuple[object, ...]
    """What it is for, in words to be put together when it was refused."""
    fine: tuple[int, ...] = ()
    ipv6: str = ""
    """The link that an IPv6 address is added to."""


Steps = dict[tuple[int, NetnsId], list[Step]]
LINKS, ADDRESSES = 0, 1
"""Turns: all links before all addresses, since a link that goes up makes the kernel walk all routes there are."""


def setting_step(number: int, operation: SetLink | AddAddress | DelAddress) -> Step:
    """What changes one link or address, as a step of the operation with this number."""
    name, index = operation.name, operation.index
    match operation:
        case SetLink():
            changes = operation.changes
            named = ", ".join(f"{key} {value}" for key, value in changes.items())
            return Step(number, wire.set_link(index, **changes), (f"set {named} of {name!r}",))
        case AddAddress(address=address):
            message = wire.address(wire.RTM_NEWADDR, index, address)
            what = (f"add {address} to {name!r}",)
            return Step(number, message, what, ipv6=name if ":" in address else "")
        case DelAddress(address=address):
            message = wire.address(wire.RTM_DELADDR, index, address)
            return Step(number, message, (f"remove {address} from {name!r}",), (errno.EADDRNOTAVAIL,))


def run_steps(steps: Sequence[Step], space: Netns | None, failures: dict[int, Failure]) -> None:
    """Take these steps in one batch, and note what was refused by the number of its operation."""
    if space is None:
        failures.update((step.outcome, Failure(errno.ENOENT, "the namespace has gone")) for step in steps)
        return
    try:
        with Rtnl(space) as rtnl:
            answers = rtnl.batch([step.message for step in steps])
            again = [n for n, answer in enumerate(answers) if answer.errno == errno.EACCES and steps[n].ipv6]
            if again:
                # Docker switches IPv6 off in its containers; who configures an address wants it on for this link.
                enable_ipv6(space, {steps[n].ipv6 for n in again})
                for n, answer in zip(again, rtnl.batch([steps[n].message for n in again]), strict=True):
                    answers[n] = answer
    except OSError as error:
        failures.update((step.outcome, failed(_words(step), error)) for step in steps)
        return
    for step, answer in zip(steps, answers, strict=True):
        if answer.errno and answer.errno not in step.fine:
            failures.setdefault(step.outcome, refused(_words(step), answer))


def refused(what: str, answer: Answer) -> Failure:
    """The kernel has said no."""
    said = f" ({answer.text})" if answer.text else ""
    text = f"cannot {what}: {os.strerror(answer.errno)}{said}"
    return Failure(answer.errno, text, answer.errno not in PERMANENT)


def failed(what: str, error: OSError) -> Failure:
    """It could not even be asked."""
    return Failure(error.errno or 0, f"cannot {what}: {cause(error)}", error.errno not in PERMANENT)


def _words(step: Step) -> str:
    return " ".join(
        repr(part.name) if isinstance(part, End) else part.description if isinstance(part, Netns) else str(part)
        for part in step.what
    )
