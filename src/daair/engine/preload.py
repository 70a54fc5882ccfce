"""Import what every run imports; the warm server of a sweep imports this module and forks the runs.

The commit is noted here too: all runs use the code as it was imported, even if somebody changes it during the sweep.
"""

import torch._dynamo  # noqa: F401  (the first optimizer imports it)

import daair.engine.evaluate
import daair.engine.train  # noqa: F401
from daair.runs.environment import git_diff, git_state

git_state()
git_diff()
