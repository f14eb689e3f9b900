"""Questions to the language model as MLflow traces, with what looks like an identifier masked before anything is stored."""

import logging
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import mlflow
from mlflow import MlflowClient
from mlflow.entities import LiveSpan
from mlflow.entities.trace_location import MlflowExperimentLocation
from mlflow.openai import autolog
from mlflow.tracing import configure, set_destination

Mask = Callable[[str], str]
_log = logging.getLogger(__name__)


def open_tracing(tracking_uri: str, experiment: str, mask: Mask) -> Callable[[], AbstractContextManager[None]]:
    """A context in which every call of the openai SDK is traced to one experiment.

    Args:
        tracking_uri: the MLflow store.
        experiment: where the traces go; it is made when it is missing.
        mask: takes identifiers out of a text. It sees every text of a trace, keys and values, before it is stored.
    """

    @contextmanager
    def traced() -> Generator[None]:
        with ExitStack() as stack:
            try:
                _send_to(tracking_uri, experiment)
                stack.enter_context(configure(span_processors=[lambda span: _redact(span, mask)]))
                autolog(silent=True)
                stack.callback(autolog, disable=True, silent=True)
            except Exception as error:  # noqa: BLE001 - a trace that nobody can store is no reason to write no report
                _log.warning("the question to the language model is not traced (%s)", type(error).__name__)
            yield

    return traced


def _send_to(tracking_uri: str, experiment: str) -> None:
    mlflow.set_tracking_uri(tracking_uri)
    client = MlflowClient(tracking_uri=tracking_uri)
    known = client.get_experiment_by_name(experiment)
    set_destination(MlflowExperimentLocation(known.experiment_id if known else client.create_experiment(experiment)), context_local=True)


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
