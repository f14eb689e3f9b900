"""Definitions by concern; definitions.py collects them."""
