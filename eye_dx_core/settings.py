"""Every setting, read from the environment as `EYE_DX_*`; nothing else in the project reads the environment."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from eye_dx_core.errors import BadSettings
from eye_dx_core.inference.sources.allowed import BucketPrefix, WebHost, parse_bucket, parse_web_host
from eye_dx_core.logs import LogFormat
from eye_dx_core.queue.topology import QueueNames
from eye_dx_core.reporting.language_model.endpoints import is_in_the_house
from eye_dx_core.schema.engine import EngineName
from eye_dx_core.schema.outgoing import NotAssessed


class Settings(BaseSettings):
    """What an installation may decide. The defaults need no broker, GPU, language model or PostgreSQL."""

    model_config = SettingsConfigDict(
        env_prefix="EYE_DX_",
        env_file=".env",
        env_ignore_empty=True,  # as Compose sets what nobody has set
        env_nested_delimiter="__",
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    state_dir: Path = Field(
        default_factory=Path.cwd, description="Folder that holds data/, mlruns/ and dagster_home/; default the current folder."
    )
    photos_dir: Path | None = Field(default=None, description="Training photographs in class folders; default data/photos.")
    label_set: str = Field(default="eight", description="eight, twelve, thirteen or screen.")
    pretrained: Path | None = Field(default=None, description="RETFound or other weights to fine-tune; default the shipped small trunk.")

    # A URL may hold a password, so all three are secrets.
    queue_url: SecretStr | None = Field(default=None, description="amqp://…, sqlite:///…, postgresql+psycopg://… or memory://")
    queue_ca: Path | None = Field(default=None, description="PEM file of the authority that signed the broker's certificate (amqps://).")
    queue_names: QueueNames = Field(default=QueueNames(), description="Names of queues that differ from ours, as JSON; see docs/messages.")
    not_assessed: NotAssessed = Field(
        default=NotAssessed.NULL, description="How result_check_queue tells what was not assessed: null, or omit the field."
    )
    records_url: SecretStr | None = Field(default=None, description="sqlite:///…, postgresql+psycopg://… or memory://")
    vault_keys: SecretStr | None = Field(
        default=None, description="Keys that seal the records, newest first, separated by spaces; `eye-dx vault new-key` prints one."
    )
    vault_key_file: Path | None = Field(default=None, description="File of those keys; default data/vault.key, made when it is missing.")
    keep_identities_days: int | None = Field(default=None, ge=1, description="Days after the last screening; default for ever.")
    keep_photos_days: int | None = Field(default=None, ge=1, description="Days until photographs of screenings are deleted; default never.")
    keep_messages_days: int | None = Field(default=90, ge=1, description="Days that messages are kept as they came.")
    keep_runs_days: int = Field(
        default=30, ge=1, description="Days that Dagster's routine runs are kept; what is unused in caches and was deleted in MLflow too."
    )
    keep_failed_runs_days: int = Field(default=90, ge=1, description="The same for routine runs that failed or were canceled.")
    mlflow_tracking_uri: SecretStr | None = Field(
        default=None, description="MLflow's store or server: sqlite:///…, postgresql+psycopg2://… or http://…; default mlruns/mlflow.db."
    )
    mlflow_artifacts: str | None = Field(
        default=None,
        description="s3://bucket/prefix or a folder for weights and figures; default mlruns/artifacts, or where a served MLflow has it.",
    )
    model_name: str = Field(default="eye-dx-fundus", description="Name of the model in the registry.")

    photo_roots: Annotated[tuple[Path, ...], NoDecode] = Field(
        default=(), description="Folders that messages may name photographs in, separated by ':'; default data/."
    )
    photo_base: str | None = Field(
        default=None,
        description="Where relative photograph paths start: a folder, https://host/path/ or s3://bucket/prefix/; default data/.",
    )
    photo_hosts: Annotated[tuple[WebHost, ...], NoDecode] = Field(
        default=(), description="Web servers that photographs are fetched from: host, host:port, http://host, separated by commas."
    )
    photo_private_hosts: Annotated[tuple[WebHost, ...], NoDecode] = Field(
        default=(), description="The same for servers in the house's own network; a host in photo_hosts must have a public address."
    )
    photo_ca: Path | None = Field(default=None, description="PEM file of an authority that signed the certificates of photo hosts.")
    photo_seconds: float = Field(default=30, gt=0, description="How long one photograph may take to come from another server.")
    photo_buckets: Annotated[tuple[BucketPrefix, ...], NoDecode] = Field(
        default=(), description="bucket or bucket/prefix that s3:// photographs are fetched from, separated by commas; needs the extra s3."
    )
    s3_endpoint: str | None = Field(default=None, description="Address of an S3-compatible store; default AWS.")
    files_url: str | None = Field(
        default=None,
        description="s3://bucket/prefix for what several hosts share: reports, daily and shadow reports, corrected labels; default data/.",
    )

    routing_file: Path | None = Field(
        default=None, description="YAML of the clinic's own routing rules; default those that come with the project, signed by nobody."
    )
    quality_file: Path | None = Field(
        default=None, description="YAML that changes thresholds of the quality gate, for all photographs or by camera; default as shipped."
    )

    lease_seconds: float = Field(default=120, gt=0, description="How long a claimed message or case belongs to one worker.")
    delivery_limit: int = Field(default=5, ge=1, description="Deliveries before a message becomes a dead letter.")
    drain_limit: int = Field(default=500, ge=1, description="Messages that are taken in at one go.")
    linger_seconds: float = Field(
        default=300,
        ge=0,
        description="How long a diagnosis run stays ready, with the model in memory, when nothing comes.",
    )
    micro_batch: int = Field(default=8, ge=1, description="Cases that are read and stored together.")
    shadow: bool = Field(
        default=False,
        description="Whether the registry's challenger silently reads what the champion has read; its word goes into a report alone.",
    )
    engine: EngineName | None = Field(
        default=None, description="What computes the answers: torch-float32, …; default the fastest that passed `eye-dx model optimise`."
    )

    alarm_minutes: float = Field(default=15, gt=0, description="Age of an unread case or unsent result that raises the alarm.")

    alert_webhook: SecretStr | None = Field(
        default=None, description="Address that is told of overdue urgent cases, dead letters and failing runs; default nobody."
    )
    include_corrections: bool = Field(
        default=False, description="Whether photographs that doctors labelled in the clinic join the training photographs."
    )

    llm_base_url: str | None = Field(default=None, description="OpenAI-compatible endpoint; without it the template writes.")
    llm_api_key: SecretStr | None = Field(default=None, description="Its key.")
    llm_model: str | None = Field(default=None, description="Its name at that endpoint.")
    llm_external: bool = Field(
        default=False, description="Whether the endpoint may lie outside the house: facts about patients, without names, then leave it."
    )
    llm_seconds: float = Field(default=30, gt=0, description="How long one answer of the language model may take.")
    llm_temperature: float = Field(default=0, ge=0, le=2, description="0 asks for the likeliest words.")
    llm_tracing: bool = Field(default=False, description="Record each question and answer in MLflow, with identifiers masked.")

    timezone: str = Field(default="Asia/Shanghai", description="Local time of reports and of the daily partition.")
    desk_port: int = Field(default=8010, description="Port of the review desk.")
    desk_hold_minutes: float = Field(default=10, gt=0, le=60, description="How long an open case is one doctor's; open pages renew it.")
    desk_blind_first: bool = Field(default=False, description="Doctors give their own reading before the AI's word is shown.")
    desk_two_person: bool = Field(
        default=False, description="Where the AI calls a case urgent and the doctor sees it otherwise, a second doctor must sign."
    )
    desk_proxy: str | None = Field(
        default=None, description="Addresses of the reverse proxy before the desk, by commas; cookies are then for https only."
    )
    log_format: LogFormat = Field(default=LogFormat.TEXT, description="text, or json: one object a line on stderr.")
    dagster_port: int = Field(default=3000, description="Port of Dagster's UI.")
    monitor_port: int = Field(default=9108, description="Where Prometheus and probes ask, on this machine.")
    mlflow_port: int = Field(default=5000, description="Port of MLflow's UI.")
    dagster_page: str | None = Field(
        default=None, description="https://… by which people reach Dagster's UI, for the desk's links; default its port on this machine."
    )
    mlflow_page: str | None = Field(default=None, description="The same for MLflow's UI.")

    bind: str = Field(
        default="127.0.0.1",
        description="Address that desk, Dagster, MLflow and monitor listen on; another one needs a proxy that asks who comes.",
    )
    cluster: bool = Field(default=False, description="Whether runs go to Celery workers; `eye-dx cluster` and `eye-dx worker` say so.")
    dagster_url: SecretStr | None = Field(
        default=None, description="postgresql+psycopg://… of Dagster's storage in a cluster; default a schema of its own in the records."
    )
    celery_broker: SecretStr | None = Field(default=None, description="amqp://… that runs are sent by in a cluster; default the queue's.")
    diagnosis_runs: int = Field(default=1, ge=1, description="Diagnosis runs that may work at once; in a cluster, one for each GPU worker.")
    run_gpus: int = Field(default=0, ge=0, description="GPUs that Kubernetes gives to each run that reads photographs or trains.")

    @model_validator(mode="before")
    @classmethod
    def _split_roots(cls, values: dict[str, object]) -> dict[str, object]:
        roots = values.get("photo_roots")
        return values | {"photo_roots": tuple(Path(root) for root in roots.split(os.pathsep) if root)} if isinstance(roots, str) else values

    @field_validator("photo_hosts", "photo_private_hosts", mode="before")
    @classmethod
    def _split_hosts(cls, value: object) -> object:
        return tuple(map(parse_web_host, value.replace(",", " ").split())) if isinstance(value, str) else value

    @field_validator("photo_buckets", mode="before")
    @classmethod
    def _split_buckets(cls, value: object) -> object:
        return tuple(map(parse_bucket, value.replace(",", " ").split())) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _photo_places_are_listed(self) -> "Settings":
        scheme, is_address, rest = (self.photo_base or "").partition("://")
        if is_address and scheme == "s3":
            is_listed = any(one.holds(*parse_bucket(rest)) for one in self.photo_buckets)
        else:
            hosts = self.photo_hosts + self.photo_private_hosts
            is_listed = not is_address or ("?" not in rest and parse_web_host(f"{scheme}://{rest.partition('/')[0]}") in hosts)
        if not is_listed:
            raise ValueError("EYE_DX_PHOTO_BASE must be a folder, or a plain address of a host or bucket that is listed too")
        if self.photo_buckets and find_spec("s3fs") is None:
            raise ValueError("EYE_DX_PHOTO_BUCKETS needs the extra s3: pip install 'eye-dx[s3]'")
        return self

    @field_validator("files_url")
    @classmethod
    def _names_a_bucket(cls, value: str | None) -> str | None:
        return None if value is None else _parse_store(value)

    @field_validator("mlflow_artifacts")
    @classmethod
    def _names_a_bucket_or_a_folder(cls, value: str | None) -> str | None:
        return _parse_store(value) if value is not None and "://" in value else value

    @model_validator(mode="after")
    def _photos_go_first(self) -> "Settings":
        if self.keep_identities_days and (self.keep_photos_days or 0) > self.keep_identities_days:
            raise ValueError("EYE_DX_KEEP_PHOTOS_DAYS must not be longer than EYE_DX_KEEP_IDENTITIES_DAYS: names stand in file names")
        return self

    @model_validator(mode="after")
    def _a_proxy_stands_before(self) -> "Settings":
        if self.bind not in ("127.0.0.1", "::1", "localhost") and self.desk_proxy is None:
            raise ValueError("EYE_DX_BIND lets other machines in: name the reverse proxy before the desk with EYE_DX_DESK_PROXY too")
        return self

    @model_validator(mode="after")
    def _llm_is_whole(self) -> "Settings":
        given = [value is not None for value in (self.llm_base_url, self.llm_api_key, self.llm_model)]
        if any(given) and not all(given):
            raise ValueError("EYE_DX_LLM_BASE_URL, EYE_DX_LLM_API_KEY and EYE_DX_LLM_MODEL belong together")
        if self.llm_base_url and not is_in_the_house(self.llm_base_url):
            if not self.llm_external:
                raise ValueError(
                    "EYE_DX_LLM_BASE_URL is not an address of the own network: age, findings and the doctor's words of every patient would"
                    " leave the house. Set EYE_DX_LLM_EXTERNAL=true if the clinic may do that and has agreed it with the provider"
                )
            if not self.llm_base_url.lower().startswith("https://"):
                raise ValueError("EYE_DX_LLM_BASE_URL leaves the house, so it must begin with https://")
        return self

    @property
    def state(self) -> Path:
        """The state folder as an absolute path."""
        return self.state_dir.resolve()

    @property
    def data(self) -> Path:
        """Folder of photographs, databases and reports."""
        return self.state / "data"

    @property
    def training_photos(self) -> Path:
        """Folder of the training photographs."""
        return (self.photos_dir or self.data / "photos").resolve()

    @property
    def prepared(self) -> Path:
        """Folder of what is derived from the training photographs: manifest, figures, splits, cache, checkpoints."""
        return self.data / "prepared"

    @property
    def engines(self) -> Path:
        """Folder of exported models, one folder per checkpoint."""
        return self.prepared / "engines"

    @property
    def waivers(self) -> Path:
        """What somebody accepts of the training photographs, with reasons."""
        return self.prepared / "waivers.json"

    @property
    def report_folder(self) -> Path:
        """Folder of the delivered reports where they are kept on this machine."""
        return self.data / "reports"

    @property
    def queue_address(self) -> str:
        """URL of the queue."""
        return self.queue_url.get_secret_value() if self.queue_url else f"sqlite:///{self.data / 'queue.db'}"

    @property
    def records_address(self) -> str:
        """URL of the records."""
        return self.records_url.get_secret_value() if self.records_url else f"sqlite:///{self.data / 'records.db'}"

    @property
    def vault_key_path(self) -> Path:
        """File of the keys that seal the records."""
        return self.vault_key_file or self.data / "vault.key"

    @property
    def mlflow_address(self) -> str:
        """URL of the MLflow store."""
        uri = self.mlflow_tracking_uri
        return uri.get_secret_value() if uri else f"sqlite:///{self.state / 'mlruns' / 'mlflow.db'}"

    @property
    def artifact_folder(self) -> Path | None:
        """Folder of what MLflow keeps as files; None where that is an object store."""
        named = self.mlflow_artifacts
        return None if named and "://" in named else Path(named or self.state / "mlruns" / "artifacts").resolve()

    @property
    def artifact_address(self) -> str:
        """URL of the same, whichever it is."""
        return self.artifact_folder.as_uri() if self.artifact_folder is not None else str(self.mlflow_artifacts)

    @property
    def artifact_location(self) -> str | None:
        """Where new experiments keep their files; None where a served MLflow knows best: it takes them in and hands them out itself."""
        is_its_own = self.mlflow_artifacts is None and self.mlflow_address.startswith(("http://", "https://"))
        return None if is_its_own else self.artifact_address

    @property
    def downloads(self) -> Path:
        """Folder of the checkpoints that were fetched from MLflow."""
        return self.state / "mlruns" / "downloaded"

    @property
    def dagster_page_address(self) -> str:
        """Where people find Dagster's UI, without a slash at its end."""
        return (self.dagster_page or f"http://127.0.0.1:{self.dagster_port}").rstrip("/")

    @property
    def mlflow_page_address(self) -> str:
        """Where people find MLflow's UI, without a slash at its end."""
        return (self.mlflow_page or f"http://127.0.0.1:{self.mlflow_port}").rstrip("/")

    @property
    def dagster_home(self) -> Path:
        """Folder of Dagster's instance; that of a cluster has another configuration."""
        home = self.state / "dagster_home"
        return home / "cluster" if self.cluster else home

    @property
    def dagster_address(self) -> str:
        """URL of Dagster's storage in a cluster.

        Raises:
            BadSettings: neither it nor the records are in PostgreSQL.
        """
        address = self.dagster_url.get_secret_value() if self.dagster_url is not None else self.records_address
        scheme, _, place = address.partition("://")
        if not scheme.startswith("postgresql"):
            raise BadSettings("a cluster needs PostgreSQL: set EYE_DX_RECORDS_URL=postgresql+psycopg://user@host/database")
        shared = "" if self.dagster_url is not None else f"{'&' if '?' in place else '?'}options=-csearch_path%3D{DAGSTER_SCHEMA}"
        return f"postgresql+psycopg2://{place}{shared}"  # Dagster's NOTIFY is not understood by psycopg 3

    @property
    def celery_broker_address(self) -> str:
        """URL of the broker that runs are sent by.

        Raises:
            BadSettings: neither it nor the queue is RabbitMQ.
        """
        address = self.celery_broker.get_secret_value() if self.celery_broker is not None else self.queue_address
        if not address.startswith("amqp"):
            raise BadSettings("a cluster needs RabbitMQ: set EYE_DX_QUEUE_URL=amqp://user:password@host/%2F")
        return address

    @property
    def allowed_photo_roots(self) -> tuple[Path, ...]:
        """Folders that messages may name photographs in."""
        return self.photo_roots or (self.data,)

    @property
    def photo_base_address(self) -> str | None:
        """Address where relative photograph paths start, with a slash at its end; None where they start in a folder."""
        return f"{self.photo_base.rstrip('/')}/" if self.photo_base and "://" in self.photo_base else None

    @property
    def photo_base_folder(self) -> Path | None:
        """Folder where relative photograph paths start; None where they start at an address."""
        return None if self.photo_base_address else Path(self.photo_base or self.data)


