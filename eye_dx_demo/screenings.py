"""The screenings that the demo publishes: every wire format, and what goes wrong in the field. All persons are invented."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eye_dx_core.dataset.phantom_folders import write_phantom_photo
from eye_dx_core.queue.port import Message
from eye_dx_core.queue.topology import QueueNames
from eye_dx_core.schema.case import Laterality

OD, OS = Laterality.RIGHT, Laterality.LEFT


@dataclass(frozen=True)
class DemoScreening:
    """One message to publish. `truth` is what the phantoms show, for the table; `copies` more than one is a repeat."""

    title: str
    queue: str
    body: bytes
    truth: str
    message_id: str | None = None
    copies: int = 1
    is_readable: bool = True


def draw_screenings(folder: Path, *, tag: str, names: QueueNames) -> tuple[DemoScreening, ...]:
    """Draw the photographs and build the messages; `tag` keeps the ids of two demos apart.

    Args:
        folder: under one of the allowed photo roots.
        tag: part of every patient and message id.
        names: the queues to publish to.
    """
    photo = _PhotoWriter(folder / tag)
    chen, lin, zhou = (photo.draw(person, codes) for person, codes in ((1, ("A", "N")), (2, ("D4", "D4")), (3, ("RVO", "N"))))
    wei, sun, he, cut = (
        photo.draw(person, codes) for person, codes in ((4, ("G", "G")), (5, ("N", "N")), (6, ("RP", "RP")), (7, ("CSC", "N")))
    )
    unreadable = photo.break_photo(cut[0])
    nested = {"Patient": _patient(tag, 1, "陈测试", 67, "女", chen), "vision_data": _vision(0.3, 0.8, 17, 18)}
    enveloped = {
        "schema": "eye-dx/screening/1",
        "message_id": f"{tag}-envelope",
        "body": {"Patient": _patient(tag, 2, "林测试", 58, "男", lin), "vision_data": _vision(0.4, 0.5, 15, 16)},
    }
    four_queue = {"id": f"{tag}-check", "odFundusImg": str(he[0]), "osFundusImg": str(he[1]), "odAnteriorImg": "", "osAnteriorImg": ""}
    damaged = {"Patient": _patient(tag, 7, "许测试", 41, "男", (unreadable, cut[1])), "vision_data": _vision(0.9, 1.0, 32, 14)}
    return (
        DemoScreening("nested, with vision data", names.screenings, _json(nested), "OD A, OS N", f"{tag}-nested"),
        DemoScreening("our envelope", names.screenings, _json(enveloped), "OD D4, OS D4"),
        DemoScreening(
            "flat, no message id, sent twice",
            names.flat_screenings,
            _json(_patient(tag, 3, "周测试", 62, "女", zhou)),
            "OD RVO, OS N",
            copies=2,
        ),
        DemoScreening("flat", names.flat_screenings, _json(_patient(tag, 4, "魏测试", 55, "男", wei)), "OD G, OS G"),
        DemoScreening("flat", names.flat_screenings, _json(_patient(tag, 5, "孙测试", 33, "女", sun)), "OD N, OS N"),
        DemoScreening("four-queue", names.partner_screenings, _json(four_queue), "OD RP, OS RP"),
        DemoScreening(
            "one photo unreadable, pressure 32",
            names.screenings,
            _json(damaged),
            "OD unreadable, OS N",
            f"{tag}-damaged",
        ),
        DemoScreening("not JSON", names.screenings, b"patient=P1;photo=OD.jpg", "", f"{tag}-not-json", is_readable=False),
    )


def messages_of(screenings: Sequence[DemoScreening]) -> list[tuple[str, Message]]:
    """What goes onto which queue, repeats included."""
    return [(one.queue, Message(body=one.body, message_id=one.message_id)) for one in screenings for _ in range(one.copies)]


class _PhotoWriter:
    """Draws the two eyes of a person into a folder, named as a camera names them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def draw(self, person: int, codes: tuple[str, str]) -> tuple[Path, Path]:
        """Write OD and OS with the signs of the given codes; every third person comes from a camera that writes TIFF."""
        suffix = "tiff" if person % 3 == 0 else "jpg"
        self._folder.mkdir(parents=True, exist_ok=True)
        right, left = (self._folder / f"D{person:03}_20260302_{eye}.{suffix}" for eye in (OD, OS))
        for path, eye, code in ((right, OD, codes[0]), (left, OS, codes[1])):
            write_phantom_photo(path, code, eye=eye, seed=5_000_000 + 10 * person + (eye is OS), size=640)
        return right, left

    def break_photo(self, path: Path) -> Path:
        """Cut a photograph off in the middle, as a lost connection does."""
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        return path


def _patient(tag: str, number: int, name: str, age: int, gender: str, photos: Sequence[Path]) -> dict[str, object]:
    return {
        "patient_id": f"{tag}-P{number}",
        "name": name,
        "age": age,
        "gender": gender,
        "phone": f"1380000{number:04}",
        "photos": [str(photo) for photo in photos],
    }


def _vision(right: float, left: float, right_mmhg: int, left_mmhg: int) -> dict[str, object]:
    return {"left_eye": left, "right_eye": right, "intraocular_pressure": {"left": left_mmhg, "right": right_mmhg}}


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()
