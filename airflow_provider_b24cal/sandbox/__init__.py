"""A local stand-in for a Bitrix24 portal: the calendar attendance methods, over real HTTP.

Run it with ``python -m airflow_provider_b24cal.sandbox``, or inside a test with
:class:`airflow_provider_b24cal.sandbox.server.SandboxServer`. It shares no code with the client of this
package, so that a mistake in the client cannot hide behind the same mistake here.
"""
