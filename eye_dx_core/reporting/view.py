"""The report as it is shown: every word, in order. HTML, PDF and JSON are made from this alone and add none of their own."""

from typing import Literal

from pydantic import AwareDatetime, ConfigDict

from eye_dx_core.reporting.material import ReportStatus
from eye_dx_core.schema.frozen import Frozen

Tag = Literal["zh-CN", "en"]


class Heading(Frozen):
    """A title, and the same in the other language."""

    title: str
    subtitle: str


class Entry(Frozen):
    """A value and what it is called."""

    label: str
    text: str


class Cell(Frozen):
    """What stands in a table for one eye; a marked one asks for attention, and its words say why."""

    text: str
    is_marked: bool = False


class Row(Frozen):
    """One thing of all eyes."""

    label: str
    cells: tuple[Cell, ...]


class Table(Frozen):
    """One column per eye, the right eye first."""

    heading: Heading
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    lang: Tag


class Section(Frozen):
    """Paragraphs under a heading."""

    heading: Heading
    paragraphs: tuple[str, ...]
    lang: Tag


class Figure(Frozen):
    """A photograph with its evidence beside it, as JPEG (in JSON: base64 by RFC 4648 §5); where one is not there, a note says why."""

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    caption: str
    photo: bytes | None
    photo_label: str
    evidence: bytes | None
    evidence_label: str
    notes: tuple[str, ...]


class Conclusion(Frozen):
    """What the doctor says, word by word; `reading` repeats it in the report's language where that is known."""

    heading: Heading
    text: str
    reading: str
    entries: tuple[Entry, ...]


class Proposal(Frozen):
    """How soon the AI proposes that somebody is seen, and by which rules."""

    heading: Heading
    text: str
    note: str
    reasons: tuple[str, ...]


class ReportView(Frozen):
    """One report in one language."""

    lang: Tag
    status: ReportStatus
    status_text: str
    watermark: str
    """Empty on a signed report."""
    heading: Heading
    report_id: str
    written_at: AwareDatetime
    ids: tuple[Entry, ...]
    patient: tuple[Entry, ...]
    conclusion: Conclusion
    addenda: Section | None
    photos_heading: Heading
    figures: tuple[Figure, ...]
    explanation: str
    """What the colours beside a photograph mean; empty where there are none."""
    measurements: Table
    readings: Table
    agreement: str
    proposal: Proposal | None
    findings: Table | None
    narrative: tuple[Section, ...]
    how_to_read: Section
    signature: tuple[Entry, ...]
    disclaimer: str
    provenance: tuple[Entry, ...]
