"""Random generators that depend on a key alone, so that no state is passed from one draw to the next."""

import hashlib

import numpy as np


def keyed_rng(*key: str | int) -> np.random.Generator:
    """Return a counter-based generator (Philox) that is keyed by the hash of `key`."""
    digest = hashlib.blake2b("/".join(map(str, key)).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))
