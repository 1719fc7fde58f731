"""A route socket in a namespace: pipelined batches, and dumps that are taken again when they were interrupted."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Self

from vppctl.linux import wire
from vppctl.linux.namespaces import Netns, inside
from vppctl.linux.reading import UnreadableError

SOL_NETLINK = 270
NETLINK_EXT_ACK, NETLINK_CAP_ACK, NETLINK_GET_STRICT_CHK = 11, 10, 12
"""Socket options, linux/netlink.h."""
SO_RCVBUFFORCE = 33
PATIENCE = 30
"""Seconds to wait for an answer. All but the rest of a dump is there when send() returns (netlink_unicast_kernel)."""
_TIMEVAL = struct.Struct("@ll")
RECEIVE_BUFFER = 8 << 20
"""Octets; an error is charged about 1 KiB, an echo 2 KiB."""
CHUNK = 2000
"""Messages sent before their answers are read: what comes back must fit into the receive buffer."""
CHARGE = 4 << 10
"""Bytes that the kernel charges to the receive buffer for an answer of ordinary size, and some to spare."""
QUESTIONS = 64
"""Questions sent before their answers are read: a link with altnames answers with up to 64 KiB."""
SEND_LIMIT = 128 << 10
"""Octets in one send(): below the default limit of the send buffer (net.core.wmem_default 208 KiB)."""
DUMP_TRIES = 3
ROOM = 128 << 10
"""Bytes that one datagram may have. The kernel's limit is lower: 32 KiB, or the largest link of a dump."""
_KIND_AT, _FLAGS_AT, _SEQUENCE_AT = 4, 6, 8
"""Where they are in a struct nlmsghdr (linux/netlink.h)."""
_KIND, _FLAGS, _SEQUENCE = struct.Struct("=H"), struct.Struct("=H"), struct.Struct("=I")


class _Room(threading.local):
    """Where datagrams are received, one buffer per thread: a new one for each costs 20 times the call itself."""

    def __init__(self) -> None:
        self.buffer = bytearray(ROOM)


_room = _Room()


class Answer(NamedTuple):
    """What the kernel said to one message: an errno (0: done), its explanation, and the messages it sent."""

    errno: int = 0
    text: str = ""
    bodies: tuple[tuple[int, bytes], ...] = ()


_DONE, _NO_ERROR = Answer(), (0, "")


class DumpInterruptedError(OSError):
    """What is dumped changed during every try (NLM_F_DUMP_INTR); `bodies` are what all of them have seen."""

    def __init__(self, bodies: list[tuple[int, bytes]]) -> None:
        super().__init__(errno.EINTR, "the dump was interrupted again and again")
        self.bodies = bodies


class AnswersTooLargeError(OSError):
    """The kernel has more to answer than was allowed for; `bodies` are the messages of the dump that came before."""

    def __init__(self, allowed: int, bodies: list[tuple[int, bytes]]) -> None:
        super().__init__(errno.EMSGSIZE, f"the kernel's answers are larger than {allowed >> 10} KiB, and are not read")
        self.bodies = bodies


