"""The hook: from an Airflow connection to the portal's typed methods."""
