"""The fine-tuned checkpoint and its evaluation."""
