"""The photo dataset: manifest, imbalance report, splits."""
