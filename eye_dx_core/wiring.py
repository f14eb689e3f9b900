"""The only place that names an adapter: each is picked by the scheme of its URL."""

from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from eye_dx_core.errors import BadSettings, NotFound
from eye_dx_core.files.port import FileStore
from eye_dx_core.inference.sources.allowed import BucketPrefix, WebHost
from eye_dx_core.queue.port import Queue
from eye_dx_core.records.port import Records
from eye_dx_core.registry.port import CHAMPION, ModelRegistry, ModelVersion
from eye_dx_core.reporting.identifiers import scrub
from eye_dx_core.reporting.language_model.port import ChatModel
from eye_dx_core.reporting.language_model.prompt import PROMPT_NAME, SHIPPED_INSTRUCTIONS, Instructions
from eye_dx_core.schema.engine import EngineName
from eye_dx_core.settings import DAGSTER_SCHEMA, Settings
from eye_dx_core.vault import Vault, read_keys

if TYPE_CHECKING:
    from eye_dx_core.casework import DiagnosisOutlet, ReportOutlet
    from eye_dx_core.correcting import TrainedOn
    from eye_dx_core.dataset.scanning import CorrectedPhoto
    from eye_dx_core.inference.intake import PhotoIntake
    from eye_dx_core.inference.predictor import Predictor
    from eye_dx_core.inference.sources.folders import FolderPhotos
    from eye_dx_core.inference.sources.port import PhotoSource
    from eye_dx_core.inference.workers import PhotoWorkers
    from eye_dx_core.retention import Shelves, Terms
    from eye_dx_core.routing.rules import RoutingRules
    from eye_dx_core.shadowing import Readers

# How long a process lets another make MLflow's tables, some ten seconds' work, before it tries by itself.
_REGISTRY_SECONDS = 60.0


def open_queue(settings: Settings) -> Queue:
    """Open the queue that `EYE_DX_QUEUE_URL` names.

    Raises:
        BadSettings: no adapter knows the URL's scheme.
        ServiceUnavailable: the broker does not answer.
    """
    url = settings.queue_address
    scheme = _scheme_of(url)
    if scheme == "memory":
        from eye_dx_core.queue.memory import MemoryQueue

        return MemoryQueue(names=settings.queue_names, delivery_limit=settings.delivery_limit)
    if scheme in ("amqp", "amqps"):
        return _open_rabbit_queue(settings)
    if scheme in ("sqlite", "postgresql"):
        from eye_dx_core.queue.sql import SqlQueue

        _make_folder_of(url)
        return SqlQueue(
            url,
            names=settings.queue_names,
            vault=open_vault(settings),
            lease_seconds=settings.lease_seconds,
            delivery_limit=settings.delivery_limit,
        )
    raise BadSettings("EYE_DX_QUEUE_URL must begin with amqp://, amqps://, sqlite:///, postgresql+psycopg:// or memory://")


def open_vault(settings: Settings) -> Vault:
    """What seals the records: by `EYE_DX_VAULT_KEYS`, else by the key file, which is made when there is none.

    Raises:
        BadSettings: a key is malformed, or others may read the file.
    """
    if settings.vault_keys is not None:
        return Vault(settings.vault_keys.get_secret_value().split())
    return Vault(read_keys(settings.vault_key_path))


def _open_rabbit_queue(settings: Settings) -> Queue:
    from eye_dx_core.queue.rabbitmq import RabbitQueue

    url, ca_file = settings.queue_address, settings.queue_ca
    if ca_file is not None and _scheme_of(url) != "amqps":
        raise BadSettings("EYE_DX_QUEUE_CA is for amqps:// only; EYE_DX_QUEUE_URL would send everything in the clear")
    try:
        return RabbitQueue(url, names=settings.queue_names, delivery_limit=settings.delivery_limit, ca_file=ca_file)
    except OSError:
        raise BadSettings("EYE_DX_QUEUE_CA names no readable PEM file of certificates") from None
    except ValueError:
        raise BadSettings("EYE_DX_QUEUE_URL cannot be read: check its port and what follows the question mark") from None


def open_records(settings: Settings) -> Records:
    """Open the records that `EYE_DX_RECORDS_URL` names, with their schema up to date.

    Raises:
        BadSettings: no adapter knows the URL's scheme, or the vault's key is not that of these records.
        ServiceUnavailable: the database does not answer.
    """
    url = settings.records_address
    scheme = _scheme_of(url)
    if scheme == "memory":
        from eye_dx_core.records.memory import MemoryRecords

        return MemoryRecords()
    if scheme in ("sqlite", "postgresql"):
        from eye_dx_core.records.sql import SqlRecords

        _make_folder_of(url)
        return SqlRecords(url, vault=open_vault(settings))
    raise BadSettings("EYE_DX_RECORDS_URL must begin with sqlite:///, postgresql+psycopg:// or memory://")


