"""What a table beside the photographs says of them: patient, eye, grade, source."""

import csv
from pathlib import Path, PurePosixPath

from eye_dx_core.errors import BadDataset
from eye_dx_core.schema.case import Laterality, find_eye
from eye_dx_core.schema.condition import DrGrade
from eye_dx_core.schema.frozen import Frozen

# Column names of public sets (EyePACS: image, level; APTOS: id_code, diagnosis) and of our own.
_FILE, _PATIENT, _EYE = ("file", "image", "id_code", "filename", "path"), ("patient_id", "patient"), ("eye", "laterality")
_GRADE, _SOURCE = ("grade", "dr_grade", "level", "diagnosis"), ("source", "camera")


class SideRow(Frozen):
    """What a table says of one photograph; None where it says nothing."""

    patient_id: str | None = None
    eye: Laterality | None = None
    dr_grade: DrGrade | None = None
    source: str | None = None


class SideTables:
    """All tables of a dataset folder: every CSV file with a column that names photographs."""

    def __init__(self, rows: dict[str, SideRow]) -> None:
        self._rows = rows

    def find(self, relative: PurePosixPath) -> SideRow:
        """What is known of a photograph, by its path in the dataset, its name, or its name without suffix."""
        keys = (relative.as_posix(), relative.name, relative.stem)
        return next((self._rows[key] for key in keys if key in self._rows), SideRow())


def load_side_tables(folder: Path) -> SideTables:
    """Read the tables in the dataset folder and its class folders.

    Raises:
        BadDataset: a table gives a grade that is not 0 to 4, or says two things of one photograph.
    """
    rows: dict[str, SideRow] = {}
    for table in sorted(folder.rglob("*.csv")):
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = {name.strip().lower(): name for name in reader.fieldnames or ()}
            by = _first(columns, _FILE)
            if by is None:
                continue
            for line, cells in enumerate(reader, start=2):
                key, row = (cells[by] or "").strip().replace("\\", "/"), _row(cells, columns, f"{table.name}, line {line}")
                if rows.setdefault(key, row) != row:
                    raise BadDataset(f"{table.name}, line {line}: another line says something else of the same photograph")
    return SideTables(rows)


def _row(cells: dict[str, str], columns: dict[str, str], where: str) -> SideRow:
    def cell(names: tuple[str, ...]) -> str | None:
        column = _first(columns, names)
        return ((cells[column] or "").strip() or None) if column else None

    grade = cell(_GRADE)
    if grade is not None and grade not in {"0", "1", "2", "3", "4"}:
        raise BadDataset(f"{where}: a grade of retinopathy is 0, 1, 2, 3 or 4")
    return SideRow(
        patient_id=cell(_PATIENT),
        eye=find_eye(cell(_EYE) or ""),
        dr_grade=None if grade is None else DrGrade(int(grade)),
        source=cell(_SOURCE),
    )


def _first(columns: dict[str, str], names: tuple[str, ...]) -> str | None:
    return next((columns[name] for name in names if name in columns), None)
