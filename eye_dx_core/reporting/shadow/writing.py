"""The shadow report from the records: compared, and written to files."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from eye_dx_core.records.port import Records
from eye_dx_core.reporting.daily.rendering import page_html, page_markdown
from eye_dx_core.reporting.shadow.comparing import Comparison, compare
from eye_dx_core.reporting.shadow.page import shadow_page


@dataclass(frozen=True)
class ShadowPages:
    """What was written of a comparison, and where: `.md`, `.html`, `.json`."""

    folder: Path
    name: str
    markdown: str

    def file(self, suffix: str) -> Path:
        """The file of that kind."""
        return self.folder / f"{self.name}.{suffix}"


def write_shadow_report(records: Records, checkpoint_sha256: str, *, folder: Path, at: datetime) -> tuple[Comparison, ShadowPages] | None:
    """Compare what a challenger said with what the champion had said, and write it; None where it said nothing yet.

    Args:
        records: where the readings are.
        checkpoint_sha256: of the challenger.
        folder: for the files; those of the same two versions are written anew.
        at: when it is counted.
    """
    found = compare(records.shadow_readings(checkpoint_sha256=checkpoint_sha256), at=at)
    if found is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    page = shadow_page(found)
    name = f"challenger-{found.challenger_version}-champion-{found.champion_version}"
    pages = ShadowPages(folder, name, page_markdown(page))
    pages.file("json").write_text(found.model_dump_json(indent=1), encoding="utf-8")
    pages.file("md").write_text(pages.markdown, encoding="utf-8")
    pages.file("html").write_text(page_html(page), encoding="utf-8")
    return found, pages
