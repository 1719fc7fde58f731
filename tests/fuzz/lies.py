"""What becomes of a kernel's answers on a bad day, from messages that are lost to bytes that nobody has sent."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tests.support.fake_kernel import FakeKernel, FakeLink
from tests.support.fake_sockets import NO_ROOM
from vppctl.linux import wire

Lie = Callable[[list[bytes], Random], list[bytes]]
ERRNOS = (1, 2, 11, 12, 16, 17, 19, 22, 95, 105, 110, 4095, 4096, -1, 2**31 - 1, -(2**31))


def lost(answers: list[bytes], random: Random) -> list[bytes]:
    at = random.randrange(len(answers))
    return answers[:at] + answers[at + 1 :]


def repeated(answers: list[bytes], random: Random) -> list[bytes]:
    at = random.randrange(len(answers))
    return [*answers[: at + 1], *answers[at : at + 1] * random.randrange(1, 3), *answers[at + 1 :]]


def reordered(answers: list[bytes], random: Random) -> list[bytes]:
    return random.sample(answers, len(answers))


def cut(answers: list[bytes], random: Random) -> list[bytes]:
    """A message ends before its header says so."""
    return _one(answers, random, lambda message: message[: random.randrange(len(message))])


def shortened(answers: list[bytes], random: Random) -> list[bytes]:
    """A message that is shorter, and says so: some attribute may be cut, or a header."""

    def change(message: bytes) -> bytes:
        size = random.randrange(16, len(message) + 1)
        return wire.UINT.pack(size) + message[4:size]

    return _one(answers, random, change)


def of_other_length(answers: list[bytes], random: Random) -> list[bytes]:
    length = random.choice((0, 1, 15, 16, 17, 20, 65535, 2**31, 2**32 - 1))
    return _one(answers, random, lambda message: wire.UINT.pack(length) + message[4:])


def of_another_sequence(answers: list[bytes], random: Random) -> list[bytes]:
    number = wire.UINT.pack(random.choice((0, 1, 2, 2**32 - 1)))
    return _one(answers, random, lambda message: message[:8] + number + message[12:])


def of_another_port(answers: list[bytes], random: Random) -> list[bytes]:
    number = wire.UINT.pack(random.choice((0, 1, 2**32 - 1)))
    return _one(answers, random, lambda message: message[:12] + number + message[16:])


def of_another_type(answers: list[bytes], random: Random) -> list[bytes]:
    kind = random.choice((0, 1, 2, 3, 4, 16, 17, 20, 24, 88, 92, 255, 65535))
    return _one(answers, random, lambda message: message[:4] + kind.to_bytes(2, "little") + message[6:])


def of_another_question(answers: list[bytes], random: Random) -> list[bytes]:
    """What one question asks for is answered to another one."""
    one, other = random.choice(answers), random.choice(answers)
    return [one[:8] + other[8:12] + one[12:] if message is other else message for message in answers]


def refused(answers: list[bytes], random: Random) -> list[bytes]:
    number = random.choice(ERRNOS)
    flags = random.choice((0, wire.NLM_F_CAPPED, wire.NLM_F_ACK_TLVS, wire.NLM_F_ACK_TLVS | wire.NLM_F_CAPPED))

    def change(message: bytes) -> bytes:
        body = wire.INT.pack(number) + message[:16] + wire.text(wire.NLMSGERR_ATTR_MSG, "no \x1b[31m\udcff")
        return _packed(wire.NLMSG_ERROR, flags, message, body[: random.choice((0, 2, 4, 20, len(body)))])

    return _one(answers, random, change)


def done_early(answers: list[bytes], random: Random) -> list[bytes]:
    at = random.randrange(len(answers))
    body = wire.INT.pack(random.choice((0, 0, 0, -4, -12, -105, 1, -(2**31))))
    return [*answers[:at], _packed(wire.NLMSG_DONE, 2, answers[at], body)]


def interrupted(answers: list[bytes], random: Random) -> list[bytes]:
    flags = (wire.NLM_F_DUMP_INTR | 2).to_bytes(2, "little")
    return [message[:6] + flags + message[8:] for message in answers]


def did_not_fit(answers: list[bytes], random: Random) -> list[bytes]:
    at = random.randrange(len(answers))
    return [*answers[:at], NO_ROOM, *answers[at + 1 :]]


def in_one_datagram(answers: list[bytes], random: Random) -> list[bytes]:
    return [b"".join(answers)]


def with_more_attributes(answers: list[bytes], random: Random) -> list[bytes]:
    def change(message: bytes) -> bytes:
        message += wire.attribute(random.choice((0, 60, 61, 255, 16383, 65535)), random.randbytes(random.randrange(9)))
        return wire.UINT.pack(len(message)) + message[4:]

    return _one(answers, random, change)


def with_an_attribute_cut(answers: list[bytes], random: Random) -> list[bytes]:
    """The length of an attribute, or of one within it, is another one."""

    def change(message: bytes) -> bytes:
        places = list(_attributes(message, 32)) if len(message) > 36 else []
        if not places:
            return message
        at = random.choice(places)
        length = random.choice((0, 3, 4, 5, 6, 7, 8, 65535, random.randrange(100)))
        return message[:at] + length.to_bytes(2, "little") + message[at + 2 :]

    return _one(answers, random, change)


def with_other_bytes(answers: list[bytes], random: Random) -> list[bytes]:
    def change(message: bytes) -> bytes:
        data = bytearray(message)
        for _ in range(random.choice((1, 1, 2, 5, 50))):
            data[random.randrange(len(data))] = random.choice((0, 1, 255, random.randrange(256)))
        return bytes(data)

    return _one(answers, random, change)


def random_bytes(answers: list[bytes], random: Random) -> list[bytes]:
    """With the header of an answer, or without."""
    return _one(answers, random, lambda m: m[: random.choice((0, 16))] + random.randbytes(random.randrange(80)))


HONEST: list[Lie] = [
    lost,
    repeated,
    reordered,
    cut,
    shortened,
    of_other_length,
    of_another_sequence,
    of_another_port,
    of_another_type,
    of_another_question,
    refused,
    done_early,
    interrupted,
    did_not_fit,
    in_one_datagram,
    with_more_attributes,
]
"""What is in a message that is whole is true, and may be the answer to something else."""
ALL: list[Lie] = [*HONEST, with_an_attribute_cut, with_other_bytes, random_bytes]


def swap(kernel: FakeKernel, random: Random) -> None:
    """A link of ours goes, and somebody creates another one with its index."""
    found = [(space, link) for space in kernel.spaces for link in space.links.values() if link.ours and link.alias]
    if not found:
        return
    space, link = random.choice(found)
    kernel.remove(space, link)
    if random.random() < 0.5 and space.named("eth0") is None:
        kernel.add(
            space, FakeLink(link.index, "eth0", random.choice(("veth", "dummy", "")), group=random.choice((0, 7)))
        )
    else:
        kernel.add(space, FakeLink(link.index, link.name, "dummy"))


def reuse_id(kernel: FakeKernel, random: Random) -> None:
    """The id of a namespace leads to another one, which is heard later."""
    ids = kernel.spaces[0].ids
    if len(ids) > 1:
        one, other = random.sample(sorted(ids), 2)
        ids[one], ids[other] = ids[other], ids[one]
        kernel.unheard |= {one, other}


def _one(answers: list[bytes], random: Random, change: Callable[[bytes], bytes]) -> list[bytes]:
    at = random.randrange(len(answers))
    if len(answers[at]) < wire.HEADER.size:
        # It was cut before.
        return answers
    return [*answers[:at], change(answers[at]), *answers[at + 1 :]]


def _packed(kind: int, flags: int, like: bytes, body: bytes) -> bytes:
    sequence = like[8:12].ljust(4, b"\0")
    return (
        wire.UINT.pack(16 + len(body))
        + kind.to_bytes(2, "little")
        + flags.to_bytes(2, "little")
        + sequence
        + bytes(4)
        + body
    )


def _attributes(data: bytes, at: int) -> list[int]:
    """Where the attributes of a message begin, and those within them that look like some."""
    found = []
    while at + 4 <= len(data):
        length = int.from_bytes(data[at : at + 2], "little")
        if not 4 <= length <= len(data) - at:
            break
        found.append(at)
        if data[at + 3] & 0x80:
            found += _attributes(data[: at + length], at + 4)
        at += (length + 3) & ~3
    return found
