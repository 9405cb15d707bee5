"""The tables of the hub's state, for SQLite by default and PostgreSQL by URL (SQLAlchemy Core, no ORM).

The lake holds the data; these tables hold what decisions are made from and what people look at. Times are Unix ns.
Every table's writer is named beside it, so that two parts never write the same row.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Boolean, Column, Float, Index, Integer, LargeBinary, MetaData, String, Table, Text

metadata = MetaData()

# --- enrolment and check-in (hub/devices) -------------------------------------------------------------------------
devices = Table(
    "devices",
    metadata,
    Column("device_id", String(64), primary_key=True),
    Column("public_key", LargeBinary, nullable=False),
    Column("site", String(64), nullable=False),
    Column("hardware", Text, nullable=False),
    Column("agent_version", String(64), nullable=False),
    Column("enrolled_ns", BigInteger, nullable=False),
    Column("last_seen_ns", BigInteger, nullable=False),
    Column("checkin", JSON),  # the latest CheckIn, as JSON
    Column("backlog_items", BigInteger),  # these two out of it, so that a fleet is sorted by them without reading each
    Column("survival_days", Float),
    Column("health", JSON),  # the latest Health item (written by the state projector)
    Column("state", String(16), nullable=False, server_default="active"),  # active, suspended, revoked
    Column("state_reason", Text, nullable=False, server_default=""),
    Column("state_ns", BigInteger),  # since when; None = since it enrolled
    Column("claim_id", String(64)),  # the claim token that let it in; None = the join token
    Column("profiles", JSON),  # that its claim token allows; None = any
    Column("previous_key", LargeBinary),  # before the latest change of keys
    Column("key_since_ns", BigInteger),  # when the present key was pinned; None = at enrolment
    Column("writers", JSON),  # who has spoken under its name in this epoch (hub/devices/clones.py)
    # All that pages of a whole fleet look at: rows are kilobytes long, and this is read instead of them.
    Index("devices_at_a_glance", "device_id", "last_seen_ns", "site", "state", "backlog_items", "survival_days"),
)
claim_tokens = Table(
    "claim_tokens",
    metadata,
    Column("token_id", String(64), primary_key=True),
    Column("public_key", LargeBinary, nullable=False),  # the secret's other half: all that the hub keeps of it
    Column("site", String(64), nullable=False),
    Column("profiles", JSON, nullable=False),  # [] = any
    Column("max_uses", Integer, nullable=False),
    Column("n_used", Integer, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("created_by", String(128), nullable=False),
    Column("expires_ns", BigInteger, nullable=False),
    Column("revoked_ns", BigInteger),
)
bundle_failures = Table(
    "bundle_failures",
    metadata,
    Column("device_id", String(64), primary_key=True),
    Column("bundle_id", String(64), primary_key=True),
    Column("reason", Text, nullable=False),
    Column("at_ns", BigInteger, nullable=False),
)
device_slots = Table(  # what each device said it holds at its last check-in
    "device_slots",
    metadata,
    Column("device_id", String(64), primary_key=True),
    Column("profile", String(64), primary_key=True),
    Column("slot", String(16), primary_key=True),
    Column("bundle_id", String(64), nullable=False),
    Column("n_windows", Integer, nullable=False),
    Column("score_us_median", Float),
)
assets = Table(
    "assets",
    metadata,
    Column("device_id", String(64), primary_key=True),
    Column("asset", String(64), primary_key=True),
    Column("profile", String(64), nullable=False),
    Column("spec_hash", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("p_value", Float),
    Column("since_ns", BigInteger),
)

# --- ingest (hub/ingest, hub/ledger) ------------------------------------------------------------------------------
ledger = Table(
    "ledger",
    metadata,
    Column("device_id", String(64), primary_key=True),
    Column("epoch", String(64), primary_key=True),
    Column("lane", String(16), primary_key=True),
    Column("cursor", BigInteger, nullable=False),  # the highest seq up to which everything is accounted for
    Column("ahead", JSON, nullable=False),  # [[first, last], ...] received beyond a gap, ascending, disjoint
    Column("n_received", BigInteger, nullable=False),  # distinct sequence numbers received, evictions and rollups not counted
    Column("n_evicted", BigInteger, nullable=False),  # sequence numbers that an eviction stands for
    Column("n_merged", BigInteger, nullable=False, server_default="0"),  # sequence numbers that a rollup stands for
    Column("n_redelivered", BigInteger, nullable=False),  # received again and recognized: no effect
    Column("n_rejected", BigInteger, nullable=False),
    Column("updated_ns", BigInteger, nullable=False),
)
quarantine = Table(
    "quarantine",
    metadata,
    Column("device_id", String(64), primary_key=True),
    Column("epoch", String(64), primary_key=True),
    Column("lane", String(16), primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("kind", String(32), nullable=False),
    Column("reason", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("received_ns", BigInteger, nullable=False),
    Index("quarantine_by_time", "received_ns"),
)
lane_boots = Table(  # in which boot of its device each stretch of a lane was made
    "lane_boots",
    metadata,
    Column("device_id", String(64), primary_key=True),
    Column("epoch", String(64), primary_key=True),
    Column("lane", String(16), primary_key=True),
    Column("first_seq", BigInteger, primary_key=True),
    Column("boot_id", String(64), nullable=False),
)
losses = Table(  # what devices told they no longer have as it was; written by the projector
    "losses",
    metadata,
    Column("device_id", String(64), primary_key=True),
    Column("epoch", String(64), primary_key=True),
    Column("lane", String(16), primary_key=True),
    Column("seq", BigInteger, primary_key=True),  # it stands for first_seq..seq
    Column("first_seq", BigInteger, nullable=False),
    Column("kind", String(16), nullable=False),  # eviction, rollup
    Column("reason", Text, nullable=False),
    Column("n_items", BigInteger, nullable=False),
    Column("start_ns", BigInteger, nullable=False),
    Column("end_ns", BigInteger, nullable=False),
    Column("received_ns", BigInteger, nullable=False),
)
erasures = Table(  # asked for and not done yet (hub/erasure)
    "erasures",
    metadata,
    Column("device_id", String(64), primary_key=True),
    Column("actor", Text, nullable=False),
    Column("asked_ns", BigInteger, nullable=False),
)
consumers = Table(  # how far each reader of the ingest log has come
    "consumers",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("position", BigInteger, nullable=False),
)

# --- what came, by day; written by the lake's writer (hub/lake/days.py) ---------------------------------------------


def _counts(*names: str) -> list[Column[Any]]:
    return [Column(name, BigInteger, nullable=False) for name in names]


device_days = Table(
    "device_days",
    metadata,
    Column("device_id", String(64), primary_key=True),
    Column("epoch", String(64), primary_key=True),
    Column("day", Integer, primary_key=True, autoincrement=False),  # from 1970-01-01, UTC
    *_counts("n_windows", "n_merged", "n_faulty", "n_late", "first_seq", "last_seq"),
    Index("device_days_by_day", "day"),
)
profile_days = Table(
    "profile_days",
    metadata,
    Column("profile", String(64), primary_key=True),
    Column("detector", String(64), primary_key=True),  # that decided; "" = none, while learning
    Column("day", Integer, primary_key=True, autoincrement=False),
    *_counts("n_windows", "n_learning", "n_faulty", "n_alarm", "n_clean", "n_unlikely", "watched_ns", "n_readings"),
)
received_days = Table(
    "received_days",
    metadata,
    Column("day", Integer, primary_key=True, autoincrement=False),  # of receipt
    Column("kind", String(32), primary_key=True),
    *_counts("n_items", "n_bytes"),
)

# --- the devices' clocks (hub/projector/clocks.py) -----------------------------------------------------------------
clock_marks = Table(
    "clock_marks",
    metadata,
    Column("device_id", String(64), primary_key=True),
    Column("boot_id", String(64), primary_key=True),
    Column("mono_ns", BigInteger, primary_key=True),
    Column("reason", String(16), nullable=False),
    Column("before_ns", BigInteger, nullable=False),
    Column("after_ns", BigInteger, nullable=False),
    Column("source", String(16), nullable=False),
    Column("error_ns", BigInteger, nullable=False),
    Column("received_ns", BigInteger, nullable=False),
)
boots = Table(
    "boots",
    metadata,
    Column("device_id", String(64), primary_key=True),
    Column("boot_id", String(64), primary_key=True),
    Column("number", Integer, nullable=False),  # of the device's boots, in the order in which the hub heard of them
    Column("last_mono_ns", BigInteger, nullable=False),  # the latest that was heard of it, by its monotonic clock, to a minute
    Column("high_offset_ns", BigInteger, nullable=False),  # least of received_ns - mono_ns: the true offset is not above it
)


def _placing() -> list[Column[Any]]:
    """Of what opens and closes: the times as the device said them, with the stamps of the items that said so; `opened_ns` and
    `closed_ns` are corrected by `hub/clocks/placing.py`, and these say how well."""
    return [
        Column("said_opened_ns", BigInteger),
        Column("said_closed_ns", BigInteger),
        Column("opened_boot_id", String(64)),
        Column("opened_mono_ns", BigInteger),
        Column("opened_synced", Boolean),
        Column("closed_boot_id", String(64)),
        Column("closed_mono_ns", BigInteger),
        Column("closed_synced", Boolean),
        Column("time_quality", String(16), nullable=False, server_default="unknown"),  # of opened_ns
        Column("time_error_ns", BigInteger),  # how far opened_ns may be off; None = nobody knows
    ]


# --- projections of ingested items (hub/projector) ----------------------------------------------------------------
alerts = Table(
    "alerts",
    metadata,
    Column("device_id", String(64), primary_key=True),
    Column("alert_id", String(64), primary_key=True),
    Column("asset", String(64), nullable=False),
    Column("profile", String(64), nullable=False),
    Column("detector", String(64), nullable=False),
    Column("severity", String(16), nullable=False),
    Column("opened_ns", BigInteger, nullable=False),
    Column("closed_ns", BigInteger),
    Column("p_value", Float, nullable=False),
    Column("score", Float, nullable=False),
    Column("top", JSON, nullable=False),  # [[channel, share], ...]
    Column("received_ns", BigInteger, nullable=False),
    Column("detail", Text, nullable=False, server_default=""),
    *_placing(),
    Index("alerts_by_time", "opened_ns"),
    Index("alerts_by_end", "closed_ns"),  # the few that are open among all that ever were
)
sensor_faults = Table(
    "sensor_faults",
    metadata,
    Column("device_id", String(64), primary_key=True),
    Column("fault_id", String(64), primary_key=True),
    Column("source", String(64), nullable=False),
    Column("asset", String(64), nullable=False),
    Column("channel", String(64), nullable=False),
    Column("fault", String(32), nullable=False),
    Column("detail", Text, nullable=False),
    Column("opened_ns", BigInteger, nullable=False),
    Column("closed_ns", BigInteger),
    *_placing(),
    Index("sensor_faults_by_time", "opened_ns"),
    Index("sensor_faults_by_end", "closed_ns"),
)
commissionings = Table(
    "commissionings",
    metadata,
    Column("device_id", String(64), primary_key=True),
    Column("asset", String(64), primary_key=True),
    Column("spec_hash", String(64), primary_key=True),
    Column("profile", String(64), nullable=False),
    Column("n_windows", Integer, nullable=False),
    Column("start_ns", BigInteger, nullable=False),
    Column("end_ns", BigInteger, nullable=False),
    Column("location", LargeBinary, nullable=False),  # float32, one a feature
    Column("scale", LargeBinary, nullable=False),
)
stage_evidence = Table(  # candidate and incumbent on the same windows, counted while a rollout stage runs
    "stage_evidence",
    metadata,
    Column("rollout_id", String(64), primary_key=True),
    Column("stage", String(32), primary_key=True),
    Column("device_id", String(64), primary_key=True),
    Column("n_windows", Integer, nullable=False),
    Column("n_alarm_candidate", Integer, nullable=False),
    Column("n_alarm_incumbent", Integer, nullable=False),
    Column("n_low_p_candidate", Integer, nullable=False),  # windows with a p-value <= 0.01
    Column("n_low_p_incumbent", Integer, nullable=False),
    Column("n_faulty", Integer, nullable=False),  # windows left out because of sensor faults
)

# --- learning and rollout (hub/training, hub/registry, hub/rollout) -----------------------------------------------
training_runs = Table(
    "training_runs",
    metadata,
    Column("run_id", String(64), primary_key=True),
    Column("profile", String(64), nullable=False),
    Column("state", String(16), nullable=False),  # running, done, failed
    Column("started_ns", BigInteger, nullable=False),
    Column("ended_ns", BigInteger),
    Column("record", JSON, nullable=False),  # seed, dataset, code and library versions, hyperparameters, evaluation
    Column("error", Text),
    Column("bundle_id", String(64)),
)
training_triggers = Table(  # the latest of each profile (hub/training/watch.py)
    "training_triggers",
    metadata,
    Column("profile", String(64), primary_key=True),
    Column("name", String(16), nullable=False),  # schedule, drift, feedback
    Column("reason", Text, nullable=False),
    Column("at_ns", BigInteger, nullable=False),
    Column("drift_share", Float, nullable=False),  # of its assets, then
)
bundles = Table(
    "bundles",
    metadata,
    Column("bundle_id", String(64), primary_key=True),
    Column("profile", String(64), nullable=False),
    Column("version", Integer, nullable=False),
    Column("spec_hash", String(64), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("size", Integer, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("signed_ns", BigInteger),  # when its profile's role first listed it; None = it waits for that key
    Column("run_id", String(64)),
    Column("manifest", JSON, nullable=False),
    Column("card", JSON, nullable=False),
    Index("bundles_by_profile", "profile", "version", unique=True),
)
tuf_metadata = Table(  # the TUF repository (hub/distribution)
    "tuf_metadata",
    metadata,
    Column("role", String(80), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("content", LargeBinary, nullable=False),  # the file as it is served
)
bundle_approvals = Table(
    "bundle_approvals",
    metadata,
    Column("bundle_id", String(64), primary_key=True),
    Column("at_ns", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),  # who entered it, as in the audit log
    Column("approver", Text, nullable=False),  # who answers for it, as they are called
    Column("note", Text, nullable=False),
)
alert_feedback = Table(  # nothing is overwritten: a training run is repeated with what was said before it began
    "alert_feedback",
    metadata,
    Column("device_id", String(64), primary_key=True),
    Column("alert_id", String(64), primary_key=True),
    Column("at_ns", BigInteger, primary_key=True, autoincrement=False),
    Column("label", String(16), nullable=False),  # confirm, false-alarm, maintenance
    Column("actor", Text, nullable=False),
    Column("note", Text, nullable=False),
)
alert_acknowledgements = Table(  # that somebody is on it (hub/alerts)
    "alert_acknowledgements",
    metadata,
    Column("device_id", String(64), primary_key=True),
    Column("alert_id", String(64), primary_key=True),
    Column("at_ns", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
)
alert_notes = Table(  # appended, never changed (hub/alerts)
    "alert_notes",
    metadata,
    Column("device_id", String(64), primary_key=True),
    Column("alert_id", String(64), primary_key=True),
    Column("at_ns", BigInteger, primary_key=True, autoincrement=False),
    Column("actor", Text, nullable=False),
    Column("note", Text, nullable=False),
)
incidents = Table(  # that people are told of (hub/notify)
    "incidents",
    metadata,
    Column("incident", String(140), primary_key=True),  # device and id of its first alert
    Column("noticed_ns", BigInteger, nullable=False),
    Column("over_ns", BigInteger),  # when the hub first saw that nothing of it is open any more
    Column("ended_ns", BigInteger),  # when nothing was left to be told
    Index("incidents_by_end", "ended_ns"),
)
incident_alerts = Table(
    "incident_alerts",
    metadata,
    Column("device_id", String(64), primary_key=True),
    Column("alert_id", String(64), primary_key=True),
    Column("incident", String(140), nullable=False),
    Index("incident_alerts_by_incident", "incident"),
)
notifications = Table(  # the outbox: what was decided to be told, and what became of it
    "notifications",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("incident", String(140), nullable=False),
    Column("rule", String(64), nullable=False),
    Column("step", String(32), nullable=False),  # opened, worse, escalation-1, …, recovered
    Column("target", String(64), nullable=False),
    Column("critical", Boolean, nullable=False),
    Column("state", String(16), nullable=False),  # waiting, sent, dropped, failed
    Column("decided_ns", BigInteger, nullable=False),
    Column("next_ns", BigInteger, nullable=False),  # when it is tried next, while it waits
    Column("n_attempts", Integer, nullable=False),
    Column("ended_ns", BigInteger),
    Column("reason", Text, nullable=False),  # why it waits, was dropped or failed
    Index("notifications_once", "incident", "rule", "step", "target", unique=True),
    Index("notifications_by_state", "state", "next_ns"),
    Index("notifications_by_target", "target", "ended_ns"),
)
fleet_bundles = Table(  # what a profile's devices should run when no rollout says otherwise
    "fleet_bundles",
    metadata,
    Column("profile", String(64), primary_key=True),
    Column("bundle_id", String(64)),
    Column("since_ns", BigInteger, nullable=False),
)
rollouts = Table(
    "rollouts",
    metadata,
    Column("rollout_id", String(64), primary_key=True),
    Column("profile", String(64), nullable=False),
    Column("bundle_id", String(64), nullable=False),
    Column("incumbent_id", String(64)),  # None = the baseline detector
    Column("state", String(16), nullable=False),  # running, paused, done, halted, rolled_back, aborted
    Column("stage", Integer, nullable=False),  # index into plan["stages"]
    Column("stage_since_ns", BigInteger, nullable=False),
    Column("plan", JSON, nullable=False),  # stages with name, mode and devices; gate settings
    Column("created_ns", BigInteger, nullable=False),
    Column("ended_ns", BigInteger),
    Column("reason", Text, nullable=False),
)
rollout_events = Table(
    "rollout_events",
    metadata,
    Column("event_id", Integer, primary_key=True, autoincrement=True),
    Column("rollout_id", String(64), nullable=False),
    Column("at_ns", BigInteger, nullable=False),
    Column("stage", String(32), nullable=False),
    Column("event", String(32), nullable=False),  # started, pass, wait, halt, rolled_back, done, paused, resumed, aborted
    Column("figures", JSON, nullable=False),
    Column("final", Boolean, nullable=False),
    Index("rollout_events_by_rollout", "rollout_id"),
)
rollout_history = Table(  # how a stage's verdicts and figures went (hub/rollout/history.py)
    "rollout_history",
    metadata,
    Column("rollout_id", String(64), primary_key=True),
    Column("stage", String(32), primary_key=True),
    Column("at_ns", BigInteger, primary_key=True, autoincrement=False),
    Column("verdict", String(8), nullable=False),  # pass, wait, halt
    Column("n_windows", BigInteger, nullable=False),
    Column("verdicts", JSON, nullable=False),  # by gate
    Column("alarm_rate", JSON),  # candidate, incumbent, limit, low, high; shares in 0..1
    Column("low_p", JSON),
)

# --- audit (hub/audit; appended in the transaction of what an entry tells about) -----------------------------------
audit_entries = Table(
    "audit_entries",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("at_ns", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", String(64), nullable=False),
    Column("subject", Text, nullable=False),
    Column("details", Text, nullable=False),  # JSON, as it was hashed
    Column("previous", String(64), nullable=False),
    Column("sha256", String(64), nullable=False),
    Index("audit_by_actor", "actor", "number"),
    Index("audit_by_action", "action", "number"),
    Index("audit_by_subject", "subject", "number"),
)
audit_head = Table(  # one row: the newest entry
    "audit_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
)

# --- operators (hub/operators) ------------------------------------------------------------------------------------
users = Table(
    "users",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("role", String(16), nullable=False),  # viewer, operator, admin
    Column("password_hash", Text, nullable=False),  # Argon2id, in PHC string format
    Column("enabled", Boolean, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("password_ns", BigInteger, nullable=False),  # when the password was set
    Column("last_sign_in_ns", BigInteger),
)
sessions = Table(
    "sessions",
    metadata,
    Column("id_sha256", String(64), primary_key=True),
    Column("user_name", String(64)),  # None = of the admin token
    Column("opened_with", String(64), nullable=False),  # which admin token that was, as a hash; "" for a user's
    Column("address", String(64), nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("last_used_ns", BigInteger, nullable=False),  # to the minute
    Column("expires_ns", BigInteger, nullable=False),
    Index("sessions_by_user", "user_name"),
)
api_tokens = Table(
    "api_tokens",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("sha256", String(64), nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("created_by", String(128), nullable=False),  # an actor, as in the audit log
    Column("created_ns", BigInteger, nullable=False),
    Column("expires_ns", BigInteger, nullable=False),
    Column("last_used_ns", BigInteger),  # to the minute
    Index("api_tokens_by_hash", "sha256", unique=True),
)
