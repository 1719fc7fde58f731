"""The systemd unit of the agent, for where this program is installed."""

from __future__ import annotations

import re
from importlib.resources import files

from vppctl.errors import VppctlError

_INSTALLED = "/usr/bin/vppctl"
"""What stands for the program in the unit of the package."""
_REFUSED = re.compile(r"[\x00-\x1f\x7f'\"\\\ud800-\udfff]")
"""Characters that systemd takes in no path of a program (string_is_safe, basic/string-util.c), and what is no UTF-8."""


def unit(program: str) -> str:
    """The unit that runs `program`. Raises VppctlError when systemd runs no program with such a path."""
    if _REFUSED.search(program):
        text = "systemd runs no program with quotes, backslashes or control characters in its path"
        raise VppctlError(f"{program!r}: {text}; install it elsewhere")
    text = files("vppctl.agent").joinpath("vppctl-agent.service").read_text()
    return text.replace(f"ExecStart={_INSTALLED} ", f"ExecStart={_word(program)} ")


def _word(program: str) -> str:
    """The first word of a command line: quoted, with specifiers doubled; variables are not expanded there.

    See systemd.service(5), section Command lines, and systemd.unit(5), section Specifiers.
    """
    escaped = program.replace("%", "%%")
    return escaped if re.fullmatch(r"[\w/.+@%:-]+", escaped, re.ASCII) else f'"{escaped}"'
