"""What goes into the log, and into messages, and what must not."""

from __future__ import annotations

import json
import logging

import pytest

from vppctl.agent.logs import set_up_logging
from vppctl.errors import UsageError
from vppctl.store.settings import parse_endpoints

log = logging.getLogger("vppctl.test")


def fail(secret: str) -> None:
    raise ValueError(f"while packing {secret}")


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_error_of_ours_is_told_by_its_place(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Once, all that was to be read was that a thread had died; what the error says may repeat a secret."""
    logger = logging.getLogger("vppctl")
    before = logger.handlers[:], logger.propagate, logger.level
    try:
        set_up_logging(form, "info")
        try:
            fail("hunter2")
        except ValueError:
            log.exception("thread %s has died", "x")
    finally:
        logger.handlers[:], logger.propagate = before[0], before[1]
        logger.setLevel(before[2])
    line = capsys.readouterr().err
    text = json.loads(line)["message"] if form == "json" else line
    assert "thread x has died: ValueError at test_logs.py:" in text
    assert " fail < test_logs.py:" in text
    assert "hunter2" not in line


@pytest.mark.parametrize("endpoint", ["root:hunter2@10.0.0.1:2379", "http://root:hunter2@10.0.0.1:2379"])
def test_a_password_in_an_endpoint_is_not_repeated(endpoint: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_endpoints(endpoint)
    assert str(refused.value) == "...@'10.0.0.1:2379' is no endpoint; write HOST:PORT, and the user as --user"
