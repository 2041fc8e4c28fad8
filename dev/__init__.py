"""Tools of this repository: a local Airflow, and the demo. No part of any package."""
