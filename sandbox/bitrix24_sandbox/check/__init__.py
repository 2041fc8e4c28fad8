"""``bitrix24-sandbox check``: compare a real portal with what this project believes of portals.

:mod:`~bitrix24_sandbox.check.facts` is the table of what is believed. The same table is checked on the sandbox, and the
replies it records are read by the tests of the Airflow provider. Nothing here imports that provider.
"""
