"""The model as assets: the fine-tuned checkpoint, how it does on photographs it has never seen, and its place in the registry."""

import json
import sys

import dagster as dg
from pydantic import Field

from eye_dx_core.dataset.manifest import load_manifest
from eye_dx_core.dataset.splitting import load_splits
from eye_dx_core.registry.port import CHAMPION, DATA, MADE_BY, PHANTOMS, TRAINED_ON, ModelRegistry
from eye_dx_core.settings import Settings, child_environment
from eye_dx_dagster.defs.dataset.assets import dataset_splits, inline_png
from eye_dx_dagster.defs.training.running import run_fine_tuning
from eye_dx_dagster.defs.training.stored import checkpoint_folder, code_commit, load_metrics
from eye_dx_dagster.resources import as_dagster_failures

GROUP, OWNERS = "training", ["team:ml-engineering"]


class FineTuning(dg.Config):
    """The knobs of the fine-tuning; the defaults suit the shipped small trunk on two cores."""

    method: str = Field(default="adapters", description="adapters (two per block), adapters-last-k, probe (head only) or full.")
    loss: str = Field(default="auto", description="auto (as the imbalance report advises), balanced_softmax, cross_entropy, focal, …")
    sampling: str = Field(default="auto", description="auto, natural, square_root or balanced.")
    epochs: int = Field(default=8, description="Enough for the shipped trunk on phantoms; take 50 or more for RETFound on photographs.")
    batch_size: int = Field(default=16, description="Photographs per step.")
    bottleneck: int = Field(default=32, description="Width of the adapters; wider learns more and needs more photographs.")
    last_blocks: int = Field(default=4, description="With adapters-last-k: blocks that hold adapters; the others are computed once.")
    learning_rate: float = Field(default=1e-3, description="Peak of the warm-up and cosine schedule.")
    deployment_prior: dict[str, float] = Field(
        default={},
        description="How common labels are among those who will be screened, e.g. N: 0.9; labels left out share the rest. "
        "Empty counts all as equally common, which finds more disease and alarms more often.",
    )
    processes: int = Field(default=1, ge=1, description="Processes that train together on one machine: as many as it has GPUs.")
    seed: int = Field(default=0, description="Two runs with one seed on one machine give the same model.")


@dg.asset(group_name=GROUP, owners=OWNERS, kinds={"pytorch", "mlflow"}, tags={"domain": "training"}, deps=[dataset_splits], pool="training")
def fine_tuned_checkpoint(
    context: dg.AssetExecutionContext, config: FineTuning, settings: dg.ResourceParam[Settings]
) -> dg.MaterializeResult:
    """Weights and card of the model, fine-tuned with adapters after attention and after the MLP of each block.

    Epochs appear in the log and as MLflow metrics while it runs. With more than one process, `torchrun` starts them and each
    batch is divided among them; the weights are the same up to rounding.
    """
    from eye_dx_core.model.checkpoint import load_checkpoint
    from eye_dx_core.registry.mlflow import start_training_run

    folder, knobs = checkpoint_folder(settings), config.model_dump(exclude={"processes"})
    dagster_url = f"{settings.dagster_page_address}/runs/{context.run_id}"
    with (
        as_dagster_failures(),
        start_training_run(
            settings.mlflow_address,
            settings.model_name,
            params=config.model_dump() | {"label_set": settings.label_set},
            tags={
                "dagster.run_id": context.run_id,
                "dagster.asset_key": context.asset_key.to_user_string(),
                "dagster.run_url": dagster_url,
            },
            dataset=("training-photographs", load_manifest(settings.prepared / "manifest.json").fingerprint),
            artifact_location=settings.artifact_location,
        ) as run,
    ):
        if config.processes > 1:
            order = json.dumps({"knobs": knobs, "mlflow_run_id": run.run_id})
            torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(config.processes)]
            command = [*torchrun, "-m", "eye_dx_dagster.defs.training.team_process", order]
            dg.PipesSubprocessClient().run(context=context, command=command, env=child_environment(settings))
        else:
            for epoch in run_fine_tuning(settings, knobs):
                run.log_epoch(epoch.epoch, epoch.as_metrics())
                context.log.info("%s", epoch)
        (folder / "mlflow_run.json").write_text(json.dumps({"run_id": run.run_id}), encoding="utf-8")
    checkpoint = load_checkpoint(folder)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(checkpoint.sha256),
        metadata={
            "weights_sha256": checkpoint.sha256,
            "trunk_sha256": checkpoint.card.trunk_sha256,
            "data_fingerprint": checkpoint.card.data_fingerprint,
            "labels": dg.MetadataValue.json(list(checkpoint.card.label_set.codes)),
            "mlflow_run_id": run.run_id,
            "mlflow_run": dg.MetadataValue.url(f"http://127.0.0.1:{settings.mlflow_port}/{run.url_path}"),
            "folder": dg.MetadataValue.path(folder),
        },
    )


