"""The golden messages: what comes in with what we make of it, and what goes out; `python -m tests.golden_messages` writes them anew.

A changed file shows in review, and means that a partner sees a change.
"""

import json
from pathlib import Path
from typing import Any

from eye_dx_core.queue.announcing import announce_diagnosis, announce_report
from eye_dx_core.queue.topology import QueueNames
from eye_dx_core.records.outgoing import OutboxMessage
from eye_dx_core.schema.case import Case, EyeMeasurement, Laterality, VisionData, WireFormat
from eye_dx_core.schema.contract import MESSAGES, MessageKind
from eye_dx_core.schema.diagnosis import Outcome
from eye_dx_core.schema.message import ReviewMessage, parse_review, parse_screening
from eye_dx_core.schema.outgoing import NotAssessed
from tests.builders import NOON, a_case, a_diagnosis, a_disputed_eye, a_rejected_eye, a_report, routed

FOLDER = Path(__file__).parent / "golden"
NAMES = QueueNames()
DIAGNOSES = {
    "normal-and-amd": a_diagnosis(right="N", left="A"),
    "graded-and-not-assessed": a_diagnosis(right="D3", left=None),
    "ungraded-and-cataract": a_diagnosis(right="D", left="C"),
    "too-dark-and-disputed": routed(
        a_diagnosis(right=None, left="D4").model_copy(
            update={
                "eyes": (a_rejected_eye(Laterality.RIGHT), a_disputed_eye(Laterality.LEFT)),
                "outcome": Outcome.UNCERTAIN,
                "confidence": 0.87,
            }
        ),
        VisionData(right=EyeMeasurement(iop_mmhg=31), left=EyeMeasurement(acuity_decimal=2.5, iop_mmhg=85)),
    ),
}


def golden_messages() -> dict[str, str]:
    """Every golden file by its path below the folder: JSON with sorted keys."""
    files = {f"incoming/{kind.name}.json": _incoming(kind) for kind in MESSAGES if kind.is_incoming}
    for wire in WireFormat:
        case = a_case(wire=wire)
        files[f"outgoing/{wire}-report.json"] = _outgoing(announce_report(case, a_diagnosis(), a_report(), names=NAMES, now=NOON))
        files |= {f"outgoing/{wire}-ai-result-{name}.json": _ai_result(case, name, NotAssessed.NULL) for name in DIAGNOSES}
    partner = a_case(wire=WireFormat.FOUR_QUEUE)
    files |= {f"outgoing/{partner.wire}-ai-result-{name}-omitted.json": _ai_result(partner, name, NotAssessed.OMIT) for name in DIAGNOSES}
    return {name: json.dumps(content, ensure_ascii=False, indent=2, sort_keys=True) + "\n" for name, content in files.items()}


def read(kind: MessageKind, message: object) -> Case | ReviewMessage:
    """What the parser makes of a message that came without a broker's message id."""
    body = json.dumps(message).encode()
    if kind.name.startswith("review"):
        return parse_review(body, message_id=None, received_at=NOON)
    return parse_screening(body, source_queue="a_queue", message_id=None, received_at=NOON)


def _incoming(kind: MessageKind) -> dict[str, Any]:
    return {"message": kind.example, "parsed": read(kind, kind.example).model_dump(mode="json")}


def _ai_result(case: Case, name: str, not_assessed: NotAssessed) -> dict[str, Any]:
    return _outgoing(announce_diagnosis(case, DIAGNOSES[name], names=NAMES, now=NOON, not_assessed=not_assessed))


def _outgoing(message: OutboxMessage) -> dict[str, Any]:
    sent = message.model_dump(mode="json", include={"message_id", "queue", "type", "case_id"})
    return sent | {"body": json.loads(message.body)}


if __name__ == "__main__":
    for name, text in golden_messages().items():
        (FOLDER / name).parent.mkdir(parents=True, exist_ok=True)
        (FOLDER / name).write_text(text, encoding="utf-8")
