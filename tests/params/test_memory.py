"""The setting to lower where memory runs out, by stage."""

from rankwise.params import memory


def test_every_stage_that_may_need_much_has_a_setting() -> None:
    assert memory.advise_less_memory(["covariance", "dense"]).startswith("lower covariance.batch")
    assert "--cores" in memory.advise_less_memory(["sample", "test"])
