"""The queues that workers listen on, and the tags by which runs and workers know each other."""

GPU, TRAINING, GENERAL = "gpu", "training", "dagster"
"""Reading photographs; training, which may hold a worker for hours; everything else."""

QUEUES = (GPU, TRAINING, GENERAL)
QUEUE_TAG = "dagster-celery/queue"
"""As dagster-celery spells it: its own constant would need the extra `cluster` on every machine."""

WORKER_TAG = "eye_dx/worker"
"""Who executes a run: name of the worker, and process."""

FINISH_TAG = "eye_dx/finish"
"""Set on a run whose worker is told to stop."""


def on_queue(name: str) -> dict[str, str]:
    """The tag of a job whose runs go to that queue; the launcher of a single machine does not look at it."""
    return {QUEUE_TAG: name}