def make_cluster_database(settings: Settings) -> None:
    """Make the records' database where it is missing, with the schema that Dagster keeps its tables in.

    Raises:
        BadSettings: the records are not in PostgreSQL.
        ServiceUnavailable: the server does not answer, or its user may not.
    """
    from eye_dx_core.records.engine import make_database

    if settings.dagster_url is None and settings.dagster_address:
        make_database(settings.records_address, schema=DAGSTER_SCHEMA)


def prepare_registry(settings: Settings) -> None:
    """Let MLflow make its tables where they are missing: one process after the other, for two that do it at once both stumble.

    Where MLflow does not answer it tries for long; nobody waits for that.

    Raises:
        ServiceUnavailable: the store, or the records, by whose lock processes wait for each other, do not answer.
    """
    from eye_dx_core.records.engine import database_errors, one_at_a_time, open_engine

    # Records in memory belong to one process, which waits for nobody.
    engine = open_engine("sqlite://" if settings.records_address.startswith("memory:") else settings.records_address)
    try:
        with database_errors("records"), one_at_a_time(engine, "registry", seconds=_REGISTRY_SECONDS):
            open_registry(settings).versions()
    finally:
        engine.dispose()


def open_registry(settings: Settings) -> ModelRegistry:
    """Open the MLflow model registry."""
    from eye_dx_core.registry.mlflow import MlflowRegistry

    settings.downloads.mkdir(parents=True, exist_ok=True)
    return MlflowRegistry(
        settings.mlflow_address,
        model_name=settings.model_name,
        artifact_location=settings.artifact_location,
        downloads=settings.downloads,
    )


def find_chat_model(settings: Settings) -> ChatModel | None:
    """The configured language model, or None: then the template writes."""
    if settings.llm_base_url is None or settings.llm_api_key is None or settings.llm_model is None:
        return None
    from eye_dx_core.reporting.language_model.openai import OpenAiChatModel

    return OpenAiChatModel(
        base_url=settings.llm_base_url,
        api_key=settings.llm_api_key.get_secret_value(),
        model=settings.llm_model,
        timeout_seconds=settings.llm_seconds,
        temperature=settings.llm_temperature,
        tracer=_llm_tracer(settings),
    )


def find_instructions(settings: Settings) -> Instructions:
    """What the language model is told: a prompt with the alias `production` in the registry, else the one that comes with us.

    MLflow is only asked where a language model is configured and a store exists.
    """
    uri = settings.mlflow_address
    is_missing = uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists()
    if settings.llm_base_url is None or is_missing:
        return SHIPPED_INSTRUCTIONS
    from eye_dx_core.registry.prompts import find_prompt

    found = find_prompt(uri, PROMPT_NAME)
    return Instructions(version=found[0], text=found[1]) if found else SHIPPED_INSTRUCTIONS


def _llm_tracer(settings: Settings) -> Callable[[], AbstractContextManager[None]]:
    if not settings.llm_tracing:
        return nullcontext
    from eye_dx_core.registry.tracing import open_tracing

    return open_tracing(settings.mlflow_address, "eye-dx-language-model", lambda text: scrub(text, ()))


def get_champion(registry: ModelRegistry) -> ModelVersion:
    """The trusted model version.

    Raises:
        NotFound: no version carries the alias `champion`; the text says how one comes to carry it.
    """
    champion = registry.find_by_alias(CHAMPION)
    if champion is None:
        raise NotFound("no champion: train a candidate, then promote it (`eye-dx registry promote VERSION --reason …`)")
    return champion


def load_predictor(registry: ModelRegistry, version: ModelVersion, settings: Settings) -> "Predictor":
    """A predictor with the weights of one version; the weights' hash has been checked. The last one stays in memory.

    So a worker that executes one run after the other loads a champion once, whoever opened the registry for the run.

    Raises:
        BadSettings: see `open_predictor`.
    """
    wanted = (version.model_name, version.version, version.checkpoint_sha256, settings.engines, settings.engine)
    if wanted not in _loaded:
        _loaded.clear()  # before the next one: two may not fit
        checkpoint = registry.download(version.version)
        _loaded[wanted] = _open_predictor(checkpoint, wanted[:2], settings.engines, settings.engine)
    return _loaded[wanted]


