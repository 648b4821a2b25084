"""Run the command line as `python -m avi_lib`."""

import sys

from avi_lib.cli import main

if __name__ == "__main__":
    sys.exit(main())
