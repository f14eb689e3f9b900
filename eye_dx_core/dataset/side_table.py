"""What a table beside the photographs says of them: patient, eye, grade, source."""

import csv
from collections.abc import Iterator
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
    """All tables of a dataset folder: every CSV file with a column that names photographs.

    A table speaks of the photographs in its own folder and below: `001.jpg` is another photograph elsewhere.
    """

    def __init__(self, rows: dict[tuple[PurePosixPath, str], SideRow]) -> None:
        self._rows = rows

    def find(self, relative: PurePosixPath) -> SideRow:
        """What the nearest table says of a photograph, by its path from there, its name, or its name without suffix."""
        keys = (
            (place, key) for place in relative.parents for key in (relative.relative_to(place).as_posix(), relative.name, relative.stem)
        )
        return next((self._rows[key] for key in keys if key in self._rows), SideRow())


def load_side_tables(folder: Path) -> SideTables:
    """Read the tables in the dataset folder and its class folders.

    Raises:
        BadDataset: a table is no UTF-8 CSV, gives a grade that is not 0 to 4, or says two things of one photograph.
    """
    rows: dict[tuple[PurePosixPath, str], SideRow] = {}
    for table in sorted(folder.rglob("*.csv")):
        place = PurePosixPath(table.parent.relative_to(folder).as_posix())
        try:
            for line, (name, row) in enumerate(_read_table(table), start=2):
                if rows.setdefault((place, name), row) != row:
                    raise BadDataset(f"{table.name}, line {line}: another line says something else of the same photograph")
        except (UnicodeDecodeError, csv.Error) as error:
            raise BadDataset(f"{table.name} is no CSV table in UTF-8 ({type(error).__name__}): save it as one, or move it away") from None
    return SideTables(rows)


def _read_table(table: Path) -> Iterator[tuple[str, SideRow]]:
    """Name of each photograph and what the table says of it; nothing from a table that names none."""
    with table.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        columns = {name.strip().lower(): name for name in reader.fieldnames or ()}
        by = _first(columns, _FILE)
        for line, cells in enumerate(reader if by is not None else (), start=2):
            yield (cells[by or ""] or "").strip().replace("\\", "/"), _row(cells, columns, f"{table.name}, line {line}")


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
