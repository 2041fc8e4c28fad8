"""The page "Attendance" in Airflow's web UI: an application of the API server that reads the tables of attendance."""
