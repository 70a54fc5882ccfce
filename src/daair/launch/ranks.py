"""Start the ranks of a run by `accelerate launch`, in a front end that ends with its launcher.

Usage: `python -m daair.launch.ranks <arguments of accelerate launch>`. The ranks end with the front end.
"""

import os
import sys

from daair.launch.parents import die_with_parent, name_as_parent


def main() -> None:
    """Start the ranks and wait for them."""
    die_with_parent()
    os.environ.update(name_as_parent())
    # The console script would import more and take seconds longer.
    from accelerate.commands.launch import main as launch

    sys.argv[0] = "accelerate-launch"  # for its messages
    launch()


if __name__ == "__main__":
    main()
