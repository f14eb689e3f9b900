"""How the report for the patient is written, checked and rendered."""
