"""What check-ins tell of assets that are not judged, as of a machine at rest: an inference, and a careful one."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from sqlalchemy import insert

from hub.state.database import connect_state
from hub.state.schema import profile_days
from models.contract.checkin import AssetReport
from tests.hub.conftest import HubClient
from tests.hub.simulated_device import NOW_NS, SPEC, SimulatedDevice
from tocsin.cli import cli


@pytest.fixture
def judged(client: HubClient) -> HubClient:
    """A hub that has seen windows of pumps decided."""
    counts = ("n_windows", "n_learning", "n_faulty", "n_alarm", "n_clean", "n_unlikely", "watched_ns", "n_readings")
    engine = connect_state(client.hub.state_url)
    with engine.begin() as connection:
        row = dict.fromkeys(counts, 0) | {"profile": "pump", "detector": "baseline", "day": 20_000}
        connection.execute(insert(profile_days).values(row))
    engine.dispose()
    return client


class Watched:
    """A device that checks in with one asset."""

    def __init__(self, client: HubClient) -> None:
        self._client = client
        self._device: SimulatedDevice = client.enrolled()
        self._n = 0

    def says(
        self, state: str, p: float | None, profile: str = "pump", starts: int = 1, up_s: float = 60.0, normal_s: float = 60.0
    ) -> tuple[str, int | None]:
        """What the hub tells of the asset after another check-in: its state, and since when."""
        self._n += 1
        at_ns = NOW_NS + self._n
        since_ns = at_ns - int(normal_s * 10**9)
        report = AssetReport(asset="p1", profile=profile, spec_hash=SPEC, state=state, p_value=p, since_ns=since_ns)  # type: ignore[arg-type]
        body = self._device.checkin(assets=[report], starts=starts, at_ns=at_ns, uptime_s=up_s)
        assert self._client.http.post("/v1/checkin", content=body).status_code == 200
        [found] = self._client.get(f"/v1/devices/{self._device.device_id}")["assets"]
        return found["state"], None if found["since_ns"] == since_ns else found["since_ns"]


def test_a_machine_that_rests_is_not_judged_since_the_hub_heard_so_and_then_is_again(judged: HubClient) -> None:
    pump = Watched(judged)
    assert pump.says("normal", 0.4) == ("normal", None)
    state, since_ns = pump.says("normal", None)
    assert state == "not_judged"
    assert since_ns is not None  # not since when it is normal: the hub has a time of its own
    assert pump.says("normal", None) == ("not_judged", since_ns)
    assert judged.get("/v1/summary")["assets"] == {"not_judged": 1}
    assert pump.says("normal", 0.4) == ("normal", None)


def test_after_a_start_there_is_time_for_a_first_window_to_close(judged: HubClient) -> None:
    pump = Watched(judged)
    assert [pump.says("normal", None, up_s=up_s)[0] for up_s in (30, 90, 900)] == ["normal"] * 3
    assert pump.says("normal", None, up_s=3700, normal_s=1800)[0] == "normal"  # it was commissioned half an hour ago
    assert pump.says("normal", None, up_s=7200, normal_s=5300)[0] == "not_judged"
    assert pump.says("normal", None, starts=2)[0] == "not_judged"  # what was not judged before a start is not because of it
    assert pump.says("normal", 0.2, starts=3)[0] == "normal"
    assert pump.says("normal", None, starts=4)[0] == "normal"


@pytest.mark.parametrize("state", ["commissioning", "alarm", "silent"])
def test_other_states_stay_what_they_are(judged: HubClient, state: str) -> None:
    pump = Watched(judged)
    pump.says("normal", 0.4)
    assert pump.says(state, None)[0] == state
    assert pump.says("normal", None)[0] == "normal"  # not known yet
    assert pump.says("normal", None, up_s=3700, normal_s=3650)[0] == "not_judged"


def test_a_profile_that_is_judged_by_readings_alone_is_not_called_unjudged(judged: HubClient) -> None:
    meter = Watched(judged)
    assert [meter.says("normal", None, profile="meter", up_s=9000, normal_s=8000)[0] for _ in range(3)] == ["normal"] * 3


def test_the_command_line_and_prometheus_say_so(judged: HubClient) -> None:
    pump = Watched(judged)
    pump.says("normal", 0.4)
    pump.says("normal", None)
    shown = CliRunner().invoke(cli, ["hub", "devices", "--data", str(judged.hub.paths.root)]).output
    assert "p1 (not judged)" in shown
    assert 'tocsin_assets{state="not_judged"} 1.0' in judged.http.get("/metrics", headers=judged.auth).text
