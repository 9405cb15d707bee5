"""The documentation tells the truth: examples load, tables name what there is, links lead somewhere."""

from __future__ import annotations

import ctypes
import importlib
import json
import re
import shutil
import subprocess
import tomllib
import types
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec
import numpy as np
import pytest

from agent.config import AgentConfig, load_config
from agent.sources.config import SerialConfig
from agent.sources.decode import channels_by_asset
from agent.sources.lines import CsvLines, JsonLines
from agent.sources.payload import PayloadDecoder
from agent.sources.serial_port import stream_decoder
from agent.sources.topics import compile_topics
from firmware_sim.scenario import Scenario, load_scenario
from firmware_sim.truth import FleetTruth, Observed, TruthEvent
from hub.lake.lake import open_lake
from hub.lake.tables import SCHEMAS
from hub.settings import HubConfig
from hub.training.trainer import float_scores
from models.contract.config import load_profile, read_toml
from models.contract.frames import decode_frame
from models.contract.items import BODIES
from models.contract.profile import Profile
from tests.docs.lake import fill
from tests.docs.pages import PAGES, ROOT, Block, CheckedTable, anchors, blocks, links, name_of, tables

NOW_NS = 1_764_000_100_000_000_000
KNOWN = {"pump-1": ["flow", "pressure", "vibration"], "compressor-1": ["vibration", "temperature"]}
TOML = ("toml device", "toml device-part", "toml hub", "toml profile", "toml scenario")
_ASSETS = "".join(
    f'[[assets]]\nid = "{asset}"\nprofile = "{profile}"\n'
    for asset, profile in (("pump-1", "pump"), ("compressor-1", "air-compressor"), ("this-machine", "host"))
)
_HEADER = f'[device]\nid = "gw-0"\nstate_dir = "state"\n{_ASSETS}'


def ids(found: Block | CheckedTable | Path) -> str:
    return name_of(found) if isinstance(found, Path) else found.where


def write_profiles(directory: Path) -> None:
    """The profiles that the pages show, each under its own name."""
    for block in blocks("toml profile"):
        (directory / f"{tomllib.loads(block.text)['name']}.toml").write_text(block.text)


# --- examples -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", blocks("toml device", "toml device-part"), ids=ids)
def test_device_examples_load(block: Block, tmp_path: Path) -> None:
    write_profiles(tmp_path)
    text = block.text if block.info == "toml device" else _HEADER + block.text
    if not re.search(r"^\[\[(serial|mqtt|host)\]\]", text, re.MULTILINE):
        text += '[[host]]\nasset = "this-machine"\n'
    token = tomllib.loads(text).get("hub", {}).get("join_token_file")
    if token:
        (tmp_path / token).write_text("0123456789abcdef")
    (tmp_path / "tocsin.toml").write_text(text)
    load_config(tmp_path / "tocsin.toml")


@pytest.mark.parametrize("block", blocks("toml hub"), ids=ids)
def test_hub_examples_load(block: Block, tmp_path: Path) -> None:
    (tmp_path / "hub.toml").write_text(block.text)
    read_toml(tmp_path / "hub.toml", HubConfig)


@pytest.mark.parametrize("block", blocks("toml profile"), ids=ids)
def test_profile_examples_load(block: Block, tmp_path: Path) -> None:
    write_profiles(tmp_path)
    load_profile(tomllib.loads(block.text)["name"], tmp_path)


@pytest.mark.parametrize("block", blocks("toml scenario"), ids=ids)
def test_scenario_examples_load(block: Block, tmp_path: Path) -> None:
    (tmp_path / "plant.toml").write_text(block.text)
    load_scenario(str(tmp_path / "plant.toml"))


def test_every_toml_block_says_what_it_is() -> None:
    assert [block.where for block in blocks() if block.info.startswith("toml") and block.info not in TOML] == []


@pytest.mark.parametrize("block", blocks("json line"), ids=ids)
def test_json_lines_are_read_whole(block: Block) -> None:
    for line in block.text.splitlines():
        decoded = JsonLines(channels_by_asset(KNOWN), "compressor-1", True)(line.encode(), NOW_NS)
        assert decoded.readings, line
        assert decoded.n_unknown == 0, line


