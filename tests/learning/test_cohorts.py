"""Who goes first: spread over sites and hardware, the same for the same rollout."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from hub.rollout.cohorts import Member, choose_canaries, default_canary_count, split_waves

_members = st.lists(
    st.builds(
        Member,
        st.text("abcdef0123", min_size=1, max_size=8),
        st.sampled_from("AB"),
        st.sampled_from(["pi4", "pi5"]),
        st.booleans(),
        st.sampled_from(["under 7 days", "over 180 days"]),
    ),
    min_size=1,
    max_size=40,
    unique_by=lambda member: member.device_id,
)


@given(_members, st.integers(1, 12), st.text(max_size=8), st.randoms())
def test_choice_depends_on_the_set_and_the_seed_only(members, count, seed, random) -> None:
    shuffled = list(members)
    random.shuffle(shuffled)
    assert choose_canaries(members, count, seed) == choose_canaries(shuffled, count, seed)


@given(_members, st.integers(1, 12), st.text(max_size=8))
def test_choice_has_the_size_asked_for_and_no_strangers(members, count, seed) -> None:
    chosen = choose_canaries(members, count, seed)
    assert len(chosen) == len(set(chosen)) == min(count, len(members))
    assert set(chosen) <= {member.device_id for member in members}


@given(_members, st.text(max_size=8))
def test_every_stratum_with_a_recent_device_is_among_as_many_canaries(members, seed) -> None:
    recent = {member.stratum for member in members if member.recent}
    by_id = {member.device_id: member for member in members}
    chosen = choose_canaries(members, max(1, len(recent)), seed)
    if recent:
        assert {by_id[device_id].stratum for device_id in chosen} == recent


@given(_members, st.integers(1, 6), st.text(max_size=8))
def test_waves_are_a_partition_of_about_equal_parts(members, n_waves, seed) -> None:
    waves = split_waves(members, n_waves, seed)
    assert sorted(device_id for wave in waves for device_id in wave) == sorted(member.device_id for member in members)
    assert max(map(len, waves)) - min(map(len, waves)) <= 1


def test_canaries_are_not_the_first_n() -> None:
    members = [Member(f"gw-{i:03}", "A", "pi4") for i in range(100)]
    drawn = Counter(device_id for seed in range(200) for device_id in choose_canaries(members, 5, f"r{seed}"))
    assert len(drawn) > 90
    assert max(drawn.values()) < 30


def test_an_offline_device_is_not_a_canary_where_another_is_there() -> None:
    members = [Member("gone", "A", "pi4", recent=False), Member("here", "A", "pi4"), Member("away", "B", "pi5", recent=False)]
    assert choose_canaries(members, 1, "r") == ["here"]


def test_default_count_takes_one_of_each_kind_but_never_more_than_half() -> None:
    two_kinds = [Member(f"gw-{i}", "A" if i < 3 else "B", "pi4") for i in range(6)]
    assert default_canary_count(two_kinds) == 2
    assert default_canary_count([Member("a", "A", "x"), Member("b", "B", "y")]) == 1
    assert default_canary_count([Member("only", "A", "x")]) == 1
    assert default_canary_count([Member(f"gw-{i}", "A", "x") for i in range(45)]) == 5
