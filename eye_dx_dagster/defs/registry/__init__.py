"""Candidate, champion, promotion and rollback."""
