"""What keeps the platform small: which runs, files and rows are due, and how long the disk will last."""
