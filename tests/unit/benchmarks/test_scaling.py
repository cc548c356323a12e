import pytest

from benchmarks.model import Sample
from benchmarks.scaling import Run, Scale, describe, saturation, scale_of, serial_and_parallel, summarise


def test_the_parent_is_told_from_the_workers() -> None:
    seen = {10: {10: 0.2, 11: 0.1}, 20: {20: 0.1}, 30: {30: 1.0, 31: 0.5}, 40: {40: 0.7}}
    found = summarise(Sample(wall=2.0, cpu=3.0, servers=0.0, other=0.0), seen, parent=10)
    assert found == Run(wall=2.0, cpu=3.0, parent=pytest.approx(0.3), worker=1.5, thread=1.0)


def test_a_scale_is_the_median_of_its_runs() -> None:
    runs = [Run(3.0, 4.0, 0.5, 2.0, 1.0), Run(1.0, 5.0, 0.1, 3.0, 1.0), Run(2.0, 6.0, 0.3, 0.0, 0.0)]
    assert scale_of(2, runs) == Scale(2, wall=2.0, cpu=5.0, parent=0.3, worker_threads=2.0)


def scale(workers: int, wall: float) -> Scale:
    return Scale(workers, wall, cpu=4.0, parent=0.1, worker_threads=2.0)


def test_serial_time_is_what_more_cores_do_not_shorten() -> None:
    assert serial_and_parallel([scale(1, 5.0), scale(2, 3.0), scale(4, 2.0)]) == pytest.approx((1.0, 4.0))
    assert serial_and_parallel([scale(1, 4.0), scale(2, 1.5)])[0] == 0.0  # better than linear: nothing is serial
    assert serial_and_parallel([scale(1, 4.0), scale(2, 4.5)])[1] == 0.0  # noise: nothing became quicker


def test_stages_saturate_where_they_take_as_long_as_the_rest() -> None:
    stages = dict(saturation([scale(1, 5.0), scale(2, 3.0)], written_seconds=0.5))
    assert stages["the parent process (lists, plans, collects)"] == pytest.approx(39.0)
    assert stages["writing to this disk"] == pytest.approx(7.8)
    assert stages["start, stop and what else is serial"] == pytest.approx(4.0)


def test_one_core_tells_nothing_of_what_is_serial() -> None:
    assert len(saturation([scale(1, 5.0)], 0.5)) == 2


def test_the_description_has_a_line_for_each_scale() -> None:
    text = describe([scale(1, 4.0), scale(2, 2.0)], gigabytes=2.0, written_seconds=0.5)
    assert "| 1 | 4 | 1 | 2 | 0.05 | 2 % | 2 |" in text
    assert "| 2 | 2 | 2 | 2 | 0.05 | 2 % | 2 |" in text
    assert "| writing to this disk | 7.8 |" in text
