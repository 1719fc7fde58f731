"""vpp-agent-ctl's argument vector into ours. Pure.

As in the original, an optional etcd configuration file stands in front, and the command is the last thing with its
arguments: `[etcd-config-file] -put KEY FILE`, `-get KEY`, `-del KEY`, `-dump [KEY]`, `-list`, `-ps`, `-cvth1`, ...
"""

from __future__ import annotations

from vppctl.errors import UsageError

_PLAIN: dict[str, list[str]] = {
    "-list": ["list"],
    "-ps": ["status"],
    "-ierr": ["status", "--problems"],
    "-cvth1": ["preset", "put", "veth1"],
    "-cvth2": ["preset", "put", "veth2"],
    "-dvth1": ["preset", "del", "veth1"],
    "-dvth2": ["preset", "del", "veth2"],
    "-caf": ["preset", "put", "afpacket1"],
    "-maf": ["preset", "put", "afpacket1"],
    "-daf": ["preset", "del", "afpacket1"],
    "-cmm": ["preset", "put", "memif1"],
    "-dmm": ["preset", "del", "memif1"],
    "-cms": ["preset", "put", "memif2"],
    "-dms": ["preset", "del", "memif2"],
}
_WITH_ARGUMENTS = {"-put": "put", "-get": "get", "-del": "del", "-dump": "dump"}
_COUNTS = {"-put": (2, 2), "-get": (1, 1), "-del": (1, 1), "-dump": (0, 1)}
_UNSUPPORTED = frozenset(
    [
        "-ct",
        "-mt",
        "-dt",
        "-ce",
        "-me",
        "-de",
        "-cl",
        "-ml",
        "-dl",
        "-cvx",
        "-dvx",
        "-acl",
        "-dacl",
        "-cr",
        "-dr",
        "-txn",
        "-dtxn",
        "-cbd",
        "-dbd",
        "-aft",
        "-dft",
        "-aat",
        "-cxc",
        "-dxc",
        "-bfds",
        "-dbfds",
        "-bfdk",
        "-dbfdk",
        "-bfde",
        "-dbfde",
        "-bderr",
        "-clarp",
        "-dlarp",
        "-clrt",
        "-clrtdef",
        "-dlrt",
        "-appns",
        "-ef",
        "-df",
        "-stna",
        "-stnd",
    ]
)
_TAKES_VALUE = frozenset(
    [
        "--store",
        "--endpoints",
        "--cacert",
        "--cert",
        "--key",
        "--user",
        "--password",
        "--password-file",
        "--command-timeout",
        "--config",
        "-l",
        "--label",
        "--color",
    ]
)
HELP = [
    ("[etcd-config-file] -put KEY FILE", "put; --raw for keys that no schema here knows"),
    ("-get KEY, -del KEY, -dump [KEY], -list", "get, del, dump, list"),
    ("-ps, -ierr", "status, status --problems"),
    ("-cvth1, -cvth2, -dvth1, -dvth2", "preset put, preset del"),
    ("-caf, -maf, -daf, -cmm, -dmm, -cms, -dms", "the same of afpacket1, memif1 (master), memif2 (slave)"),
]
"""What the list of commands says of them."""


def translate(arguments: list[str]) -> list[str]:
    """Our argument vector; one without an old spelling comes back as it is. Raises UsageError."""
    head, rest = _split(arguments)
    config: list[str] = []
    if len(rest) > 1 and not rest[0].startswith("-") and _is_old(rest[1]):
        config, rest = ["--config", rest[0]], rest[1:]
    if not rest or not _is_old(rest[0]):
        return arguments
    word, tail = rest[0], rest[1:]
    if word in _UNSUPPORTED:
        raise UsageError(f"{word} is not supported; write the JSON to a file and use 'put --raw KEY FILE'")
    if word in _PLAIN:
        if tail:
            raise UsageError(f"{word} takes no arguments, but there is {tail[0]!r}")
        return [*head, *config, *_PLAIN[word]]
    least, most = _COUNTS[word]
    given = [argument for argument in tail if argument == "-" or not argument.startswith("-")]
    if not least <= len(given) <= most:
        raise UsageError(f"{word} takes {_describe(word)}; see 'vppctl --help'")
    if word == "-put" and "--raw" not in tail:
        from vppctl.cli.entries import NO_INTERFACE, interface_key

        # Ours would take anything that is no key for a file.
        interface_key(given[0], NO_INTERFACE)
    return [*head, *config, _WITH_ARGUMENTS[word], *tail]


def _describe(word: str) -> str:
    return {"-put": "KEY and FILE", "-dump": "at most one KEY"}.get(word, "one KEY")


def _is_old(word: str) -> bool:
    return word in _PLAIN or word in _WITH_ARGUMENTS or word in _UNSUPPORTED


def _is_label(word: str) -> bool:
    """`-lLABEL`; -list is older."""
    return word.startswith("-l") and not _is_old(word)


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Our own global options in front, and the rest."""
    at = 0
    while at < len(arguments):
        word = arguments[at]
        if word in _TAKES_VALUE:
            at += 2
        elif word == "--debug" or word.partition("=")[0] in _TAKES_VALUE or _is_label(word):
            at += 1
        else:
            break
    return arguments[:at], arguments[at:]
