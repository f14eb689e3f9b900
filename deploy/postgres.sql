-- MLflow keeps its tables in a database of its own; Dagster has a schema in that of the records.
CREATE DATABASE mlflow;
