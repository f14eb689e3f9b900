"""Champion and challenger on the same cases: compared, put into words, written."""
