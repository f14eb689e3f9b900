"""Finished files, in folders or in an object store."""
