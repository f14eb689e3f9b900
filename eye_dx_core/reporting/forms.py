"""The forms in which a report can be had."""

from enum import StrEnum
from zoneinfo import ZoneInfo

from eye_dx_core.reporting.english import english_narrative
from eye_dx_core.reporting.facts import facts_of
from eye_dx_core.reporting.material import Language, ReportMaterial
from eye_dx_core.reporting.narrative import ReportNarrative
from eye_dx_core.reporting.rendering import render_html, render_json
from eye_dx_core.reporting.viewing import build_view


class Form(StrEnum):
    """By the name of its files."""

    HTML = "html"
    PDF = "pdf"
    JSON = "json"
    FHIR = "fhir"


def render(material: ReportMaterial, form: Form, *, tz: ZoneInfo, lang: Language = Language.ZH) -> bytes:
    """A report in one form; see `build_view` for the arguments."""
    from eye_dx_core.reporting.pdf import render_pdf  # typst is for PDFs only

    view = build_view(material, tz=tz, lang=lang, narrative=_narrative(material) if lang is Language.EN else None)
    match form:
        case Form.HTML:
            return render_html(view).encode()
        case Form.PDF:
            return render_pdf(view)
        case Form.JSON:
            return render_json(view).encode()
        case Form.FHIR:
            from eye_dx_core.reporting.fhir import render_fhir

            return render_fhir(material, pdf=render_pdf(view)).encode()


def _narrative(material: ReportMaterial) -> ReportNarrative | None:
    """The English narrative; None before a doctor has reviewed."""
    return english_narrative(facts_of(material.case, material.diagnosis, material.review)) if material.review else None
