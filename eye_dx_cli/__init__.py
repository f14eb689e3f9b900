"""The command line `eye-dx`: a face like Dagster and the review desk."""
