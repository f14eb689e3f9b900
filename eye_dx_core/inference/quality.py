"""A first gate before the model: pictures that nobody could read.

Blur is left to the model and the doctor, because a cloudy lens, which is a finding, looks the same.
"""

import numpy as np
from numpy.typing import NDArray

from eye_dx_core.schema.quality import Quality, QualityIssue, QualityLevel

# Mean brightness (brightest channel, 0-255) and lit share inside the field. Of 200 real photographs from five sources 2 % are darker
# than 42 and 1 % brighter than 221; badly exposed phantoms lie under 38 and over 250.
_TOO_DARK, _TOO_BRIGHT, _LIT_SHARE = 42.0, 240.0, 0.55


def assess_quality(square: NDArray[np.uint8]) -> Quality:
    """Judge a square (size, size, rgb) around the field of view."""
    size = square.shape[0]
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    brightest = square[axis[None, :] ** 2 + axis[:, None] ** 2 < 0.92].max(axis=1)
    brightness, lit = float(brightest.mean()), float((brightest > 12).mean())
    found = {
        QualityIssue.TOO_DARK: brightness < _TOO_DARK,
        QualityIssue.TOO_BRIGHT: brightness > _TOO_BRIGHT,
        QualityIssue.FIELD_CUT: lit < _LIT_SHARE,
    }
    issues = tuple(issue for issue, is_there in found.items() if is_there)
    level = QualityLevel.REJECT if issues else QualityLevel.GOOD
    return Quality(level=level, issues=issues, measures={"brightness": brightness / 255, "lit_share": lit})
