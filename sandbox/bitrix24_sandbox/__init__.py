"""A local stand-in for a Bitrix24 portal: the calendar's attendance methods, over real HTTP.

Run it with ``bitrix24-sandbox``, or inside a test with :class:`bitrix24_sandbox.server.SandboxServer`. It shares no
code with any client, so that a mistake in a client cannot hide behind the same mistake here.
"""

__version__ = "0.1.0"
