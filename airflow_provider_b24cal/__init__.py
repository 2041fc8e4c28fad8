"""Apache Airflow provider for Bitrix24 calendar attendance.

Nothing is imported here: Airflow loads this package while it is itself being imported.
"""

__version__ = "0.1.0"
