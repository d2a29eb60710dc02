"""Whatever a document holds, the compiler makes a plan that fits the instruction set or refuses it in one line."""

from __future__ import annotations

import copy

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.runtime.compiling import V1, make_host, options
from tests.unit.runtime.test_golden_plans import everything, rootless, user_namespace
from wherry.errors import WherryError
from wherry.runtime.compile.container import compile_container

JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 70), 1 << 70),
    st.floats(),
    st.sampled_from(
        ["", "/", "..", "/..", "a\0b", "\udcff", "ü" * 300, "=", "0-1", "-1", "rbind", "proc", "user", "\n"]
    ),
    st.text(max_size=6),
    st.lists(st.one_of(st.integers(), st.text(max_size=3), st.none()), max_size=3),
    st.dictionaries(st.text(max_size=4), st.one_of(st.integers(), st.text(max_size=3), st.none()), max_size=3),
)
DOCUMENTS = [everything(), rootless(), user_namespace()]


def places(value, at=()):
    """The path to every member of a document."""
    found = [at] if at else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += places(item, (*at, key))
    return found


PLACES = [(number, place) for number, document in enumerate(DOCUMENTS) for place in places(document)]


@settings(max_examples=1500, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PLACES), JUNK), min_size=1, max_size=3), st.booleans(), st.booleans())
def test_no_document_breaks_the_compiler(changes, root, version_1):
    document = copy.deepcopy(DOCUMENTS[changes[0][0][0]])
    for (_, place), junk in changes:
        target = document
        try:
            for key in place[:-1]:
                target = target[key]
            target[place[-1]] = junk
        except (KeyError, IndexError, TypeError):
            continue
    host = make_host(apparmor=True, selinux=True, euid=0 if root else 1000, egid=0 if root else 1000)
    if version_1:
        host = make_host(cgroups=V1)
    try:
        plan = compile_container(document, host, options(console_socket="/c"))
    except WherryError as error:
        assert "\n" not in str(error)
        return
    plan.encode()
