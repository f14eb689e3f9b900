"""The language model that may phrase a report: what it is asked, how it is reached, what became of its texts."""
