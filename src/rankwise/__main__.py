"""``python -m rankwise``: the command line, in this process or in a fork of one that has it loaded.

Nothing heavy is imported before it is known where the command runs.
"""

import os
import signal
import sys

from rankwise.forkserver.address import ADDRESS


def main() -> None:
    """Run one command where it starts soonest; one that is interrupted ends with 130, even while it loads."""
    try:
        if ADDRESS in os.environ:
            from rankwise.forkserver import client

            code = client.run(sys.argv)
            if code is not None:
                sys.exit(code)
        from rankwise import cli

        cli.main()
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
