"""One worker process: prepares the photographs it is told of over a socket, until the socket closes. Imports no torch."""

import json
import os
import resource
import signal
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
from pydantic import BaseModel, ConfigDict, create_model

from eye_dx_core.dataset.photo_file import MAX_BYTES
from eye_dx_core.errors import BadPhoto
from eye_dx_core.inference.preparing import Prepared, PreparedPhoto, prepare_or_refuse
from eye_dx_core.inference.quality_rules import RuleBook

_MEMORY = 4 * 2**30
"""Address space of a worker in bytes: the libraries take 0.5 GiB, and 100 megapixels in 32 bits, copied a few times, 2 GiB."""
_GRACE = 2
"""Seconds after its time at which a worker ends itself, should the process that watches it be gone."""
_LONGEST = 2 * MAX_BYTES
_LENGTHS = struct.Struct("!II")

# All of a prepared photograph but its square travels as JSON, not as a pickle: a decoder that was taken over must not be able to
# run code in the process that diagnoses.
_Found: type[BaseModel] = create_model(
    "_Found",
    __config__=ConfigDict(ser_json_inf_nan="constants"),
    **{name: (hint, ...) for name, hint in get_type_hints(PreparedPhoto).items() if name != "square"},  # pyright: ignore[reportCallIssue, reportArgumentType]
)

Frame = tuple[dict[str, Any], bytes]
Prepare = Callable[..., Prepared]


def send_frame(channel: socket.socket, head: dict[str, Any], body: bytes = b"") -> None:
    """Send some words and some bytes."""
    text = json.dumps(head).encode()
    channel.sendall(_LENGTHS.pack(len(text), len(body)) + text)
    channel.sendall(body)


def receive_frame(channel: socket.socket, *, until: float | None = None) -> Frame | None:
    """The next words and bytes, or None when the other side is gone or talks nonsense.

    Args:
        channel: connected.
        until: by `time.monotonic()`; later than that it is a `TimeoutError`.
    """
    lengths = _receive(channel, _LENGTHS.size, until)
    if lengths is None:
        return None
    text_length, body_length = _LENGTHS.unpack(lengths)
    if max(text_length, body_length) > _LONGEST:
        return None
    text, body = _receive(channel, text_length, until), _receive(channel, body_length, until)
    return None if text is None or body is None else (json.loads(text), bytes(body))


def _receive(channel: socket.socket, length: int, until: float | None) -> bytearray | None:
    content, place = bytearray(length), 0
    while place < length:
        if until is not None:
            channel.settimeout(max(until - time.monotonic(), 1e-3))
        count = channel.recv_into(memoryview(content)[place:])
        if count == 0:
            return None
        place += count
    return content


def question(source: Path | bytes, *, size: int, seconds: float, token: str, rules: RuleBook | None = None) -> Frame:
    """What a worker is asked: a path or bytes, the square's side, its time, what its answer must begin with, and rules of quality."""
    head = {"token": token, "size": size, "seconds": seconds} | ({"rules": rules.model_dump_json()} if rules else {})
    return (head, source) if isinstance(source, bytes) else (head | {"path": os.fspath(source)}, b"")


def answer(prepared: Prepared) -> Frame:
    """What a worker says."""
    if isinstance(prepared, BadPhoto):
        return {"reason": prepared.reason, "text": str(prepared)}, b""
    found = _Found.model_validate({name: getattr(prepared, name) for name in _Found.model_fields})
    return {"found": found.model_dump_json()}, prepared.square.tobytes()


def read_answer(frame: Frame, *, size: int, token: str) -> Prepared:
    """The prepared photograph in a worker's words.

    Raises:
        ValueError: they make no sense, or answer another question; a `KeyError` says the same.
    """
    head, body = frame
    if head["token"] != token:
        raise ValueError("an answer to another question")
    if "reason" in head:
        return BadPhoto(str(head["reason"]), str(head["text"]))
    found = _Found.model_validate_json(head["found"])
    square = np.frombuffer(bytearray(body), dtype=np.uint8).reshape(size, size, 3)
    return PreparedPhoto(square=square, **{name: getattr(found, name) for name in _Found.model_fields})


def serve(prepare: Prepare = prepare_or_refuse) -> None:
    """Answer on the socket that stands in for standard input, until it closes."""
    channel = socket.socket(fileno=0)
    _limit_this_process()
    with suppress(OSError):  # whoever asked is gone
        send_frame(channel, {"ready": True})
        while (asked := receive_frame(channel)) is not None:
            head, content = asked
            signal.setitimer(signal.ITIMER_REAL, head["seconds"] + _GRACE)  # its signal ends a process also inside a decoder's code
            rules = {"rules": _read_rules(head["rules"])} if "rules" in head else {}
            said, square = answer(prepare(Path(head["path"]) if "path" in head else content, size=head["size"], **rules))
            signal.setitimer(signal.ITIMER_REAL, 0)
            send_frame(channel, said | {"token": head["token"]}, square)


_read_rules = lru_cache(maxsize=1)(RuleBook.model_validate_json)


def _limit_this_process() -> None:
    """Bound memory; write no file, so no dump with a patient's picture either; be the first to go when the machine is out of memory."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    with suppress(OSError):  # no such file but on Linux
        Path("/proc/self/oom_score_adj").write_text("1000")
    for limit, most in ((resource.RLIMIT_AS, _MEMORY), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0)):
        with suppress(OSError, ValueError):  # not every system knows each, and a stricter limit stays
            resource.setrlimit(limit, (most, most))


if __name__ == "__main__":
    serve()
