"""What is done at the review desk, whoever shows it."""
