"""A copy of what an installation must not lose, and the way back."""