@pytest.mark.parametrize("block", blocks("text csv"), ids=ids)
def test_csv_lines_are_read_whole(block: Block) -> None:
    part = next(part for part in blocks("toml device-part") if part.page == block.page and 'format = "csv"' in part.text)
    config = msgspec.convert(tomllib.loads(part.text)["serial"][0], SerialConfig)
    assert config.asset
    decode = CsvLines(channels_by_asset(KNOWN), config.asset, config.columns, config.separator, True)
    for line in block.text.splitlines():
        decoded = decode(line.encode(), NOW_NS)
        assert len(decoded.readings) == 2
        assert decoded.timed


@pytest.mark.parametrize("block", blocks("text mqtt"), ids=ids)
def test_mqtt_messages_are_read_whole(block: Block) -> None:
    topics = compile_topics(["plant/{asset}/{channel}", "plant/{asset}"], "docs")
    payloads = PayloadDecoder("auto", channels_by_asset(KNOWN), True)
    for line in block.text.splitlines():
        topic, payload = line.split(maxsplit=1)
        place = topics.match(topic)
        assert place is not None, line
        decoded = payloads.decode(payload.encode(), place, NOW_NS)
        assert decoded.readings, line
        assert decoded.n_unknown == 0, line


@pytest.mark.parametrize("block", blocks("json truth"), ids=ids)
def test_truth_examples_decode(block: Block) -> None:
    for line in block.text.splitlines():
        types = {"observed": Observed, "fleet": FleetTruth}
        event = msgspec.json.decode(line, type=types.get(json.loads(line)["kind"], TruthEvent))
        assert json.loads(msgspec.json.encode(event)) == json.loads(line)


@pytest.mark.parametrize("block", blocks("python micropython"), ids=ids)
def test_micropython_examples_are_python(block: Block) -> None:
    compile(block.text, block.where, "exec")


@pytest.mark.parametrize("block", blocks("python trainer"), ids=ids)
def test_trainers_of_the_pages_learn_what_belongs_together(block: Block) -> None:
    """Such a class hands over what rebuilds normal windows, and does not rebuild a channel that has left the others."""
    there: dict[str, Any] = {}
    exec(compile(block.text, block.where, "exec"), there)
    [trainer] = [found() for found in there.values() if hasattr(found, "describe")]
    rng = np.random.default_rng(1)
    normal = (rng.normal(size=(600, 3)) @ rng.normal(size=(3, 12)) + rng.normal(scale=0.3, size=(600, 12))).astype(np.float32)
    weights = trainer.fit(normal[:400], normal[400:500], 1, lambda line: None)
    odd = normal[500:].copy()
    odd[:, 3] += 6 * normal[:, 3].std()
    assert np.median(float_scores(weights, odd)) > 3 * np.median(float_scores(weights, normal[500:]))
    json.dumps(trainer.describe())


