"""A day's eyes as a table, for whoever wants to count otherwise: CSV and Parquet, one row per eye, and no row names anybody."""

from codecs import BOM_UTF8
from datetime import date
from io import BytesIO
from zoneinfo import ZoneInfo

import pandas as pd
import pyarrow as pa
from pyarrow import csv, parquet

from eye_dx_core.reporting.daily.agreement import with_doctors_code
from eye_dx_core.reporting.daily.columns import COLUMNS
from eye_dx_core.reporting.daily.estimates import LEAST_FOR_A_SHARE
from eye_dx_core.reporting.daily.frames import DayFrames

_FROM_OUTSIDE = ("site", "camera", "reason", "model_version")
"""Columns whose words others choose."""


def day_tables(frames: DayFrames, day: date, *, zone: ZoneInfo) -> dict[str, bytes]:
    """The content of `<day>.csv` and `<day>.parquet`, by the end of the name."""
    rows = eye_table(frames, day, zone=zone)
    typed, text = BytesIO(), BytesIO()
    parquet.write_table(_to_arrow(rows), typed, compression="zstd")
    text.write(BOM_UTF8)  # Excel reads UTF-8 only with it
    csv.write_csv(_to_arrow(rows.assign(**{name: _harmless(rows[name]) for name in _FROM_OUTSIDE})), text)
    return {"parquet": typed.getvalue(), "csv": text.getvalue()}


def eye_table(frames: DayFrames, day: date, *, zone: ZoneInfo) -> pd.DataFrame:
    """One row for each eye that the AI was asked about, with `COLUMNS`."""
    eyes = with_doctors_code(frames.eyes)
    cases = frames.cases.drop(columns=["conclusion", "said"]).reindex(eyes["case"])
    cases.index = eyes.index
    received = pd.to_datetime(cases["received_at"], unit="s", utc=True).dt.tz_convert(zone)
    minutes = {
        f"minutes_to_{what}": ((cases[column] - cases["received_at"]) / 60).round(2)
        for what, column in (("ai", "diagnosed_at"), ("review", "reviewed_at"), ("report", "written_at"))
    }
    rows = eyes.assign(
        day=day.isoformat(),
        visit=eyes["case"] + 1,
        hour=received.dt.hour,
        site=cases["site"],
        camera=_without_rare(eyes["camera"]),
        model_version=cases["model_version"],
        urgency=cases["urgency"],
        agrees=(eyes["doctor"] == eyes["conclusion"]).astype("object").where(eyes["compared"], None),
        **minutes,
    )
    return rows[list(COLUMNS)]


def _without_rare(cameras: pd.Series) -> pd.Series:
    """A file's tags hold whatever somebody wrote there, also a name: what many photographs say is a camera."""
    common = [camera for camera, count in cameras.value_counts().items() if count >= LEAST_FOR_A_SHARE]
    return cameras.where(cameras.isin(common), None)


def _harmless(column: pd.Series) -> pd.Series:
    """A spreadsheet takes a text that begins like this for a formula."""
    changed = {text: f"'{text}" for text in column.dropna().unique() if text.startswith(("=", "+", "-", "@", "\t", "\r"))}
    return column.replace(changed) if changed else column


def _to_arrow(rows: pd.DataFrame) -> pa.Table:
    types = {"string": pa.string(), "int": pa.int32(), "double": pa.float64(), "bool": pa.bool_()}
    fields = [pa.field(name, types[kind], metadata={"description": meaning}) for name, (kind, meaning) in COLUMNS.items()]
    return pa.Table.from_pandas(rows, schema=pa.schema(fields), preserve_index=False).replace_schema_metadata(None)
