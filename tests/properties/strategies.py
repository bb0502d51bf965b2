"""Values for property tests."""

from hypothesis import strategies as st

TEXT = st.text(max_size=30)
NUMBERS = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
"""Values of JSON documents."""
OBJECTS = st.dictionaries(TEXT, JSON, max_size=6)
"""JSON objects."""


def damaged(content: bytes) -> st.SearchStrategy[bytes]:
    """Return versions of `content` with a few bytes replaced, inserted or removed, or its start."""

    def edit(edits):
        changed = bytearray(content)
        for position, removed, inserted in edits:
            at = position % (len(changed) + 1)
            changed[at : at + removed] = inserted
        return bytes(changed)

    edits = st.tuples(
        st.integers(0, 10**6), st.sampled_from([0, 1, 1, 4, 100]), st.binary(max_size=4)
    )
    cut = st.integers(0, len(content)).map(lambda end: content[:end])
    return st.lists(edits, min_size=1, max_size=4).map(edit) | cut
