"""Import one module of a large package without the rest of it.

`import timm.layers.norm` first runs the `__init__` of `timm` and `timm.layers`, which import all networks of timm,
torchvision's with `torch._dynamo`, and W&B: three seconds for a class of ten lines.
"""

import importlib
import importlib.util
import sys
from itertools import accumulate
from types import ModuleType


def submodule(name: str) -> ModuleType:
    """Import and return a module, such as `timm.layers.norm`, without running the packages that contain it.

    The packages are left for whoever imports them later; they then find this module, so its classes exist once.

    Raises:
        ModuleNotFoundError: There is no such module.
    """
    if name in sys.modules:
        return sys.modules[name]
    bare = []
    try:
        for parent in accumulate(name.split(".")[:-1], "{}.{}".format):
            if parent not in sys.modules:
                spec = importlib.util.find_spec(parent)
                if spec is None:
                    raise ModuleNotFoundError(f"No module named {parent!r}", name=parent)
                sys.modules[parent] = importlib.util.module_from_spec(spec)  # has the path, but nothing has run
                bare.append(parent)
        return importlib.import_module(name)
    finally:
        for parent in bare:
            del sys.modules[parent]
