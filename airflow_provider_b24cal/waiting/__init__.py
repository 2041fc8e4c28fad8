"""When a wait is over: pure like the language it speaks; no clock, no Airflow."""
