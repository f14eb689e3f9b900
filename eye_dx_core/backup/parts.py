"""What a backup consists of, where each part lies in an installation, and the list of files that makes a backup whole."""

import hashlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from pydantic import AwareDatetime, Field, ValidationError, field_validator

from eye_dx_core.backup import snapshot
from eye_dx_core.errors import BadSettings, EyeDxError, ServiceUnavailable
from eye_dx_core.schema.frozen import Frozen
from eye_dx_core.settings import Settings

MANIFEST = "backup.json"
QUEUE, RECORDS, MODELS, KEY = "data/queue.db", "data/records.db", "mlruns/mlflow.db", "data/vault.key"
ARTIFACTS, PAGES, DAYS = "mlruns/artifacts", "data/reports", "data/daily"
WAIVERS, INSTANCE = "data/prepared/waivers.json", "dagster_home/dagster.yaml"
PARTS = (QUEUE, RECORDS, MODELS, ARTIFACTS, PAGES, DAYS, WAIVERS, INSTANCE, KEY)
_INSTEAD = {
    "EYE_DX_QUEUE_URL": "the queue is not in SQLite: back it up with the broker's own tools (RabbitMQ: its data folder), or with pg_dump",
    "EYE_DX_RECORDS_URL": "the records are not in SQLite: back them up with pg_dump, and the vault's key apart from that",
    "EYE_DX_MLFLOW_TRACKING_URI": "MLflow's store is not in SQLite: back it up where it is served",
}


class BrokenBackup(EyeDxError):
    """A backup is not whole, or was changed since it was made; the text names the first file that does not fit."""


class StoredFile(Frozen):
    """A file as it must be found again."""

    sha256: str
    size: int = Field(ge=0)


class BackupManifest(Frozen):
    """What a backup holds. `artifacts_uri` is where MLflow's files are for its database, which names each by its whole address."""

    eye_dx_version: str
    made_at: AwareDatetime
    parts: tuple[str, ...]
    artifacts_uri: str
    files: dict[str, StoredFile]

    @property
    def has_artifact_folder(self) -> bool:
        """Whether that is a folder; older programs named the object store there, whose addresses must stay as they are."""
        return self.artifacts_uri.startswith("file:")

    @field_validator("files")
    @classmethod
    def _stay_inside(cls, files: dict[str, StoredFile]) -> dict[str, StoredFile]:
        if any(PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts for name in files):
            raise ValueError("a file lies outside the backup")
        return files


def time_stamp(at: datetime) -> str:
    """A time as part of a folder's name, in UTC."""
    return f"{at.astimezone(UTC):%Y%m%dT%H%M%SZ}"


@contextmanager
def disk_errors() -> Generator[None]:
    """Turn what the disk refuses into our error."""
    try:
        yield
    except OSError as error:
        raise ServiceUnavailable(f"the disk refused: {error.strerror} ({error.filename})") from None


def load_backup_manifest(backup: Path) -> BackupManifest:
    """The list of a backup's files.

    Raises:
        BrokenBackup: there is none, so this is no backup or one that was cut off; or it cannot be read.
    """
    try:
        return BackupManifest.model_validate_json((backup / MANIFEST).read_bytes())
    except OSError:
        newest = max((one.parent for one in backup.glob(f"[!.]*/{MANIFEST}")), default=None)
        hint = f"; the newest one below it is {newest}" if newest else ""
        raise BrokenBackup(f"no backup lies there: {MANIFEST} is missing in {backup}{hint}") from None
    except ValidationError:
        raise BrokenBackup(f"{MANIFEST} is damaged in {backup}") from None


def databases(settings: Settings) -> dict[str, Path]:
    """Where the three databases lie, by the name of the part.

    Raises:
        BadSettings: one is not a file of SQLite; the text says what to use instead.
    """
    addresses = {
        "EYE_DX_QUEUE_URL": (QUEUE, settings.queue_address),
        "EYE_DX_RECORDS_URL": (RECORDS, settings.records_address),
        "EYE_DX_MLFLOW_TRACKING_URI": (MODELS, settings.mlflow_address),
    }
    foreign = [f"{setting}: {_INSTEAD[setting]}" for setting, (_, url) in addresses.items() if not url.startswith("sqlite:///")]
    if foreign:
        raise BadSettings("; ".join(foreign))
    return {part: Path(url.removeprefix("sqlite:///")) for part, url in addresses.values()}


def files_and_folders(settings: Settings) -> dict[str, Path]:
    """Where everything else lies on this machine, by the name of the part; what lies in an object store is for its owner to save."""
    artifacts = {ARTIFACTS: settings.artifact_folder or own_artifacts(settings)}
    pages = {PAGES: settings.report_folder, DAYS: settings.data / "daily"} if settings.files_url is None else {}
    return artifacts | pages | {WAIVERS: settings.waivers, INSTANCE: settings.dagster_home / "dagster.yaml"}


def own_artifacts(settings: Settings) -> Path:
    """The state folder's own place for MLflow's files; what was registered before EYE_DX_MLFLOW_ARTIFACTS was set stays there."""
    return (settings.state / ARTIFACTS).resolve()


def kept_elsewhere(settings: Settings) -> tuple[tuple[str, str], ...]:
    """What no backup holds because it lies in an object store, or in a folder that the settings no longer name; and where."""
    models = databases(settings)[MODELS]
    named = snapshot.artifact_places(models) if models.is_file() else ()
    # What came through MLflow's server lies where the server puts it.
    places = {settings.artifact_address if place.startswith("mlflow-artifacts:") else place for place in named}
    held = tuple(f"{folder.as_uri()}/" for folder in (files_and_folders(settings)[ARTIFACTS], own_artifacts(settings)))
    weights = tuple(("weights and figures of MLflow", place) for place in sorted(places) if not f"{place}/".startswith(held))
    return weights + ((("reports and daily reports", settings.files_url),) if settings.files_url is not None else ())


def files_under(place: Path) -> Iterator[Path]:
    """The files of a part, which is itself a file, or a folder, or not there.

    Links are none of ours, and nobody would erase the draft of a page that was cut off.
    """
    found = place.rglob("*") if place.is_dir() else [place]
    return (path for path in sorted(found) if path.is_file() and not path.is_symlink() and path.suffix != ".draft")


def stored_file(path: Path) -> StoredFile:
    """What the manifest says of a file."""
    with path.open("rb") as file:
        return StoredFile(sha256=hashlib.file_digest(file, "sha256").hexdigest(), size=path.stat().st_size)