class Rtnl:
    """A NETLINK_ROUTE socket; it pins its namespace until it is closed, so it is opened per batch."""

    def __init__(self, netns: Netns | None = None) -> None:
        self._netns = netns
        self._allowed = self._left = sys.maxsize
        self._sequence = 0
        self._open()

    def _open(self) -> None:
        with inside(self._netns) if self._netns else contextlib.nullcontext():
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        for option in (NETLINK_EXT_ACK, NETLINK_CAP_ACK, NETLINK_GET_STRICT_CHK):
            self._socket.setsockopt(SOL_NETLINK, option, 1)
        # By the socket and not by Python, which would ask poll(2) before each call.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEVAL.pack(PATIENCE, 0))
        force_receive_buffer(self._socket, RECEIVE_BUFFER)
        # To the kernel: nobody else in the namespace can send to a connected socket (netlink_getsockbyportid,
        # net/netlink/af_netlink.c), and who has CAP_NET_ADMIN there could otherwise answer in its place.
        self._socket.connect((0, 0))
        # Without CAP_NET_ADMIN in the first user namespace the buffer may be small (net.core.rmem_max).
        size = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        self._chunk_size = max(1, min(CHUNK, size // CHARGE))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the socket, and of the namespace with it."""
        self._socket.close()

    def allow(self, size: int = sys.maxsize) -> None:
        """From now on read answers of so many bytes in all: whoever has links of his own decides how large they are.

        When more are to be read AnswersTooLargeError is raised, and the socket is as good as new.
        """
        self._allowed = self._left = size

    def batch(self, messages: Sequence[bytes]) -> list[Answer]:
        """Send all messages and collect the answer to each. The kernel works through them in order, errors or not."""
        answers: list[Answer] = []
        for start in range(0, len(messages), self._chunk_size):
            answers += self._chunk(messages[start : start + self._chunk_size])
        return answers

    def ask(self, questions: Sequence[bytes]) -> list[Answer]:
        """The answer to each of these messages, which change nothing: those whose answers did not fit are sent again.

        Raises OSError when the answer to a single one does not fit.
        """
        answers: list[Answer] = []
        size = min(QUESTIONS, self._chunk_size)
        while len(answers) < len(questions):
            try:
                answers += self._chunk(questions[len(answers) : len(answers) + size])
            except OSError as error:
                if error.errno != errno.ENOBUFS or size == 1:
                    raise
                self._discard()
                size //= 2
        return answers

    def dump(self, request: bytes) -> list[tuple[int, bytes]]:
        """All messages of a dump, taken again when the kernel says that it changed meanwhile.

        Raises DumpInterruptedError where that goes on, as it does while the links of a busy host come and go; one that
        fits into one datagram never is. Raises AnswersTooLargeError with what came before, OSError.
        """
        seen: list[tuple[int, bytes]] = []
        for _ in range(DUMP_TRIES):
            bodies, interrupted = self._dump(request)
            if not interrupted:
                return bodies
            seen += bodies
        raise DumpInterruptedError(seen)

    def _chunk(self, messages: Sequence[bytes]) -> list[Answer]:
        """Only the last message asks for an acknowledgement: an error is told anyway, and an answer is told once."""
        first = self._sequence + 1
        answers = [_DONE] * len(messages)
        block = bytearray()
        for number, message in enumerate(messages):
            if len(block) + len(message) > SEND_LIMIT and block:
                self._socket.send(block)
                block.clear()
            at = len(block)
            block += message
            _SEQUENCE.pack_into(block, at + _SEQUENCE_AT, first + number)
        self._sequence += len(messages)
        _FLAGS.pack_into(block, at + _FLAGS_AT, _FLAGS.unpack_from(block, at + _FLAGS_AT)[0] | wire.NLM_F_ACK)
        self._socket.send(block)
        while not self._collect(answers, messages, first):
            pass
        return answers

    def _collect(self, answers: list[Answer], messages: Sequence[bytes], first: int) -> bool:
        """Take one datagram; True when the answer to the last message was in it. They are numbered from `first` on."""
        done = False
        for kind, flags, sequence, _, body in wire.messages(self._receive()):
            number = sequence - first
            if not 0 <= number < len(answers):
                continue
            answer = answers[number]
            if kind == wire.NLMSG_ERROR:
                if (said := wire.error(body, flags)) != _NO_ERROR:
                    answers[number] = Answer(*said, answer.bodies)
                done = done or number == len(answers) - 1
            elif kind == _new(messages[number]):
                answers[number] = answer._replace(bodies=(*answer.bodies, (kind, body)))
        return done

    def _receive(self) -> bytes:
        """One datagram, whole. Raises OSError."""
        if self._left <= 0:
            # What is still to come, and a dump that has not ended, go with the socket.
            self.close()
            self._open()
            raise AnswersTooLargeError(self._allowed, [])
        # MSG_TRUNC: returns how long the datagram is, also when that is more than there was room for (recv(2)).
        try:
            size = self._socket.recv_into(_room.buffer, 0, socket.MSG_TRUNC)
        except BlockingIOError:
            raise OSError(errno.ETIMEDOUT, f"the kernel has not answered within {PATIENCE} s") from None
        if size > ROOM:
            raise OSError(errno.EMSGSIZE, f"a netlink message of {size} bytes is larger than {ROOM}")
        self._left -= size
        return bytes(memoryview(_room.buffer)[:size])

    def _discard(self) -> None:
        """Drop what was received: until its queue is empty, the kernel sends nothing more (netlink_rcv_wake)."""
        while True:
            try:
                self._socket.recv_into(_room.buffer, 0, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise

    def _dump(self, request: bytes) -> tuple[list[tuple[int, bytes]], bool]:
        """The messages, and whether the kernel says that something changed between them."""
        bodies: list[tuple[int, bytes]] = []
        interrupted = False
        try:
            for part, changed in self.parts(request):
                bodies += part
                interrupted = interrupted or changed
        except AnswersTooLargeError as error:
            error.bodies = bodies
            raise
        return bodies, interrupted

    def parts(self, request: bytes) -> Iterator[tuple[list[tuple[int, bytes]], bool]]:
        """A dump as it comes, datagram by datagram: messages, and whether something changed since the last one.

        It has to be taken to its end. Raises AnswersTooLargeError, OSError.
        """
        self._sequence = sequence = self._sequence + 1
        numbered = bytearray(request)
        _SEQUENCE.pack_into(numbered, _SEQUENCE_AT, sequence)
        self._socket.send(numbered)
        done = False
        while not done:
            bodies: list[tuple[int, bytes]] = []
            interrupted = False
            for kind, flags, answered, _, body in wire.messages(self._receive()):
                if answered != sequence:
                    continue
                interrupted = interrupted or bool(flags & wire.NLM_F_DUMP_INTR)
                if kind == wire.NLMSG_DONE:
                    if (number := wire.error(body, 0)[0]) > 0:
                        # It broke off (netlink_dump, net/netlink/af_netlink.c): what is missing is not absent.
                        raise OSError(number, os.strerror(number))
                    done = True
                    break
                if kind == wire.NLMSG_ERROR:
                    number, said = wire.error(body, flags)
                    if not number:
                        # An acknowledgement, which no dump has: it will not end.
                        raise UnreadableError
                    raise OSError(number, said or os.strerror(number))
                if kind == _new(request):
                    bodies.append((kind, body))
            yield bodies, interrupted


def _new(request: bytes) -> int:
    """The type of the messages that answer this one: the first of its family of four (linux/rtnetlink.h)."""
    kind: int = _KIND.unpack_from(request, _KIND_AT)[0]
    return kind & ~3


def force_receive_buffer(netlink: socket.socket, size: int) -> None:
    """Ask for a receive buffer of `size` octets beyond the system's limit, which needs CAP_NET_ADMIN."""
    try:
        netlink.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, size)
    except PermissionError:
        netlink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
