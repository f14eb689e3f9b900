"""The queues that workers listen on, and the tags by which runs and workers know each other."""

import json

from eye_dx_core.settings import get_settings

GPU, TRAINING, GENERAL = "gpu", "training", "dagster"
"""Reading photographs; training, which may hold a worker for hours; everything else."""

QUEUES = (GPU, TRAINING, GENERAL)
QUEUE_TAG = "dagster-celery/queue"
"""As dagster-celery spells it: its own constant would need the extra `cluster` on every machine."""

KUBERNETES_TAG = "dagster-k8s/config"
"""What a run's pod gets more than others; only Dagster's launcher for Kubernetes looks at it."""

WORKER_TAG = "eye_dx/worker"
"""Who executes a run: name of the worker, and process."""

FINISH_TAG = "eye_dx/finish"
"""Set on a run whose worker is told to stop."""


def on_queue(name: str) -> dict[str, str]:
    """The tags of a job whose runs go to that queue; the launcher of a single machine does not look at them."""
    gpus = 0 if name == GENERAL else get_settings().run_gpus
    return {QUEUE_TAG: name} | ({KUBERNETES_TAG: json.dumps(_pod_with(gpus))} if gpus else {})


def _pod_with(gpus: int) -> dict[str, object]:
    """As Kubernetes and the device plugin of NVIDIA name them; nodes with GPUs are tainted as a rule, to be kept for who asks."""
    resource = "nvidia.com/gpu"
    return {
        "container_config": {"resources": {"limits": {resource: gpus}}},
        "pod_spec_config": {"tolerations": [{"key": resource, "operator": "Exists", "effect": "NoSchedule"}]},
    }
