"""How a checkpoint is fine-tuned, calibrated and judged."""