def _parse_store(url: str) -> str:
    """A bucket, or a part of it, in one way of writing it.

    Raises:
        ValueError: it is no such thing, or what it needs is not installed.
    """
    scheme, _, place = url.partition("://")
    if scheme != "s3":
        raise ValueError("an object store must be named like s3://bucket/prefix")
    if find_spec("s3fs") is None or find_spec("boto3") is None:
        raise ValueError("it needs the extra s3: pip install 'eye-dx[s3]'")
    return f"s3://{'/'.join(parse_bucket(place)).rstrip('/')}"


DAGSTER_SCHEMA = "dagster"
"""Where Dagster keeps its tables when it shares the records' database."""

# What MLflow, Dagster and torch read from the environment themselves, in this process and in those it starts.
_THIRD_PARTY_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_SKIP_PIP_REQUIREMENTS_CHECK": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    # It would print the store's URL, with the password in it, after every run.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # By default a tracking server that is gone is asked for four minutes, and a run with retries waits for it four times.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "DO_NOT_TRACK": "1",
    # Torch's threads spin while they wait; where others use the cores too, that made training four times slower.
    "OMP_WAIT_POLICY": "PASSIVE",
}


def get_settings() -> Settings:
    """The settings of this process; also makes sure that MLflow here loads no pickles and reports to nobody.

    Raises:
        BadSettings: naming the variables that are wrong, never their values.
    """
    os.environ.update(_THIRD_PARTY_ENVIRONMENT)  # noqa: TID251
    try:
        settings = Settings()
    except ValidationError as error:
        wrong = "; ".join(
            f"{'EYE_DX_' + '__'.join(map(str, one['loc'])).upper() if one['loc'] else 'settings'}: {one['msg']}" for one in error.errors()
        )
        raise BadSettings(wrong) from None
    os.environ.update(_mlflow_endpoint(settings))  # noqa: TID251
    return settings


