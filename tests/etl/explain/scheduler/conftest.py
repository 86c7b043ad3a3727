from __future__ import annotations

import pytest

from tests.etl.explain.scheduler.device import Device


@pytest.fixture
def make():
    made = []

    def build(**options):
        made.append(Device(**options))
        return made[-1]

    yield build
    for device in made:
        device._freely = True
        device._leave.release(1000)
        device.scheduler.close()


@pytest.fixture
def device(make):
    return make()
