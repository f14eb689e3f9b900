"""The learning rate as a pure function of the step."""

import math


def learning_rate_at(step: int, *, peak: float, warmup_steps: int, total_steps: int) -> float:
    """Linear warm-up to the peak, then a half cosine down to a hundredth of it.

    Args:
        step: from 0 to `total_steps - 1`.
        peak: reached on the last step of the warm-up.
        warmup_steps: more of them are gentler on pretrained weights.
        total_steps: steps of the whole training.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))
