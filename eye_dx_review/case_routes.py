"""A case as a doctor sees it: photographs, what was measured, the AI's word or what hides it, and the form."""

from collections import OrderedDict
from functools import partial
from threading import Lock
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from eye_dx_core.errors import BadPhoto, NotFound
from eye_dx_core.inference.pictures import picture_of
from eye_dx_core.records.port import CaseRecord
from eye_dx_core.reporting.facts import confidence_percent
from eye_dx_core.reporting.material import Language
from eye_dx_core.reporting.showing import claim_words, measured_rows, quality_of
from eye_dx_core.reviewing.signing import Problem, ReviewForm, labels_of
from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.condition import LABELS, DrGrade
from eye_dx_core.schema.diagnosis import AiDiagnosis, PhotoPrediction
from eye_dx_core.schema.picture import FundusPicture
from eye_dx_core.schema.review import Ungradable
from eye_dx_core.schema.routing import Urgency
from eye_dx_review.asking import desk_of, may
from eye_dx_review.case_state import CaseState, case_state
from eye_dx_review.desk import Desk
from eye_dx_review.pages import language_of, page
from eye_dx_review.permissions import Act
from eye_dx_review.sessions import Forbidden, Session

router = APIRouter()
TheDesk = Annotated[Desk, Depends(desk_of)]
Seeing = Annotated[Session, Depends(may(Act.SEE_CASE))]
Reviewing = Annotated[Session, Depends(may(Act.REVIEW))]
_SIDE, _KEPT = 1024, 64


class Pictures:
    """The pictures shown last, in memory only."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str, str], FundusPicture] = OrderedDict()
        self._lock = Lock()

    def get(self, desk: Desk, record: CaseRecord, photo_id: str) -> FundusPicture:
        """The picture of a photograph of a case.

        Raises:
            NotFound: the case has no such photograph, or it cannot be shown.
        """
        location = next((one.location for one in record.case.screening.photos if one.photo_id == photo_id), None)
        if location is None:
            raise NotFound("there is no such photograph")
        # By location too: of a photograph that was deleted since, nothing is shown any more.
        key = (record.case.case_id, photo_id, location)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        try:
            found = picture_of(location, _predictions(record.diagnosis).get(photo_id), desk.photos, side=_SIDE)
        except BadPhoto as error:
            raise NotFound(f"the photograph cannot be shown ({error.reason})") from None
        with self._lock:
            self._kept[key] = found
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return found


def pictures_of(request: Request) -> Pictures:
    """The pictures of this application."""
    return request.app.state.pictures


@router.get("/cases/{case_id}")
def show_case(request: Request, desk: TheDesk, session: Seeing, case_id: str) -> Response:
    """The page; that somebody saw the case is noted."""
    state = case_state(desk, session, case_id)
    desk.records.add_audit(desk.event(session.user.user_name, "view case", case_id))
    return case_page(request, desk, session, state)


def case_page(
    request: Request,
    desk: Desk,
    session: Session,
    state: CaseState,
    *,
    form: ReviewForm | None = None,
    problems: tuple[Problem, ...] = (),
    link: str = "",
    status: int = 200,
) -> Response:
    """The page of a case, with a form that was not taken and why, or a link that was just made."""
    lang, diagnosis = Language(language_of(request)), state.diagnosis
    proposed = diagnosis.routing.urgency if diagnosis.routing and not state.is_ai_hidden else None
    return page(
        request,
        desk,
        "case",
        session=session,
        status=status,
        state=state,
        form=form or state.form or ReviewForm(urgency=proposed),
        problems=problems,
        eyes=[(eye, _photos_of(diagnosis, eye, state), diagnosis.find_eye(eye)) for eye in Laterality],
        unsided=[photo for eye in diagnosis.eyes if eye.eye is None for photo in eye.photos],
        measured=measured_rows(state.record.case.screening.vision, diagnosis, lang),
        quality=partial(quality_of, lang=lang),
        claim=partial(claim_words, lang=lang),
        percent=confidence_percent,
        choices=[LABELS[code] for code in labels_of(diagnosis)],
        grades=list(DrGrade),
        ungradables=list(Ungradable),
        urgencies=list(Urgency),
        earlier=_earlier(desk, state.record),
        link=link,
    )


@router.post("/cases/{case_id}/hold")
def hold(desk: TheDesk, session: Reviewing, case_id: str) -> Response:
    """Take the case, or keep it longer."""
    is_new = desk.records.find_holder(case_id) != session.user.user_name
    desk.records.hold_case(case_id, holder=session.user.user_name, lease_seconds=desk.lease.total_seconds())
    if is_new:
        desk.records.add_audit(desk.event(session.user.user_name, "claim case", case_id))
    return RedirectResponse(f"/cases/{case_id}", status_code=303)


@router.post("/cases/{case_id}/release")
def release(desk: TheDesk, session: Reviewing, case_id: str) -> Response:
    """Give the case back."""
    desk.records.let_go(case_id, holder=session.user.user_name)
    desk.records.add_audit(desk.event(session.user.user_name, "release case", case_id))
    return RedirectResponse("/", status_code=303)


@router.get("/cases/{case_id}/photos/{photo_id}")
def photo(desk: TheDesk, session: Seeing, pictures: Annotated[Pictures, Depends(pictures_of)], case_id: str, photo_id: str) -> Response:
    """The photograph as JPEG."""
    found = pictures.get(desk, case_state(desk, session, case_id).record, photo_id)
    return Response(found.photo_jpeg, media_type="image/jpeg")


@router.get("/cases/{case_id}/evidence/{photo_id}")
def evidence(desk: TheDesk, session: Seeing, pictures: Annotated[Pictures, Depends(pictures_of)], case_id: str, photo_id: str) -> Response:
    """Where the AI saw what it concluded, as a layer over the photograph; not before the own reading where that comes first."""
    state = case_state(desk, session, case_id)
    if state.is_ai_hidden:
        raise Forbidden("the own reading comes first")
    found = pictures.get(desk, state.record, photo_id)
    if found.evidence_png is None:
        raise NotFound("nothing was localised")
    return Response(found.evidence_png, media_type="image/png")


def _predictions(diagnosis: AiDiagnosis | None) -> dict[str, PhotoPrediction]:
    return {one.photo_id: one for eye in diagnosis.eyes for one in eye.photos} if diagnosis else {}


def _photos_of(diagnosis: AiDiagnosis, eye: Laterality, state: CaseState) -> list[tuple[PhotoPrediction, bool]]:
    """The photographs of an eye, and whether there is evidence to lay over each."""
    found = diagnosis.find_eye(eye)
    return [(one, one.evidence is not None and not state.is_ai_hidden) for one in (found.photos if found else ())]


def _earlier(desk: Desk, record: CaseRecord) -> list[CaseRecord]:
    """The patient's earlier screenings, the newest first."""
    patient = record.case.screening.patient
    if patient is None:
        return []
    ids = [one for one in desk.records.find_case_ids(patient_id=patient.patient_id) if one != record.case.case_id]
    found = [desk.records.get_case_record(one) for one in ids[-6:]]
    return [one for one in reversed(found) if one.case.received_at < record.case.received_at]
