import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.oci.json_text import dumps

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_agrees_with_the_json_package(value):
    assert json.loads(dumps(value)) == value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"x", {1: 2}, object()])
def test_refuses_what_json_cannot_say(value):
    with pytest.raises(TypeError):
        dumps(value)
