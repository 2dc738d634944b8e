"""The search of `nox -s fuzz` tries the properties of tests/unit, the same ones for a seed."""

from tests.fuzz import properties


def test_a_seed_in_words_is_always_the_same_number() -> None:
    assert properties.number_of("2026-11-25") == properties.number_of("2026-11-25")
    assert properties.number_of("2026-11-25") != properties.number_of("2026-11-26")
    words = properties.argv("q7", 3)
    assert f"--hypothesis-seed={properties.number_of('q7')}" in words
    assert words[words.index("-m", 3) : words.index("-m", 3) + 2] == ["-m", "hypothesis"]
