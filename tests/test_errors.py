"""Errors that name arguments become errors that name config keys."""

import pytest

from daair.errors import UserError, naming_full_keys, unknown_name, with_full_keys

ARGUMENTS = ("patch", "root", "tasks", "on_bad_file")


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("patch: 64 is too large", "mix.patch: 64 is too large"),
        (
            "tasks.rain.pairs: missing; tasks.rain.degrade=null",
            "mix.tasks.rain.pairs: missing; mix.tasks.rain.degrade=null",
        ),
        (
            "a/b.png: damaged, or skip it with on_bad_file=skip",
            "a/b.png: damaged, or skip it with mix.on_bad_file=skip",
        ),
        ("/data/root=3/patch: no folder; mix.root=DIR", "/data/root=3/patch: no folder; mix.root=DIR"),
        ("patches: 3; a root for all", "patches: 3; a root for all"),
    ],
)
def test_arguments_get_the_key_of_their_node(text, full):
    assert with_full_keys(text, "mix", ARGUMENTS) == full
    assert with_full_keys(text, "mix", ()) == text
    with pytest.raises(UserError) as caught, naming_full_keys("mix", ARGUMENTS):
        raise UserError(text)
    assert str(caught.value) == full


def test_an_unknown_name_is_told_with_the_nearest_or_all():
    assert unknown_name("rian", ["rain", "haze"]) == "'rian' is unknown; did you mean rain?"
    assert unknown_name("qq", {"rain": 1, "haze": 2}) == "'qq' is unknown; known are rain, haze"
