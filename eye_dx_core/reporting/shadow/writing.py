"""The shadow report from the records: compared, and written to files."""

from dataclasses import dataclass
from datetime import datetime

from eye_dx_core.files.port import FileStore
from eye_dx_core.records.port import Records
from eye_dx_core.reporting.daily.rendering import page_html, page_markdown
from eye_dx_core.reporting.shadow.comparing import Comparison, compare
from eye_dx_core.reporting.shadow.page import shadow_page


@dataclass(frozen=True)
class ShadowPages:
    """What was written of a comparison, under which names: `.md`, `.html`, `.json`."""

    name: str
    markdown: str

    def file(self, suffix: str) -> str:
        """Name of the file of that kind."""
        return f"shadow/{self.name}.{suffix}"


def write_shadow_report(
    records: Records, checkpoint_sha256: str, *, files: FileStore, at: datetime
) -> tuple[Comparison, ShadowPages] | None:
    """Compare what a challenger said with what the champion had said, and write it; None where it said nothing yet.

    Args:
        records: where the readings are.
        checkpoint_sha256: of the challenger.
        files: where they go; those of the same two versions are written anew.
        at: when it is counted.
    """
    found = compare(records.shadow_readings(checkpoint_sha256=checkpoint_sha256), at=at)
    if found is None:
        return None
    page = shadow_page(found)
    name = f"challenger-{found.challenger_version}-champion-{found.champion_version}"
    pages = ShadowPages(name, page_markdown(page))
    files.write(pages.file("json"), found.model_dump_json(indent=1).encode())
    files.write(pages.file("md"), pages.markdown.encode())
    files.write(pages.file("html"), page_html(page).encode())
    return found, pages
