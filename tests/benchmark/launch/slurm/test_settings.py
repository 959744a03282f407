"""Settings that contradict each other are refused before anything is queued."""

from __future__ import annotations

import pytest

from benchmark.errors import UserError
from benchmark.launch.config import SlurmConfig
from benchmark.launch.slurm.settings import check_settings, parse_minutes


@pytest.mark.parametrize(
    ("text", "minutes"), [("1", 1), ("120", 120), ("2:00:00", 120), ("0:00:01", 1), ("1-00:00:30", 1441)]
)
def test_minutes_are_rounded_up(text, minutes):
    assert parse_minutes(text) == minutes


@pytest.mark.parametrize("text", ["0", "-1", "0:00:00", "nan", "8x", "2h", "1:2", "1:60:00", "", "1.5"])
def test_other_times_are_refused(text):
    with pytest.raises(UserError, match="takes minutes"):
        parse_minutes(text)


@pytest.mark.parametrize(("delay", "time"), [(60, "1"), (90, "1"), (7200, "2:00:00")])
def test_a_signal_that_would_come_at_once_is_refused(delay, time):
    with pytest.raises(UserError, match=f"signal_delay is {delay} s"):
        check_settings(SlurmConfig(signal_delay=delay, time=time))
    assert check_settings(SlurmConfig(signal_delay=59, time="1")) == 1


@pytest.mark.parametrize("name", ["array", "signal", "cpus_per_task", "cpus-per-task", "partition"])
def test_options_that_have_a_setting_are_not_extra(name):
    with pytest.raises(UserError, match=f"extra must not hold '{name}'"):
        check_settings(SlurmConfig(extra={name: "1"}))
    assert check_settings(SlurmConfig(extra={"nice": 10}, time="2")) == 2
