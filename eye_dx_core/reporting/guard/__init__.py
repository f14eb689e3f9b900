"""What a report may say: its claims read from the text and held against the facts."""
