"""`tocsin hub rollout …`: start, watch and steer rollouts. The steps themselves are taken by `tocsin hub serve`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from hub.audit.log import cli_actor
from hub.rollout.service import RolloutService
from hub.settings import load_hub
from hub.state.database import open_state
from hub.terminal import data_option, json_option, plain


@click.group()
def rollout() -> None:
    """Bring a bundle to its profile's devices by stages: shadow, canary, waves."""


@rollout.command()
@click.argument("bundle_id")
@data_option
@click.option("--skip-shadow", is_flag=True, help="Begin with the canary: the candidate decides there at once.")
@click.option("--canaries", type=click.IntRange(min=1), help="How many devices go first (default: a tenth, each kind once).")
@click.option("--waves", type=click.IntRange(min=1), default=1, show_default=True, help="Cohorts that follow the canary.")
@click.option("--min-windows", type=click.IntRange(min=1), help="Clean windows that each stage needs (default: 60).")
@json_option
def start(bundle_id: str, data: Path, as_json: bool, **options: Any) -> None:
    """Start a rollout of BUNDLE_ID."""
    with _service(data) as service:
        rollout_id = service.start(bundle_id, now_ns=time.time_ns(), actor=cli_actor(), **options)
        found = service.get(rollout_id)
    stages = ", ".join(f"{stage['name']} ({len(stage['devices'])})" for stage in found["plan"]["stages"])
    click.echo(json.dumps(found) if as_json else f"{rollout_id} started: {stages}")


@rollout.command("list")
@data_option
@click.option("--profile", help="Only this profile's.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
@json_option
def list_rollouts(data: Path, profile: str | None, limit: int, as_json: bool) -> None:
    """Rollouts, newest first."""
    with _service(data) as service:
        found = service.list(profile, limit)
    if as_json:
        click.echo(json.dumps(found))
        return
    for summary in found:
        click.echo(plain(_line(summary)))
    if not found:
        click.echo("no rollouts yet")


@rollout.command()
@click.argument("rollout_id", required=False)
@data_option
@click.option("--watch", is_flag=True, help="Show each change until it has ended.")
@json_option
def status(rollout_id: str | None, data: Path, watch: bool, as_json: bool) -> None:
    """What a rollout (default: the latest) waits for, and what was decided so far."""
    with _service(data) as service:
        if rollout_id is None:
            newest = service.list(limit=1)
            if not newest:
                raise click.ClickException("no rollouts yet")
            rollout_id = str(newest[0]["rollout_id"])
        shown: list[str] = []
        while True:
            found = service.get(rollout_id)
            shown = _show(found, shown, as_json)
            if found["ended"] or not watch:
                return
            time.sleep(1.0)


@rollout.command()
@click.argument("rollout_id")
@data_option
@json_option
def pause(rollout_id: str, data: Path, as_json: bool) -> None:
    """Hold a rollout at its stage."""
    _steer(data, rollout_id, "pause", "paused", as_json)


@rollout.command()
@click.argument("rollout_id")
@data_option
@json_option
def resume(rollout_id: str, data: Path, as_json: bool) -> None:
    """Let a paused rollout go on."""
    _steer(data, rollout_id, "resume", "resumed", as_json)


@rollout.command()
@click.argument("rollout_id")
@data_option
@json_option
def abort(rollout_id: str, data: Path, as_json: bool) -> None:
    """End a rollout; devices return to the incumbent at their next check-in."""
    _steer(data, rollout_id, "abort", "aborted", as_json)


@rollout.command("rollback")
@click.argument("rollout_id")
@data_option
@json_option
def roll_back(rollout_id: str, data: Path, as_json: bool) -> None:
    """Return every device to the incumbent, also after a rollout is done; `status --watch` shows when they have."""
    _steer(data, rollout_id, "rollback", "halted; its devices return to the incumbent", as_json)


def _steer(data: Path, rollout_id: str, step: str, outcome: str, as_json: bool) -> None:
    with _service(data) as service:
        service.steer(rollout_id, step, now_ns=time.time_ns(), actor=cli_actor())
        found = service.get(rollout_id)
    click.echo(json.dumps(found) if as_json else f"{rollout_id} {outcome}")


@contextmanager
def _service(data: Path) -> Iterator[RolloutService]:
    hub = load_hub(data)
    engine = open_state(hub.state_url)
    try:
        yield RolloutService(engine, require_approval=hub.config.require_approval)
    finally:
        engine.dispose()


def _line(summary: dict[str, Any]) -> str:
    at = f"{summary['stage']} ({summary['stage_index'] + 1} of {summary['n_stages']})"
    reason = f": {summary['reason']}" if summary["reason"] else ""
    return f"{summary['rollout_id']:<20} {summary['state']:<12} {at:<20} {summary['bundle_id']}{reason}"


def _show(found: dict[str, Any], shown: list[str], as_json: bool) -> list[str]:
    """Print what is new since `shown`, the lines of last time; the lines of this time."""
    if as_json:
        line = json.dumps(found)
        if [line] != shown:
            click.echo(line)
        return [line]
    lines = [_line(found)]
    lines += [_event_line(event) for event in found["events"]]
    lines += [f"  now {gate['verdict']:<5} {gate['gate']}: {gate['reason']}" for gate in found["gates"]]
    for line in lines:
        if line not in shown:
            click.echo(plain(line))
    return lines


def _event_line(event: dict[str, Any]) -> str:
    at = datetime.fromtimestamp(event["at_ns"] // 1_000_000_000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    reason = event["figures"].get("reason", "")
    return f"  {at} {event['stage']:<8} {event['event']}{': ' + reason if reason else ''}"
