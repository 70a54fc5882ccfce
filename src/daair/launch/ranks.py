"""The front end of a run with several processes: `accelerate launch` that does not outlive its launcher.

`python -m daair.launch.ranks <arguments of accelerate launch>`. The ranks in turn do not outlive the front end.
"""

import os
import sys

from daair.launch.parents import die_with_parent, name_as_parent


def main() -> None:
    """Start the ranks and wait for them."""
    die_with_parent()
    os.environ.update(name_as_parent())
    # Not the console script, which imports more and takes seconds longer.
    from accelerate.commands.launch import main as launch

    sys.argv[0] = "accelerate-launch"  # for its messages
    launch()


if __name__ == "__main__":
    main()
