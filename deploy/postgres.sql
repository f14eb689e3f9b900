-- MLflow and Dagster keep their tables in databases of their own.
CREATE DATABASE mlflow;
CREATE DATABASE dagster;
