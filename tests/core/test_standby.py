"""How long work is waited for, on a clock that the test turns."""

import pytest

from eye_dx_core.standby import stand_by


class Clock:
    """Time that passes only while somebody sleeps."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    turned = Clock()
    monkeypatch.setattr("eye_dx_core.standby.time", turned)
    return turned


def never() -> bool:
    return False


def test_it_ends_when_nothing_has_come_for_a_while(clock: Clock):
    assert stand_by(never, must_give_way=never, must_end=never, idle_seconds=60, total_seconds=3600) == 0
    assert clock.now == 60


def test_each_piece_of_work_starts_the_wait_anew(clock: Clock):
    comes_at = [10.0, 65.0, 120.0]

    def work() -> bool:
        if comes_at and clock.now >= comes_at[0]:
            comes_at.pop(0)
            return True
        return False

    assert stand_by(work, must_give_way=never, must_end=never, idle_seconds=60, total_seconds=3600) == 3
    assert clock.now == 180


def test_without_patience_it_looks_once(clock: Clock):
    assert stand_by(never, must_give_way=never, must_end=never, idle_seconds=0, total_seconds=3600) == 0
    assert clock.now == 0


def test_it_gives_way_to_who_waits(clock: Clock):
    assert stand_by(never, must_give_way=lambda: clock.now >= 20, must_end=never, idle_seconds=600, total_seconds=3600) == 0
    assert clock.now == 20


def test_it_never_goes_on_for_ever_however_much_comes(clock: Clock):
    def work() -> bool:
        clock.sleep(10)
        return True

    assert stand_by(work, must_give_way=never, must_end=never, idle_seconds=60, total_seconds=100) == 10


def test_it_ends_when_it_is_told_to_however_much_comes(clock: Clock):
    def work() -> bool:
        clock.sleep(1)
        return True

    assert stand_by(work, must_give_way=never, must_end=lambda: clock.now >= 20, idle_seconds=60, total_seconds=3600) == 20


def test_what_goes_wrong_in_the_work_is_not_swallowed(clock: Clock):
    def work() -> bool:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        stand_by(work, must_give_way=never, must_end=never, idle_seconds=60, total_seconds=100)
