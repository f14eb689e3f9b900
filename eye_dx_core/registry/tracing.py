"""Questions to the language model as MLflow traces, with what looks like an identifier masked before anything is stored."""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager

import mlflow
from mlflow import MlflowClient
from mlflow.entities import LiveSpan
from mlflow.entities.trace_location import MlflowExperimentLocation
from mlflow.openai import autolog
from mlflow.tracing import configure, set_destination

Mask = Callable[[str], str]


def open_tracing(tracking_uri: str, experiment: str, mask: Mask) -> Callable[[], AbstractContextManager[None]]:
    """A context in which every call of the openai SDK is traced to one experiment.

    Args:
        tracking_uri: the MLflow store.
        experiment: where the traces go; it is made when it is missing.
        mask: takes identifiers out of a text. It sees every text of a trace, keys and values, before it is stored.
    """
    client = MlflowClient(tracking_uri=tracking_uri)

    @contextmanager
    def traced() -> Generator[None]:
        mlflow.set_tracking_uri(tracking_uri)
        known = client.get_experiment_by_name(experiment)
        experiment_id = known.experiment_id if known else client.create_experiment(experiment)
        set_destination(MlflowExperimentLocation(experiment_id), context_local=True)
        autolog(silent=True)
        try:
            with configure(span_processors=[lambda span: _redact(span, mask)]):
                yield
        finally:
            autolog(disable=True, silent=True)

    return traced


def _redact(span: LiveSpan, mask: Mask) -> None:
    span.set_inputs(_masked(span.inputs, mask))
    span.set_outputs(_masked(span.outputs, mask))
    for name, value in dict(span.attributes).items():
        if not name.startswith("mlflow.span"):
            span.set_attribute(name, _masked(value, mask))


def _masked(value: object, mask: Mask) -> object:
    """The same structure with every text in it masked."""
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, dict):
        return {key: _masked(one, mask) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(one, mask) for one in value]
    if hasattr(value, "model_dump"):
        return _masked(value.model_dump(mode="json"), mask)  # pyright: ignore[reportAttributeAccessIssue]
    return value