_loaded: "dict[tuple[str, str, str, Path, EngineName | None], Predictor]" = {}
"""The predictor that was used last, by version, hash of the weights, folder of engines and wanted engine."""


def load_readers(registry: ModelRegistry, *, champion: ModelVersion, challenger: ModelVersion, settings: Settings) -> "Readers":
    """Both predictors of shadow mode, in memory together."""
    from eye_dx_core.shadowing import Readers

    return Readers(champion=load_predictor(registry, champion, settings), challenger=load_predictor(registry, challenger, settings))


def open_predictor(checkpoint: Path, settings: Settings) -> "Predictor":
    """A predictor of a checkpoint folder, by the engine that the settings name or that suits this machine.

    Raises:
        BadCheckpoint: the folder holds no whole checkpoint.
        BadSettings: `EYE_DX_ENGINE` names an engine that is not there or was refused.
    """
    return _open_predictor(checkpoint, ("checkpoint", checkpoint.name), settings.engines, settings.engine)


def _open_predictor(checkpoint: Path, version: tuple[str, str], engines: Path, wanted: EngineName | None) -> "Predictor":
    from eye_dx_core.inference.engines.choosing import open_engine
    from eye_dx_core.inference.predictor import Predictor
    from eye_dx_core.model.checkpoint import load_checkpoint

    ready, engine = open_engine(load_checkpoint(checkpoint), engines=engines, wanted=wanted)
    return Predictor(ready, model_name=version[0], model_version=version[1], engine=engine)


def open_files(settings: Settings) -> FileStore:
    """Where reports and other finished files lie: under `data/`, or where `EYE_DX_FILES_URL` says.

    Raises:
        BadSettings: it names a store, and reports lie here too, where nobody would erase them.
    """
    from eye_dx_core.files.folders import FolderFiles

    here = FolderFiles(settings.data)
    if settings.files_url is None:
        return here
    if here.sizes(settings.report_folder.name):
        raise BadSettings(f"reports lie in {settings.report_folder}: move them to {settings.files_url}/reports, or they are never erased")
    return _object_files(settings.files_url, settings.s3_endpoint)


@lru_cache(maxsize=1)  # connections stay open
def _object_files(url: str, endpoint: str | None) -> FileStore:
    from eye_dx_core.files.object_store import ObjectFiles, open_store

    return ObjectFiles(open_store(endpoint), url.removeprefix("s3://"))


def photo_folders(settings: Settings) -> "FolderPhotos":
    """The folders in which photographs that messages name may lie."""
    from eye_dx_core.inference.sources.folders import FolderPhotos

    return FolderPhotos(settings.allowed_photo_roots, base=settings.photo_base_folder)


def trained_on(settings: Settings) -> "TrainedOn":
    """Which patients the present training photographs know."""
    from eye_dx_core.correcting import trained_on as known_by
    from eye_dx_core.dataset.manifest import load_manifest
    from eye_dx_core.dataset.splitting import find_splits

    manifest = settings.prepared / "manifest.json"
    return known_by(load_manifest(manifest) if manifest.exists() else None, find_splits(settings.prepared / "splits.json"))


def corrected_photos(settings: Settings) -> "tuple[tuple[CorrectedPhoto, ...], frozenset[str]]":
    """What doctors labelled, if this installation trains on it, and the pixel hashes of the locked test. What is gone is left out.

    Raises:
        BadDataset: there is no list of them yet.
    """
    if not settings.include_corrections:
        return (), frozenset()
    from eye_dx_core.dataset.corrections import load_corrections
    from eye_dx_core.dataset.scanning import CorrectedPhoto
    from eye_dx_core.dataset.splitting import Split, find_splits
    from eye_dx_core.errors import BadPhoto

    folders, found = photo_folders(settings), list["CorrectedPhoto"]()
    with closing(open_records(settings)) as records:
        for row in load_corrections(open_files(settings)).rows:
            with suppress(BadPhoto, NotFound):  # deleted after its term, or with its patient
                photos = records.get_case(row.case_id).screening.photos
                found += (CorrectedPhoto(folders.find_file(one.location), row) for one in photos if one.photo_id == row.photo_id)
    splits = find_splits(settings.prepared / "splits.json")
    return tuple(found), frozenset(one for one, split in splits.pixels.items() if split is Split.TEST) if splits else frozenset()


def photo_places(settings: Settings) -> "PhotoSource":
    """Everywhere that photographs which messages name may lie.

    Raises:
        BadSettings: `EYE_DX_PHOTO_CA` cannot be read.
    """
    from eye_dx_core.inference.sources.places import PhotoPlaces

    web = _web_photos(settings.photo_hosts, settings.photo_private_hosts, settings.photo_ca, settings.photo_seconds)
    by_scheme = {"http": web, "https": web}
    if settings.photo_buckets:
        by_scheme["s3"] = _bucket_photos(settings.photo_buckets, settings.s3_endpoint, settings.photo_seconds)
    return PhotoPlaces(photo_folders(settings), by_scheme, base_address=settings.photo_base_address)


@lru_cache(maxsize=1)  # it stays, because it knows which servers are silent
def _web_photos(hosts: tuple[WebHost, ...], private_hosts: tuple[WebHost, ...], ca_file: Path | None, seconds: float) -> "PhotoSource":
    from eye_dx_core.inference.sources.patience import DEFAULT_PATIENCE
    from eye_dx_core.inference.sources.web import WebPhotos

    try:
        return WebPhotos(hosts, private_hosts=private_hosts, ca_file=ca_file, patience=DEFAULT_PATIENCE.within(seconds))
    except OSError:
        raise BadSettings("EYE_DX_PHOTO_CA names no readable PEM file of certificates") from None


@lru_cache(maxsize=1)
def _bucket_photos(buckets: tuple[BucketPrefix, ...], endpoint: str | None, seconds: float) -> "PhotoSource":
    from eye_dx_core.files.object_store import open_store
    from eye_dx_core.inference.sources.object_store import BucketPhotos
    from eye_dx_core.inference.sources.patience import DEFAULT_PATIENCE

    patience = DEFAULT_PATIENCE.within(seconds)
    store = open_store(endpoint, connect_seconds=patience.connect, silence_seconds=patience.silence)
    return BucketPhotos(buckets, store=store, patience=patience)


def photo_intake(settings: Settings) -> "PhotoIntake":
    """How photographs come in; all that this process reads go through the same worker processes."""
    from eye_dx_core.inference.intake import PhotoIntake
    from eye_dx_core.inference.quality_rules import load_rules

    return PhotoIntake(photo_places(settings), _photo_workers(), rules=load_rules(settings.quality_file))


@lru_cache(maxsize=1)
def _photo_workers() -> "PhotoWorkers":
    from eye_dx_core.inference.workers import PhotoWorkers

    return PhotoWorkers()


def diagnosis_outlet(settings: Settings) -> "DiagnosisOutlet":
    """Where this installation's AI results go."""
    from eye_dx_core.casework import DiagnosisOutlet

    return DiagnosisOutlet(settings.queue_names, settings.not_assessed, routing_rules(settings))


def routing_rules(settings: Settings) -> "RoutingRules":
    """By which rules this installation proposes how soon somebody is seen.

    Raises:
        BadSettings: the file that `EYE_DX_ROUTING_FILE` names cannot be used; the text names the key that is wrong.
    """
    from eye_dx_core.routing.rules import load_rules, shipped_rules

    return load_rules(settings.routing_file) if settings.routing_file is not None else shipped_rules()


def report_outlet(settings: Settings) -> "ReportOutlet":
    """Where this installation's reports go."""
    from eye_dx_core.casework import ReportOutlet

    return ReportOutlet(open_files(settings), ZoneInfo(settings.timezone), settings.queue_names, photo_intake(settings))


def retention_terms(settings: Settings) -> "Terms":
    """How long this installation keeps what tells of persons."""
    from eye_dx_core.retention import Terms

    days = (settings.keep_identities_days, settings.keep_photos_days, settings.keep_messages_days)
    identities, photos, messages = (timedelta(days=one) if one is not None else None for one in days)
    return Terms(identities=identities, photos=photos, messages=messages)


def shelves(settings: Settings) -> "Shelves":
    """Where this installation's files of patients lie."""
    from eye_dx_core.retention import Shelves

    return Shelves(files=open_files(settings), photos=photo_folders(settings), training_photos=settings.training_photos)


def trunk_weights(settings: Settings) -> Path | None:
    """Pretrained weights to fine-tune; None means the shipped small trunk.

    Raises:
        BadSettings: `EYE_DX_PRETRAINED` names no file.
    """
    if settings.pretrained is not None and not settings.pretrained.is_file():
        raise BadSettings("EYE_DX_PRETRAINED names no file: place the RETFound weights there or unset it")
    return settings.pretrained


def _scheme_of(url: str) -> str:
    return url.split("://", 1)[0].split("+", 1)[0]


def _make_folder_of(url: str) -> None:
    if url.startswith("sqlite:///"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