@dg.asset(group_name=GROUP, owners=OWNERS, kinds={"pytorch"}, tags={"domain": "training"}, deps=[fine_tuned_checkpoint])
def checkpoint_evaluation(settings: dg.ResourceParam[Settings], registry: dg.ResourceParam[ModelRegistry]) -> dg.MaterializeResult:
    """How the checkpoint reads the locked test split, which nothing before has looked at, and how the champion reads it.

    Intervals are the middle 95 % over resampled patients. The model card is written here and travels with the checkpoint.
    """
    from eye_dx_core.registry.mlflow import log_files
    from eye_dx_core.training.judging import judge_checkpoint

    folder = checkpoint_folder(settings)
    with as_dagster_failures():
        champion = registry.find_by_alias(CHAMPION)
        judged = judge_checkpoint(
            folder,
            champion=registry.download(champion.version) if champion else None,
            photo_folder=settings.training_photos,
            manifest=load_manifest(settings.prepared / "manifest.json"),
            splits=load_splits(settings.prepared / "splits.json"),
            cache_folder=settings.prepared / "cache",
        )
        files = judged.save(settings.prepared)
        log_files(settings.mlflow_address, json.loads((folder / "mlflow_run.json").read_text(encoding="utf-8"))["run_id"], files)
    shown = {
        name: value for name, value in judged.metrics.items() if name.split("_")[0] not in ("specificity", "auroc", "auprc", "calibration")
    }
    return dg.MaterializeResult(
        metadata={
            **shown,
            **{name: inline_png(figure) for name, figure in judged.figures.items()},
            "dagster/row_count": int(judged.metrics["photographs"]),
            "model_card": dg.MetadataValue.md(judged.card),
            "file": dg.MetadataValue.path(settings.prepared / "evaluation.json"),
        }
    )


@dg.asset(group_name="registry", owners=OWNERS, kinds={"mlflow"}, tags={"domain": "registry"}, deps=[checkpoint_evaluation])
def model_candidate(
    context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings], registry: dg.ResourceParam[ModelRegistry]
) -> dg.MaterializeResult:
    """The evaluated checkpoint as a new registry version with the alias `candidate`. A person makes it champion."""
    from eye_dx_core.dataset.phantom_folders import holds_phantoms

    folder = checkpoint_folder(settings)
    mlflow_run = json.loads((folder / "mlflow_run.json").read_text(encoding="utf-8"))["run_id"]
    photos = PHANTOMS if holds_phantoms(settings.training_photos) else "photographs"
    with as_dagster_failures():
        version = registry.add_candidate(
            folder,
            metrics=load_metrics(settings),
            tags={
                "dagster.run_id": context.run_id,
                "training.mlflow_run_id": mlflow_run,
                TRAINED_ON: photos,
                DATA: load_manifest(settings.prepared / "manifest.json").fingerprint,
                MADE_BY: code_commit(),
            },
        )
    return dg.MaterializeResult(
        data_version=dg.DataVersion(f"{version.model_name}/{version.version}"),
        metadata={
            "model_version": version.version,
            "model_uri": f"models:/{version.model_name}/{version.version}",
            "registry": dg.MetadataValue.url(
                f"http://127.0.0.1:{settings.mlflow_port}/#/models/{version.model_name}/versions/{version.version}"
            ),
        },
    )
