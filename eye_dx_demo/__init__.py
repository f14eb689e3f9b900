"""The whole chain once, on phantoms, as a stranger would meet it: `python -m eye_dx_demo`."""
