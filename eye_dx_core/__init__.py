"""The plain library behind Eye Dx: nothing in here knows of Dagster, a web page or a terminal."""
