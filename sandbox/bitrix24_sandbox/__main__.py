"""``python -m bitrix24_sandbox``: the same as the command ``bitrix24-sandbox``."""

import sys

from bitrix24_sandbox.cli import main

if __name__ == "__main__":
    sys.exit(main())
