"""Looks at parts that hang, that take long, and that fail with a secret in their text."""

import threading
import time

from eye_dx_dagster.monitor.looking import Part

SECRET = "s3cret-of-nobody"


def test_what_hangs_keeps_no_scrape_waiting_and_is_looked_at_once():
    release, looks = threading.Event(), []

    def hang() -> int:
        looks.append(1)
        release.wait(20)
        return 7

    part = Part("slow", hang, keep_seconds=60)
    began = time.monotonic()
    for _ in range(3):
        part.begin()
        assert part.wait(until=time.monotonic() + 0.1).problem == "does not answer in time"
    assert time.monotonic() - began < 5
    assert looks == [1]

    release.set()
    assert part.wait(until=time.monotonic() + 5).value == 7
    part.begin()
    assert part.wait(until=time.monotonic()).value == 7
    assert looks == [1]


def test_what_takes_long_is_told_as_it_was_while_it_is_found_anew():
    values = iter(range(10))

    def count() -> int:
        time.sleep(0.2)
        return next(values)

    part = Part("day", count, keep_seconds=0.05, lag_seconds=60)
    part.begin()
    assert part.wait(until=time.monotonic() + 5).value == 0
    time.sleep(0.1)

    part.begin()
    began = time.monotonic()
    assert part.wait(until=time.monotonic() + 5).value == 0
    assert time.monotonic() - began < 0.15
    time.sleep(0.4)
    assert part.wait(until=time.monotonic() + 5).value == 1


def test_an_error_that_is_not_ours_is_told_by_its_class_only():
    def fail() -> int:
        raise RuntimeError(f"postgresql://clinic:{SECRET}@db")

    part = Part("records", fail, keep_seconds=1)
    part.begin()

    assert part.wait(until=time.monotonic() + 5).problem == "an error of ours (RuntimeError)"


def test_what_answered_at_once_is_told_however_long_another_part_took():
    fast, slow = Part("disk", lambda: 7, keep_seconds=0.05), Part("registry", lambda: time.sleep(0.3), keep_seconds=0.05)
    until = time.monotonic() + 5
    for part in (slow, fast):
        part.begin()

    assert slow.wait(until=until).problem is None
    assert fast.wait(until=until).value == 7


def test_many_scrapes_at_once_look_once():
    looks: list[int] = []
    part = Part("records", lambda: looks.append(1), keep_seconds=60)

    def scrape() -> None:
        part.begin()
        part.wait(until=time.monotonic() + 5)

    scrapes = [threading.Thread(target=scrape) for _ in range(20)]
    for one in scrapes:
        one.start()
    for one in scrapes:
        one.join()

    assert looks == [1]
