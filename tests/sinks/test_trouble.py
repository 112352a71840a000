"""How long trouble has lasted, whose it is, and when it is tried again."""

from __future__ import annotations

from sinks.trouble import SEVERAL, Trouble


def test_at_first_all_is_well() -> None:
    trouble = Trouble()
    assert (trouble.since, trouble.slowed, trouble.common, trouble.lasted_s(99.0)) == (None, False, False, 0.0)


def test_trouble_lasts_from_the_first_failure_on() -> None:
    trouble = Trouble()
    trouble.seen("a", 10.0)
    trouble.seen("a", 12.0)
    trouble.seen("b", 14.0)
    assert (trouble.since, trouble.lasted_s(15.0)) == (10.0, 5.0)


def test_so_many_different_entities_that_fail_have_something_in_common() -> None:
    trouble = Trouble()
    for _ in range(2 * SEVERAL):
        trouble.seen("always the same", 1.0)
    for number in range(SEVERAL - 2):
        trouble.seen(f"entity {number}", 1.0)
    assert not trouble.common
    trouble.seen("one more", 1.0)
    assert trouble.common
    for number in range(100):
        trouble.seen(f"entity {number}", 1.0)
    assert len(trouble.entities) == SEVERAL, "no more are remembered than matter"


def test_failures_of_entities_alone_pause_nothing() -> None:
    trouble = Trouble()
    trouble.seen("a", 10.0)
    assert (trouble.slowed, trouble.not_before, trouble.failures) == (False, 0.0, 0)


def test_failures_that_come_while_a_pause_is_on_are_one_round() -> None:
    trouble = Trouble()
    for now in (10.0, 10.0, 10.5):
        trouble.pause(now, 1.0)
    assert (trouble.failures, trouble.not_before, trouble.slowed) == (1, 11.5, True)
    trouble.pause(11.5, 2.0)
    assert (trouble.failures, trouble.not_before) == (2, 13.5)


def test_a_shorter_pause_never_shortens_a_longer_one() -> None:
    trouble = Trouble()
    trouble.pause(10.0, 60.0)
    trouble.pause(11.0, 1.0)
    assert trouble.not_before == 70.0


def test_a_success_ends_all_of_it() -> None:
    trouble = Trouble()
    for number in range(SEVERAL):
        trouble.seen(f"entity {number}", 1.0)
    trouble.pause(1.0, 60.0)
    trouble.over(20.0)
    assert trouble == Trouble()
    trouble.seen("a", 50.0)
    assert trouble.lasted_s(51.0) == 1.0


def test_a_success_does_not_end_the_silence_that_the_other_side_asked_for() -> None:
    trouble = Trouble()
    trouble.seen("a", 10.0)
    trouble.pause(10.0, 35.0, asked_s=30.0)
    trouble.over(12.0)
    assert (trouble.since, trouble.failures, trouble.not_before, trouble.slowed) == (None, 0, 40.0, True)
    trouble.over(40.0)
    assert (trouble.not_before, trouble.slowed) == (0.0, False)
