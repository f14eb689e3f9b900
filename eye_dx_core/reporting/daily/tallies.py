"""What was read on each day, kept as a few numbers, so that drift needs no cases of the weeks before."""

from datetime import date, datetime

from pydantic import AwareDatetime, ValidationError

from eye_dx_core.errors import NotFound
from eye_dx_core.files.port import FileStore
from eye_dx_core.records.figures import VERSION, Figures
from eye_dx_core.reporting.daily.drift import DayTally, tally_of
from eye_dx_core.reporting.daily.frames import frames_of
from eye_dx_core.schema.frozen import Frozen


class _KeptTally(Frozen):
    """A day's tally, with what tells whether it still holds: between which moments, and how many cases had been read."""

    version: int
    since: AwareDatetime
    until: AwareDatetime
    diagnosed: int
    tally: DayTally


class Tallies:
    """Tallies of days, kept as files. They count photographs and name nobody; whoever deletes them loses nothing but time."""

    def __init__(self, files: FileStore, records: Figures) -> None:
        self._files, self._records = files, records

    def of(self, day: date, since: datetime, until: datetime) -> DayTally:
        """The tally of a local day, from its midnight to the next. A case read since, or erased, has it counted anew."""
        diagnosed = self._records.count_diagnosed(since=since, until=until)
        if not diagnosed:
            return {}
        kept = self._find(day)
        if kept and (kept.version, kept.since, kept.until, kept.diagnosed) == (VERSION, since, until, diagnosed):
            return kept.tally
        tally = tally_of(frames_of(self._records.day_figures(since=since, until=until)))
        self.keep(day, since, until, tally)
        return tally

    def keep(self, day: date, since: datetime, until: datetime, tally: DayTally) -> None:
        """Keep a day's tally for the days after it."""
        diagnosed = sum(one.cases_read for one in tally.values())
        kept = _KeptTally(version=VERSION, since=since, until=until, diagnosed=diagnosed, tally=tally)
        self._files.write(_name_of(day), kept.model_dump_json().encode())

    def _find(self, day: date) -> _KeptTally | None:
        try:
            return _KeptTally.model_validate_json(self._files.read(_name_of(day)))
        except (NotFound, ValidationError):
            return None


def _name_of(day: date) -> str:
    return f"daily/tallies/{day}.json"
