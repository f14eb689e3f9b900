"""The clinic's day: counted, compared with the days before, and shown."""
