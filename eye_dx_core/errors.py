"""The tree of what goes wrong; each error knows whether a retry may help.

Texts name fields, ids and reasons, never a patient's values: they end in logs, in Dagster and in dead-letter headers.
"""


class EyeDxError(Exception):
    """Root of our own errors. Catch it only where an error leaves the library."""

    is_transient = False


class ServiceUnavailable(EyeDxError):
    """A broker, database, registry or language model did not answer; the same call may work later."""

    is_transient = True


class ChatModelUnavailable(ServiceUnavailable):
    """The language model did not answer, or is overloaded; a report need not wait for it for ever."""


class FilesUnavailable(ServiceUnavailable):
    """The place of reports and other finished files did not answer, or refused; nothing was half written."""


class BadSettings(EyeDxError):
    """A setting or combination of settings cannot work; the text says which and what to write instead."""


class NotFound(EyeDxError):
    """What was asked for by its id does not exist."""


class BadMessage(EyeDxError):
    """A queue message cannot be understood. Its text names fields, never values."""


class ConflictingMessage(BadMessage):
    """A message id came before with another body: an incident, not a duplicate."""


class Unstorable(BadMessage):
    """The database answered, and cannot hold a value as it came; no later try would help."""


class MessageTooLarge(EyeDxError):
    """A message has more bytes than a broker takes; it was not sent, and no later try would help."""


class StaleDelivery(EyeDxError):
    """A message was settled after its lease ran out; somebody else may hold it now."""


class Unroutable(ServiceUnavailable):
    """The broker has no queue for a message; it was not accepted and must be kept."""


class BadPhoto(EyeDxError):
    """A photograph cannot be read. `reason` is a short code, such as `truncated` or `not_an_image`."""

    def __init__(self, reason: str, text: str) -> None:
        """Keep the code beside the sentence, so that records and UI can count by it."""
        super().__init__(text)
        self.reason = reason


class BadDataset(EyeDxError):
    """The training photographs cannot be used as they lie; the text says what to change."""


class BadCheckpoint(EyeDxError):
    """Weights or their card are missing, damaged or do not fit the model they are meant for."""


class PromotionRefused(EyeDxError):
    """A model version has not earned trust, or nobody says why it should have it."""


class BadReport(EyeDxError):
    """A written report breaks a rule; the text names the rule."""