def _mlflow_endpoint(settings: Settings) -> dict[str, str]:
    """Where MLflow finds the object store, unless somebody has told it already."""
    name = "MLFLOW_S3_ENDPOINT_URL"
    return {name: settings.s3_endpoint} if settings.s3_endpoint is not None and not os.environ.get(name) else {}  # noqa: TID251


def get_log_format() -> LogFormat:
    """How this process is to log; as text while its settings are wrong, which whoever reads them next will say."""
    try:
        return get_settings().log_format
    except BadSettings:
        return LogFormat.TEXT


def child_environment(settings: Settings) -> dict[str, str]:
    """The environment for processes we start: the same state folder, Dagster's home, and third parties held short.

    Raises:
        BadSettings: it is to be a cluster, and there is no RabbitMQ or no PostgreSQL.
    """
    ours = {
        "EYE_DX_STATE_DIR": str(settings.state),
        "DAGSTER_HOME": str(settings.dagster_home),
        "MLFLOW_BACKEND_STORE_URI": settings.mlflow_address,  # for its server, which `eye-dx up` starts
    }
    if settings.cluster:  # Dagster's instance file finds its database and its broker there
        address, broker = settings.dagster_address, settings.celery_broker_address
        ours |= {"EYE_DX_CLUSTER": "true", "EYE_DX_DAGSTER_URL": address, "EYE_DX_CELERY_BROKER": broker}
    return dict(os.environ) | _THIRD_PARTY_ENVIRONMENT | _mlflow_endpoint(settings) | ours  # noqa: TID251


def adopt_environment(settings: Settings) -> None:
    """Make this process see what the processes see that it starts."""
    os.environ.update(child_environment(settings))  # noqa: TID251
