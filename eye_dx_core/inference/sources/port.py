"""What reading needs of a place that holds photographs."""

from typing import Protocol


class PhotoSource(Protocol):
    """A place that holds photographs and hands out nothing else.

    A location is text that a stranger wrote. Whatever it says, a source reads only where it was set up to read, and never
    more than `MAX_BYTES`; what may be read is checked on what is opened, not on the name alone. Several threads may ask.
    No text of an error holds the location: a name may stand in it.
    """

    def find_photo(self, location: str) -> bytes:
        """The bytes of the photograph that a message names.

        Raises:
            BadPhoto: it cannot be had, today or tomorrow. `reason` is the same word everywhere: `missing`, `forbidden` (its owner
                lets nobody read it), `too_large`, `unsupported_location`, or the rule that it breaks.
            ServiceUnavailable: the place did not answer, in time or at all; the photograph may be there all the same.
        """
        ...