@pytest.mark.parametrize("block", blocks("python lake"), ids=ids)
def test_code_that_reads_the_lake_reads_it(block: Block, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(open_lake(str(tmp_path / "lake")))
    exec(compile(block.text.replace("/srv/tocsin", str(tmp_path)), block.where, "exec"), {})
    assert capsys.readouterr().out == "1 5\n"


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler here")
def test_firmware_in_c_sends_frames_that_the_agent_reads(tmp_path: Path) -> None:
    [source] = blocks("c")
    (tmp_path / "frame.c").write_text(source.text)
    library = tmp_path / "frame.so"
    done = subprocess.run(
        ["cc", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", str(library), str(tmp_path / "frame.c")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    encode = ctypes.CDLL(str(library)).tocsin_frame
    encode.restype = ctypes.c_size_t
    config = SerialConfig(name="x", port="x", format="cobs", asset="compressor-1", columns=("vibration", "temperature"))
    stream = stream_decoder(config, KNOWN)
    for seq, n_samples in enumerate((1, 10, 125, 29, 30, 31)):  # some runs without a zero are just as long as COBS can say
        values = np.random.default_rng(seq).normal(size=(n_samples, 2)).astype("<f4")
        out = ctypes.create_string_buffer(1040)
        at = ctypes.c_uint64(1_764_000_000_250_000), ctypes.c_uint32(10_000)
        n = encode(out, ctypes.c_uint8(2), ctypes.c_uint16(n_samples), *at, values.ctypes.data_as(ctypes.c_void_p))
        assert n <= len(out)
        frame = decode_frame(out.raw[: n - 1])
        assert (frame.seq, frame.t0_us, frame.period_us) == (seq, at[0].value, at[1].value)
        assert np.array_equal(frame.values, values)
        tally = stream.feed(out.raw[:n], NOW_NS)
        assert (tally.n_readings, tally.frame_errors, tally.n_lost) == (2 * n_samples, 0, 0)


# --- tables -------------------------------------------------------------------------------------------------------


def struct_at(target: str) -> type[msgspec.Struct]:
    module, _, name = target.partition(":")
    found: type[msgspec.Struct] = getattr(importlib.import_module(module), name)
    return found


@pytest.mark.parametrize("table", tables("struct"), ids=ids)
def test_a_struct_s_table_names_its_fields_and_no_others(table: CheckedTable) -> None:
    names = table.names()
    assert len(names) == len(set(names))
    assert set(names) == set(struct_at(table.target).__struct_fields__)


@pytest.mark.parametrize("table", [table for table in tables("struct") if "default" in table.header], ids=ids)
def test_a_struct_s_table_tells_its_defaults(table: CheckedTable) -> None:
    fields = {field.name: field for field in msgspec.structs.fields(struct_at(table.target))}
    for name, told in table.defaults().items():
        default = fields[name].default
        if default is msgspec.NODEFAULT and fields[name].default_factory is not msgspec.NODEFAULT:
            default = fields[name].default_factory()
        assert as_told(told) == plain(default), name


def as_told(told: str) -> Any:
    """A cell of a column `default` as a value: `TOML`, none, required, or its defaults (of a nested table)."""
    if told.startswith("`"):
        return tomllib.loads(f"x = {told.strip('`')}")["x"]
    return {"none": None}.get(told, told)


def plain(default: Any) -> Any:
    if default is msgspec.NODEFAULT:
        return "required"
    if isinstance(default, msgspec.Struct):
        return "its defaults" if default == type(default)() else default
    return list(default) if isinstance(default, tuple) else default


def structs_in(root: Any) -> set[type]:
    """`root` and every struct that its fields lead to."""
    found: set[type] = set()
    waiting = [root]
    while waiting:
        here = waiting.pop()
        waiting += get_args(here)
        plain_type = isinstance(here, type) and not isinstance(here, types.GenericAlias)
        if plain_type and issubclass(here, msgspec.Struct) and here not in found:
            found.add(here)
            waiting += get_type_hints(here).values()
    return found


@pytest.mark.parametrize(
    "root", [AgentConfig, HubConfig, Profile, Scenario], ids=lambda root: f"{root.__module__}.{root.__name__}"
)
def test_every_configuration_struct_has_its_table(root: type[msgspec.Struct]) -> None:
    page = "".join(
        (ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("configuration.md", "actions.md", "notify.md")
    )
    assert [s.__name__ for s in structs_in(root) if f"<!-- struct: {s.__module__}:{s.__name__} -->" not in page] == []


def test_every_kind_of_item_has_its_table() -> None:
    page = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    assert [kind for kind, body in BODIES.items() if f"<!-- struct: {body.__module__}:{body.__name__} -->" not in page] == []


def test_every_table_of_keys_is_checked() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert page.count("\n| key |") == page.count("<!-- struct: ")


@pytest.mark.parametrize("table", [table for table in tables("columns") if table.target in SCHEMAS], ids=ids)
def test_the_lake_s_columns_are_told_with_their_types(table: CheckedTable) -> None:
    told = {name: row[1] for row in table.cells for name in re.findall(r"`([^`]+)`", row[0])}
    schema = {field.name: field.type for field in SCHEMAS[table.target]}  # type: ignore[index]
    assert set(told) == set(schema)
    for name, kind in told.items():
        real = re.sub(r"\[day\]|<.*>", "", str(schema[name]))
        assert kind.split()[0] == real, name


# --- links --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_relative_links_resolve(page: Path) -> None:
    broken = []
    for target in links(page):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []
