"""From a review to a delivered report, and the day in numbers."""
