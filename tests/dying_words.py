"""What a file says to a worker that does as it is told."""

DIE, HANG, GROW, BABBLE = b"die", b"hang", b"grow", b"babble"
DIE_ONCE = b"only once "
"""Followed by the path of a file: die while it is there, and remove it."""
