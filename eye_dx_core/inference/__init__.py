"""How photographs are read: photo, eye, case."""
