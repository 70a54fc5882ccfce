"""The signature of a target is the schema of its node."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated

import pytest
from annotated_types import MinLen

from daair.components import locate
from daair.config import signatures
from daair.config.problems import explain_unknown
from daair.models.experts import ExpertLayout


class Widget:
    """A target for the checks below."""

    def __init__(
        self,
        size: int,
        part: "Widget | None" = None,
        names: tuple[str, ...] = (),
        anything=None,
        ratio: float | None = None,
        ranges: Mapping[str, Annotated[Sequence[float], MinLen(1)]] | None = None,
        layout: ExpertLayout | None = None,
        **more,
    ):
        """Takes more."""


def test_signatures_are_the_schema():
    target = f"{__name__}.Widget"
    part = {"_target_": target, "names": [3]}
    anything = [{"_target_": target, "size": True}, {"deep": {"_target_": "nix.x"}}]
    node = {"_target_": target, "size": 1.5, "part": part, "anything": anything, "new": 2, "layout": {"rnk": 1}}
    _, problems, known = signatures.check(node, "w")
    assert [str(problem) for problem in explain_unknown(problems, known)] == [
        "w.layout.rnk: unknown; did you mean w.layout.rank?",
        "w.size: must be an integer, got 1.5",
        "w.part.size: missing",
        "w.part.names[0]: must be a text, got 3",
        "w.anything[0].size: must be an integer, got true",
        "w.anything[1].deep._target_: cannot import nix.x: No module named 'nix'",
    ]
    node = {"_target_": target, "size": 1, "ratio": 2, "ranges": {"a": [1, 2]}, "layout": {"rank": 1}, "new": 2}
    checked, problems, _ = signatures.check(node, "w")
    assert not problems and checked == node
    assert isinstance(checked["ratio"], float) and isinstance(checked["ranges"]["a"][0], float)
    assert isinstance(checked["size"], int) and isinstance(checked["new"], int)


def test_locate():
    assert locate("json.dumps") is json.dumps
    for path, text in {
        "json.dump5": "cannot import json.dump5: json has no dump5; did you mean dump?",
        "json": "json is not a class or function",
        "a b": "'a b' is not a dotted path",
        "nix.x": "cannot import nix.x: No module named 'nix'",
    }.items():
        with pytest.raises(ImportError, match="^" + text.replace("?", r"\?")):
            locate(path)
