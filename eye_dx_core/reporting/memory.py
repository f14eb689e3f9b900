"""A chat model that answers from a script: for tests and for trying out what a bad answer leads to."""

from collections.abc import Iterable


class ScriptedChatModel:
    """The port `ChatModel`, answering with the given objects in turn, or raising the given errors."""

    name = "scripted"

    def __init__(self, answers: Iterable[dict[str, object] | Exception]) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    def complete_json(self, *, system: str, user: str, json_schema: dict[str, object]) -> dict[str, object]:
        """See the port."""
        self.asked.append(f"{system}\n{user}")
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer
