"""BigQuery: tables, load jobs, and the view of the latest state."""
