"""A worker that dies, hangs or talks nonsense of files that tell it to; other files it prepares as usual."""

import os
import signal
import time
from pathlib import Path

from eye_dx_core.inference.preparing import Prepared, prepare_or_refuse
from eye_dx_core.inference.worker import serve
from tests.dying_words import BABBLE, DIE, DIE_ONCE, GROW, HANG


def prepare(source: Path | bytes, *, size: int) -> Prepared:
    word = source if isinstance(source, bytes) else _word_in(source)
    if word.startswith(DIE_ONCE):
        word = DIE if (mark := Path(os.fsdecode(word.removeprefix(DIE_ONCE)))).exists() else b""
        mark.unlink(missing_ok=True)
    if word == DIE:
        os.kill(os.getpid(), signal.SIGKILL)
    if word == HANG:
        time.sleep(600)
    if word == GROW:
        bytearray(10 * 2**30)
    if word == BABBLE:
        os.write(0, b"\xff" * 1000)
    return prepare_or_refuse(source, size=size)


def _word_in(path: Path) -> bytes:
    try:
        return path.read_bytes() if path.is_file() and path.stat().st_size < 1000 else b""
    except OSError:
        return b""


serve(prepare)
