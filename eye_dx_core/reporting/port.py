"""What we need of a language model; the template writer needs none of it."""

from typing import Protocol


class ChatModel(Protocol):
    """A chat model that answers a system and a user text with one JSON object.

    Raises `ChatModelUnavailable` when the endpoint does not answer or is overloaded, and `BadReport` when it refuses,
    is cut off or answers with something that is no JSON object.
    """

    name: str

    def complete_json(self, *, system: str, user: str, json_schema: dict[str, object]) -> dict[str, object]:
        """Return the answer as an object; it is not yet checked against the schema."""
        ...
