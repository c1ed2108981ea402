"""The study of records that the tests of the report have, for commands that read one."""

from tests.report.conftest import arguments, here, study

__all__ = ["arguments", "here", "study"]
