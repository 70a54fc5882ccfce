"""Randomness as a function of a key, instead of a state that is passed on."""

import hashlib

import numpy as np


def keyed_rng(*key: str | int) -> np.random.Generator:
    """Return a generator that depends on the key alone: a counter-based one (Philox), keyed by the key's hash."""
    digest = hashlib.blake2b("/".join(map(str, key)).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))
