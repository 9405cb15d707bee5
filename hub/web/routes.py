"""The hub's pages, put together.

    /                     the overview; ?state=alarm shows only such assets; ?token=… signs in
    /fleet, /devices/…    the whole fleet, and single devices
    /alerts               the inbox; /alerts/… what people do about alerts
    /assets/…             single assets, and their alerts
    /models/…, /runs/…    models, and the runs that made them
    /rollouts/…           rollouts, and steering them
    /data/…               what came, is kept and was refused; the catalogue; the audit log
    /value                what the fleet's learning brought
    /ask                  questions in plain words
    /parts/{name}         one part of a page, for refreshing in place
    /events?parts=a,b     the stream of what has changed (server-sent events)
    /signin, /signout     see signin.py
    /static/…             styles, scripts, pictures

1. Everything but signing in and static files asks who it is (guard.py); a page sends strangers to /signin.
2. Reading takes no lock in the state database, and happens in worker threads: a slow page stops no ingest.
3. What changes something is a POST of this origin. What somebody may not do is not offered to them, and refused all the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sqlalchemy import Engine
from starlette.routing import BaseRoute, Mount

from hub.access import Access
from hub.ask.answer import Ask
from hub.operators.signin import SignIn
from hub.rollout.service import RolloutService
from hub.settings import HubConfig
from hub.state.database import reading
from hub.web.ask import AskPage
from hub.web.asset.alert_pages import AlertPages
from hub.web.asset.pages import AssetPages
from hub.web.data.pages import DataPages
from hub.web.desk import Desk, Room
from hub.web.fleet.pages import FleetPages
from hub.web.guard import PageGuard
from hub.web.inbox.pages import InboxPages
from hub.web.live_pages import LivePages
from hub.web.models.pages import ModelPages
from hub.web.overview import OverviewPage
from hub.web.render import ContentAddressedFiles, Templates
from hub.web.rollouts.pages import RolloutPages
from hub.web.seams import LakeLook
from hub.web.signin import SignInPages
from hub.web.value.pages import ValuePages
from hub.web.words import NS_PER_S

SILENT_AFTER_S: Final = 90.0  # three check-ins at the default pace


def web_routes(
    engine: Engine,
    access: Access,
    signin: SignIn,
    rollouts: RolloutService,
    lake: LakeLook,
    *,
    session_max_s: int,
    silent_after_s: float = SILENT_AFTER_S,
    profiles_dir: Path | None = None,
    config: HubConfig | None = None,
    clock: Callable[[], int] = time.time_ns,
    stopping: Callable[[], bool] = lambda: False,
    ask: Ask | None = None,
) -> list[BaseRoute]:
    """Routes for the hub's app. `stopping` tells open streams to end, so that the server need not wait for them.
    `ask` None: nothing can be asked."""
    config = config or HubConfig()
    templates = Templates()
    desk = Desk(reading(engine), templates, int(silent_after_s * NS_PER_S), clock, stopping)
    signing = SignInPages(access, signin, templates, session_max_s)
    guard = PageGuard(access)
    rooms: list[Room] = [  # in the order of the navigation
        OverviewPage(desk, signing),
        FleetPages(desk),
        InboxPages(desk, engine, config.notify),
        AssetPages(desk, lake, profiles_dir),
        AlertPages(desk, lake, profiles_dir),
        ModelPages(desk, engine),
        RolloutPages(desk, rollouts),
        DataPages(desk, engine, lake, config, profiles_dir),
        ValuePages(desk, engine, lake, profiles_dir),
        *([AskPage(desk, ask)] if ask else []),
        LivePages(desk, access),
    ]
    desk.take_in(rooms)
    routes = [route for room in rooms for route in room.routes(guard)]
    return [*routes, *signing.routes(), Mount("/static", ContentAddressedFiles(), name="static")]
