"""`tocsin hub triggers`: what starts training runs by itself, and how far it is from doing so."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

import click

from hub.lake.lake import open_lake
from hub.settings import load_hub
from hub.state.database import open_state
from hub.terminal import data_option, json_option, show_table
from hub.training.triggers import due
from hub.training.watch import facts_of, profiles_of, settings_of


@click.command()
@data_option
@json_option
def triggers(data: Path, as_json: bool) -> None:
    """What would start a training run by itself, by profile: settings are `retrain_...` in hub.toml. Nothing is started."""
    hub = load_hub(data)
    settings = settings_of(hub.config)
    engine, lake, now_ns = open_state(hub.state_url), open_lake(hub.lake_url), time.time_ns()
    try:
        facts = [facts_of(engine, lake, profile, now_ns) for profile in profiles_of(engine)]
    finally:
        engine.dispose()
    found = [(each, due(settings, each, now_ns)) for each in facts]
    if as_json:
        rows = [asdict(each) | {"drift_share": each.drift_share, "due": asdict(what) if what else None} for each, what in found]
        click.echo(json.dumps({"settings": asdict(settings), "profiles": rows}))
        return
    if not settings.any_on:
        click.echo("no trigger is on; set retrain_every_h, retrain_drift_share or retrain_feedback in hub.toml")
    shown = []
    for each, what in found:
        moved = f"{each.n_drifted} of {each.n_assets}"
        shown.append((each.profile, _age(each.last_run_ns, now_ns), moved, each.n_feedback, what.reason if what else "no"))
    show_table(("profile", "latest run", "assets moved", "alerts judged", "due"), shown, "no profile is watched yet")


def _age(at_ns: int | None, now_ns: int) -> str:
    return "never" if at_ns is None else f"{(now_ns - at_ns) / 3.6e12:.1f} h ago"
