"""How long a report's PDF takes: typst from the view against WeasyPrint from the page, in one run, on one core.

WeasyPrint is no dependency of the project: `pip install weasyprint` (it needs Pango) into an environment of its own, and name its
interpreter: `python benchmarks/bench_report_pdf.py --weasyprint /path/to/bin/python`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from zoneinfo import ZoneInfo

from eye_dx_core.dataset.phantom import render_phantom
from eye_dx_core.reporting.material import ReportMaterial, ReportPicture
from eye_dx_core.reporting.pdf import render_pdf
from eye_dx_core.reporting.rendering import render_html
from eye_dx_core.reporting.view import ReportView
from eye_dx_core.reporting.viewing import build_view
from eye_dx_core.reporting.writing import write_report
from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.picture import PictureGap
from tests.builders import NOON, a_case, a_diagnosis, a_review
from tests.pictures import as_jpeg

MOST_MS, LEAST_RATIO = 200, 10
_THEIRS = """
import json, sys, time, weasyprint
times = []
for page in sys.argv[1:]:
    start = time.perf_counter()
    content = weasyprint.HTML(filename=page).write_pdf(pdf_variant="pdf/ua-1")
    times.append(time.perf_counter() - start)
print(json.dumps({"version": weasyprint.__version__, "seconds": times, "size": len(content)}))
"""


def a_view(number: int) -> ReportView:
    """A report of its own, so that nothing of the one before can be used again."""
    case, diagnosis, review = a_case(f"case-{number}"), a_diagnosis(f"case-{number}"), a_review(f"case-{number}")
    photo, evidence = (as_jpeg(render_phantom(code, eye=Laterality.RIGHT, seed=number, size=480).rgb) for code in ("A", "N"))
    report = write_report(case, diagnosis, review, chat_model=None, now=NOON)
    pictures: dict[str, ReportPicture | PictureGap] = {"case-1-1": ReportPicture(photo, evidence)}
    return build_view(ReportMaterial(case, diagnosis, review, report, pictures=pictures), tz=ZoneInfo("Asia/Shanghai"))


def ours(views: list[ReportView]) -> tuple[list[float], int]:
    """Seconds for each, and the size of the last in bytes."""
    times, content = list[float](), b""
    for view in views:
        start = time.perf_counter()
        content = render_pdf(view)
        times.append(time.perf_counter() - start)
    return times, len(content)


def theirs(views: list[ReportView], python: str) -> tuple[list[float], int, str]:
    """The same by WeasyPrint, whose import is not counted."""
    with tempfile.TemporaryDirectory() as folder:
        pages = [Path(folder) / f"{number}.html" for number in range(len(views))]
        for page, view in zip(pages, views, strict=True):
            page.write_text(render_html(view), encoding="utf-8")
        done = subprocess.run([python, "-c", _THEIRS, *pages], check=True, capture_output=True, text=True)
    said = json.loads(done.stdout)
    return said["seconds"], said["size"], said["version"]


def main() -> None:
    """Print the table; exit 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weasyprint", help="interpreter of an environment with WeasyPrint")
    parser.add_argument("--reports", type=int, default=8)
    wanted = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    views = [a_view(number) for number in range(wanted.reports + 1)]
    times, size = ours(views)
    # The first of each loads fonts, which a process does once.
    print(f"typst       first {times[0] * 1000:6.0f} ms, then {statistics.median(times[1:]) * 1000:6.0f} ms a report, {size // 1024} KiB")
    is_met = statistics.median(times[1:]) * 1000 <= MOST_MS
    if wanted.weasyprint:
        other, other_size, version = theirs(views, wanted.weasyprint)
        ratio = statistics.median(other[1:]) / statistics.median(times[1:])
        line = f"WeasyPrint  first {other[0] * 1000:6.0f} ms, then {statistics.median(other[1:]) * 1000:6.0f} ms a report"
        print(f"{line}, {other_size // 1024} KiB ({version})\nratio       {ratio:.1f}")
        is_met = is_met and ratio >= LEAST_RATIO
    sys.exit(0 if is_met else 1)


if __name__ == "__main__":
    main()
