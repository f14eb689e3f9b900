"""The AsyncAPI document: which message travels on which queue, and how each queue is reached."""

from typing import Any

from eye_dx_core.queue.topology import QueueNames
from eye_dx_core.schema import contract
from eye_dx_core.schema.contract import MESSAGES, MessageKind, build_schema
from eye_dx_core.schema.message import MAX_BODY_BYTES

_ABOUT = (
    "Screenings and doctors' reviews come in; AI results and reports go out, in the shape and on the queue of whoever asked."
    f" Bodies are JSON in UTF-8 of at most {MAX_BODY_BYTES:,} bytes. Every message that is sent is persistent and has a message id"
    " (drop a repeat by it), a correlation id (the case), a type, a content type and a time. A request that comes again under the same"
    " message id is answered once; with another body it is set aside, as is everything that cannot be understood: fields are named in"
    " the reason, values never."
)
_DEAD_LETTER = {
    "name": "dead-letter",
    "title": "Dead letter",
    "summary": "A message as it came; its headers say why it was set aside, from which queue it came, and when. For operators only.",
}


def build_contract(names: QueueNames) -> dict[str, dict[str, Any]]:
    """Every document of the contract by its file name: one JSON Schema for each message, and the AsyncAPI document."""
    schemas = {_schema_file(kind): build_schema(kind) for kind in MESSAGES}
    return schemas | {"asyncapi.json": build_asyncapi(names)}


def build_asyncapi(names: QueueNames) -> dict[str, Any]:
    """AsyncAPI 3.0: a channel per queue, an operation per channel, the messages with examples."""
    received, sent = _received(names), _sent(names)
    messages = {kind.name: _message(kind) for kind in MESSAGES} | {"dead-letter": _DEAD_LETTER}
    channels = {queue: [kind.name for kind in kinds] for queue, kinds in (received | sent).items()} | {names.dead: ["dead-letter"]}
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Eye Dx", "version": "1.0.0", "description": _ABOUT},
        "defaultContentType": "application/json",
        "channels": {queue: _channel(names, queue, kinds) for queue, kinds in channels.items()},
        "operations": {
            **{f"receive_{queue}": _operation("receive", queue) for queue in received},
            **{f"send_{queue}": _operation("send", queue) for queue in (*sent, names.dead)},
        },
        "components": {"messages": messages},
    }


def _received(names: QueueNames) -> dict[str, tuple[MessageKind, ...]]:
    return {
        names.screenings: (contract.NESTED, contract.ENVELOPED_SCREENING),
        names.flat_screenings: (contract.FLAT,),
        names.partner_screenings: (contract.FOUR_QUEUE_CHECK,),
        names.reviews: (contract.REVIEW, contract.ENVELOPED_REVIEW),
        names.partner_reviews: (contract.PARTNER_REVIEW,),
    }


def _sent(names: QueueNames) -> dict[str, tuple[MessageKind, ...]]:
    return {
        names.ai_results: (contract.AI_RESULT,),
        names.reports: (contract.REPORT,),
        names.partner_ai_results: (contract.RESULT_CHECK,),
        names.partner_reports: (contract.RESULT_REPORT,),
    }


def _channel(names: QueueNames, queue: str, kinds: list[str]) -> dict[str, Any]:
    """A channel is a routing key in AsyncAPI; the queue is bound to its exchange by it."""
    route = names.route_of(queue)
    whose = "ours: declared by Eye Dx" if route.is_ours else "the partner's: used as it is"
    return {
        "address": route.routing_key,
        "title": queue,
        "description": f"Durable queue `{queue}`, bound to the exchange `{route.exchange}` by `{route.routing_key}`; {whose}.",
        "messages": {kind: {"$ref": f"#/components/messages/{kind}"} for kind in kinds},
        "bindings": {
            "amqp": {
                "is": "routingKey",
                "exchange": {"name": route.exchange, "type": "direct", "durable": True, "autoDelete": False},
                "bindingVersion": "0.3.0",
            }
        },
    }


def _operation(action: str, queue: str) -> dict[str, Any]:
    """As AsyncAPI means it: `receive` and `send` are what Eye Dx does."""
    persistent = {"deliveryMode": 2, "bindingVersion": "0.3.0"}
    settled = {"ack": True, "bindingVersion": "0.3.0"}
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{queue}"},
        "bindings": {"amqp": persistent if action == "send" else settled},
    }


def _message(kind: MessageKind) -> dict[str, Any]:
    return {
        "name": kind.name,
        "title": kind.title,
        "contentType": "application/json",
        "payload": {"$ref": f"./{_schema_file(kind)}"},
        "examples": [{"name": kind.name, "payload": kind.example}],
    }


def _schema_file(kind: MessageKind) -> str:
    return f"{kind.name}.schema.json"
