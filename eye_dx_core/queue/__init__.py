"""How messages come and go without being lost or doubled."""
