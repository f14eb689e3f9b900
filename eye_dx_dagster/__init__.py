"""The Dagster face: assets are what we keep, ops are what is done to cases. Read definitions.py first."""
