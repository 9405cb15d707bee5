"""The CSV reader: files as people have them, and what is said of those that cannot be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.contract import csv_layout
from models.contract.table import ROW_EPOCH_NS, channel_names, read_table
from models.errors import ConfigError
from tests.recorded import recorded


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "data.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separator_is_found_out(tmp_path: Path, separator: str) -> None:
    text = "time,flow,pressure\n2024-01-01T00:00:00Z,1.5,2\n2024-01-01T00:00:01Z,,3\n".replace(",", separator)
    table = read_table(written(tmp_path, text))
    assert table.columns == ("flow", "pressure")
    assert np.array_equal(table.values, [[1.5, 2], [np.nan, 3]], equal_nan=True)
    assert table.time_ns.tolist() == [1_704_067_200 * 10**9, 1_704_067_201 * 10**9]
    assert table.time_labels == ["2024-01-01T00:00:00Z", "2024-01-01T00:00:01Z"]
    assert table.time_column == "time"


def test_decimal_comma_is_found_out(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, "Zeit;Druck;Menge\n01.02.2024 10:00:00;-1,5;3\n01.02.2024 10:00:01;0,25;4\n"))
    assert table.values.tolist() == [[-1.5, 3], [0.25, 4]]
    assert table.time_ns[0] == 1_706_781_600 * 10**9


@pytest.mark.parametrize(
    ("cell", "expected_ns"),
    [
        ("1700000000", 1_700_000_000_000_000_000),
        ("1700000000.25", 1_700_000_000_250_000_000),
        ("1700000000250", 1_700_000_000_250_000_000),
        ("1700000000250000", 1_700_000_000_250_000_000),
        ("1700000000250000123", 1_700_000_000_250_000_123),
        ("2023-11-14 22:13:20", 1_700_000_000_000_000_000),
        ("2023-11-14T23:13:20.250+01:00", 1_700_000_000_250_000_000),
        ("14.11.2023 22:13:20", 1_700_000_000_000_000_000),
        ("2023/11/14 22:13:20", 1_700_000_000_000_000_000),
        ("0.5", 500_000_000),
    ],
)
def test_times_are_read_as_people_write_them(tmp_path: Path, cell: str, expected_ns: int) -> None:
    assert read_table(written(tmp_path, f"timestamp,x\n{cell},1\n")).time_ns.tolist() == [expected_ns]


def test_absent_values_are_nan(tmp_path: Path) -> None:
    cells = ["", "NaN", "null", "NA", "n/a", "-", "?", "inf", " "]
    text = "t,x\n" + "".join(f"{i},{cell}\n" for i, cell in enumerate(cells))
    assert np.isnan(read_table(written(tmp_path, text)).values).all()


def test_file_without_times_is_evenly_spaced_at_the_given_rate(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, "n,x\n1,5\n2,6\n3,7\n"), time_column="n", rate_hz=4)
    assert (table.time_ns - ROW_EPOCH_NS).tolist() == [0, 250_000_000, 500_000_000]
    assert table.columns == ("x",)
    whole = read_table(written(tmp_path, "n,x\n1,5\n2,6\n"), rate_hz=4)
    assert (whole.columns, whole.time_column, whole.time_labels) == (("n", "x"), "", ["0", "1"])


def test_row_labels_without_a_header_are_no_channel(tmp_path: Path) -> None:
    for text in (",t,x\n0,1,5\n1,2,6\n", '"t","x"\n"1",1,5\n"2",2,6\n'):
        table = read_table(written(tmp_path, text))
        assert (table.columns, table.values.tolist()) == (("x",), [[5], [6]])


def test_columns_are_chosen_and_left_out_by_name_whatever_they_hold(tmp_path: Path) -> None:
    path = written(tmp_path, "t,flow,state,x\n1,2,OK,4\n")
    assert read_table(path, ignore=["state"]).columns == ("flow", "x")
    assert read_table(path, only=["Flow"]).columns == ("flow",)


def test_marks_blank_lines_and_old_encodings_are_taken_in(tmp_path: Path) -> None:
    assert read_table(written(tmp_path, b"\xef\xbb\xbft;x\r\n\r\n1;2\r\n")).columns == ("x",)
    assert read_table(written(tmp_path, "t;Temp °C\n1;2\n".encode("latin-1"))).columns == ("Temp °C",)


def test_channel_names_are_valid_and_distinct() -> None:
    assert channel_names(["Water flow [l/s]", "T 1", "T-1", "T_1", "°C", "%"]) == [
        "Water_flow_l_s",
        "T_1",
        "T-1",
        "T_1_2",
        "C",
        "column",
    ]


@pytest.mark.parametrize(
    ("text", "where", "expected"),
    [
        ("", "data.csv", "the file is empty"),
        ("\n\n", "data.csv", "the file is empty"),
        ("t,x\n", "data.csv", "at least one row"),
        ("t\n1\n", "data.csv", "at least one column of values"),
        ("a,b\n1,2\n", "data.csv", "a time column; none of a, b is one"),
        ("t,x\n1,2\n2\n", "data.csv: line 3", "2 cells separated by ',', not 1"),
        ("t,x\n1,2\n2,3,4\n", "data.csv: line 3", "2 cells separated by ',', not 3"),
        ("t,x\n1,2\n2,OK\n", "data.csv: line 3, column 'x'", "a number or nothing, not 'OK'"),
        ("t,x\n1,2\nsoon,3\n", "data.csv: line 3, column 't'", "Unix seconds, not 'soon'"),
        ("t,x\n2024-01-01,2\n7,3\n", "data.csv: line 3, column 't'", "an ISO 8601 date and time, not '7'"),
        ("t,x\n03/04/2024 10:00,2\n", "data.csv", "a time column"),
        ("t;x\n1;2,5\n2;2.5\n", "data.csv: line 3, column 'x'", "one decimal mark in the file: ',' so far"),
        ("t;x\n1;1.000,5\n", "data.csv: line 2, column 'x'", "a number or nothing"),
        ("t,x,x\n1,2,3\n", "data.csv: line 1", "'x' is there twice"),
        ("1,2\n3,4\n", "data.csv: line 1", "a header row of column names, not '1,2'"),
        ('t,x\n1,"2\n', "data.csv: after line 2", "CSV text: unexpected end of data"),
        (b"t,x\n\x00\x01", "data.csv", "a CSV text file"),
        ("t,x\n9e99,1\n", "data.csv", "a time column"),
        ("t,x\n1,1\n1e300,1\n", "data.csv: line 3, column 't'", "Unix seconds"),
    ],
)
def test_bad_file_is_refused_with_line_column_and_what_was_expected(
    tmp_path: Path, text: str | bytes, where: str, expected: str
) -> None:
    with pytest.raises(ConfigError) as error:
        read_table(written(tmp_path, text))
    assert error.value.where.startswith(str(tmp_path))
    assert error.value.where.endswith(where)
    assert expected in error.value.expected
    assert "\n" not in str(error.value)


def test_names_that_are_not_there_are_answered_with_the_nearest(tmp_path: Path) -> None:
    path = written(tmp_path, "stamp,flow\n1,2\n")
    with pytest.raises(ConfigError, match="column 'stmap': one of stamp, flow; did you mean 'stamp'"):
        read_table(path, time_column="stmap")
    with pytest.raises(ConfigError, match="did you mean 'flow'"):
        read_table(path, time_column="stamp", ignore=["flw"])
    with pytest.raises(ConfigError, match="ISO 8601 or Unix times, not 'x'"):
        read_table(written(tmp_path, "stamp,flow\nx,2\n"), time_column="stamp")


def test_missing_file_folder_and_huge_file_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_table(tmp_path)
    monkeypatch.setattr(csv_layout, "MAX_TABLE_BYTES", 5)
    with pytest.raises(ConfigError, match="at most"):
        read_table(written(tmp_path, "t,x\n1,2\n"))


@pytest.mark.parametrize(
    ("name", "n_rows", "columns", "first"),
    [
        ("skab/valve1/0.csv", 1147, 10, "2020-03-09 10:14:33"),
        ("nab/data/realKnownCause/machine_temperature_system_failure.csv", 22695, 1, "2013-12-02 21:15:00"),
        ("waterflow/water-flow.csv", 1268, 1, "2022-03-20T11:00:00+01:00"),
        ("occupancy/datatraining.txt", 8143, 6, "2015-02-04 17:51:00"),
        ("ims-bearing/1st_test_resmaple_10minutes.csv", 2156, 8, "2003.10.22.12.06.24"),
    ],
)
def test_recorded_data_is_read_as_it_is(name: str, n_rows: int, columns: int, first: str) -> None:
    table = read_table(recorded(name))
    assert table.values.shape == (n_rows, columns)
    assert table.time_labels[0] == first
    assert (np.diff(table.time_ns) >= 0).mean() > 0.99
