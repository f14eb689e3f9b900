"""A person who exists in tests only, and the search for every form in which a trace of such a person can lie in a file."""

import base64
import json
import re
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

# Nothing else in a state folder can look like these.
NAME, PHONE, BIRTH_DATE = "欧阳验隐", "13971264058", "1937-08-29"
PATIENT_ID = "ZQX-7731-KV"
PERSON = {"name": NAME, "phone": PHONE, "birth_date": BIRTH_DATE}


def find_traces(folder: Path, persons: Iterable[str] = (NAME, PHONE, BIRTH_DATE)) -> dict[str, set[str]]:
    """What was found in which file, by path below the folder; databases are read byte by byte and cell by cell."""
    contents = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}  # all first: opening a database moves its log
    assert contents
    found = {path: set(traces_in([content, *_cells_of(path, content)], persons)) for path, content in contents.items()}
    return {path.relative_to(folder).as_posix(): traces for path, traces in found.items() if traces}


def traces_in(contents: Iterable[bytes], persons: Iterable[str] = (NAME, PHONE, BIRTH_DATE)) -> Iterator[str]:
    """Those of the texts that stand in the contents in one form or another."""
    pieces = [re.sub(rb"\\+", rb"\\", content) for content in contents]  # JSON in JSON doubles its backslashes
    for text in persons:
        if any(form in piece for piece in pieces for form in forms_of(text)):
            yield text


def forms_of(text: str) -> set[bytes]:
    """The text in every encoding that our libraries write."""
    as_bytes = [text.encode(encoding) for encoding in ("utf-8", "utf-16-le", "utf-16-be", "gb18030")]
    escaped = json.dumps(text)[1:-1]
    written = [escaped, re.sub(r"(?<=\\u)\w{4}", lambda digits: digits[0].upper(), escaped), ascii(text)[1:-1]]
    percent = quote(text.encode(), safe="")
    html = text.encode("ascii", "xmlcharrefreplace")
    forms = {*as_bytes, *(one.encode() for one in (*written, percent, percent.lower())), html, repr(text.encode())[2:-1].encode()}
    return forms | {form for encoded in as_bytes for form in _base64_forms(encoded)} | {encoded.hex().encode() for encoded in as_bytes}


def _cells_of(database: Path, content: bytes) -> Iterator[bytes]:
    """Each cell of a database: a long one lies in pieces in its file, and some are compressed."""
    if not content.startswith(b"SQLite format 3\x00"):
        return
    with closing(sqlite3.connect(database)) as connection:
        connection.text_factory = bytes
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for row in connection.execute(f'SELECT * FROM "{table.decode()}"'):
                for cell in row:
                    if isinstance(cell, bytes):
                        yield cell
                        yield _decompressed(cell)


def _decompressed(cell: bytes) -> bytes:
    try:
        return zlib.decompress(cell)
    except zlib.error:
        return b""


def _base64_forms(content: bytes) -> Iterator[bytes]:
    """What stays the same of the content's base64, whatever comes before and after it, at each of the three alignments."""
    for lead in range(3):
        encoded = base64.b64encode(b"\x00" * lead + content)
        inner = encoded[(lead * 8 + 5) // 6 : (lead + len(content)) * 8 // 6]
        yield inner
        yield inner.replace(b"+", b"-").replace(b"/", b"_")
