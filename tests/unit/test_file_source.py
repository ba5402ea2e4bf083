import gzip

import pandas as pd
import pytest

from monitor.errors import BadInput
from monitor.intake.sources.files import MOST_ROWS, FileSource, parse_times, read_file

FRAME = pd.DataFrame({"id": [1, 2, 3], "amount": [1.5, 2.5, None], "channel": ["app", "web", None]})


def take(source: FileSource) -> list[int]:
    """The ids of all new rows, marked as taken."""
    ids: list[int] = []
    for part in source.new_files():
        ids += part.frame["id"].tolist()
        source.bookmark_after(part)
    return ids


def ids(*numbers: int) -> str:
    return "id\n" + "".join(f"{number}\n" for number in numbers)


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "tsv", "parquet", "jsonl", "ndjson.gz"])
def test_every_kind_of_file_gives_the_same_rows(tmp_path, ending):
    path = tmp_path / f"log.{ending}"
    if ending == "parquet":
        FRAME.to_parquet(path)
    elif "json" in ending:
        FRAME.to_json(path, orient="records", lines=True)
    else:
        FRAME.to_csv(path, index=False, sep="\t" if ending == "tsv" else ",")
    read = read_file(path)
    assert read["id"].tolist() == [1, 2, 3]
    assert read["amount"].tolist()[:2] == [1.5, 2.5]
    assert read["channel"].isna().tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.csv", None, "expected a file, there is none at"),
        ("log.xlsx", b"x", "expected a file that ends in .csv, .*got log.xlsx"),
        ("log.parquet", b"not parquet", "expected parquet in log.parquet, it cannot be read"),
        ("log.csv.gz", b"not gzip", "expected csv in log.csv.gz, it cannot be read"),
        ("cut.csv.gz", gzip.compress(b"a,b\n" * 9_000, mtime=0)[:40], "expected csv in cut.csv.gz, it cannot be read"),
        ("log.jsonl", b"{broken", "expected jsonl in log.jsonl, it cannot be read"),
        ("log.csv", b"\xff\xfe\x00", "expected csv in log.csv, it cannot be read"),
        ("empty.csv", b"", "expected csv in empty.csv, it cannot be read"),
        ("head.csv", b"a,b\n", "expected rows in head.csv, it has none"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=message):
        read_file(tmp_path / name)


def test_a_pattern_reads_files_by_name_and_a_bookmark_leaves_out_what_was_taken(tmp_path):
    (tmp_path / "b.csv").write_text(ids(3))
    (tmp_path / "a.csv").write_text(ids(1, 2))
    source = FileSource(f"{tmp_path}/*.csv")
    assert take(source) == [1, 2, 3]
    assert take(source) == []
    (tmp_path / "c.csv").write_text(ids(4))
    assert take(source) == [4]


def test_a_file_that_grew_is_read_on_with_the_row_numbers_of_the_file(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(ids(1, 2))
    source = FileSource(str(path))
    take(source)
    with path.open("a") as log:
        log.write("3\n")
    (part,) = source.new_files()
    assert (part.frame["id"].tolist(), part.frame.index.tolist()) == ([3], [2])


def test_a_file_that_was_replaced_is_read_from_its_start(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(ids(1, 2))
    source = FileSource(str(path))
    take(source)
    path.write_text(ids(7, 8))
    assert take(source) == [7, 8]


def test_a_bookmark_goes_on_in_another_process(tmp_path):
    path = tmp_path / "big.csv"
    path.write_text(ids(*range(MOST_ROWS + 10)))
    source = FileSource(str(path))
    first = next(source.new_files())
    bookmark = source.bookmark_after(first)
    assert len(first.frame) == MOST_ROWS
    assert len(take(FileSource(str(path), bookmark=bookmark))) == 10


def test_an_empty_file_waits_until_it_has_rows(tmp_path):
    path = tmp_path / "log.csv"
    path.touch()
    source = FileSource(str(path))
    assert take(source) == []
    path.write_text(ids(1))
    assert take(source) == [1]


def test_a_pattern_without_files_is_said(tmp_path):
    with pytest.raises(BadInput, match="expected files that match .*there are none"):
        FileSource(f"{tmp_path}/*.csv").read_all()


@pytest.mark.parametrize(
    "values",
    [
        ["2026-03-01", "2026-03-13"],
        ["2026-03-01T00:00:00Z", "2026-03-13T01:00:00+01:00"],
        ["01-03-2026", "13-03-2026"],
        ["3/1/2026 00:00", "3/13/2026 00:00"],
        [20260301, 20260313],
        [1772323200, 1773360000],
        [1772323200.0, 1773360000.0],
        [1772323200_000, 1773360000_000],
        pd.to_datetime(["2026-03-01", "2026-03-13"]).to_list(),
    ],
)
def test_one_column_of_times_is_understood_as_files_write_them(values):
    times = parse_times(pd.DataFrame({"t": values}), ["t"])
    assert [moment.isoformat() for moment in times] == ["2026-03-01T00:00:00+00:00", "2026-03-13T00:00:00+00:00"]


def test_years_alone_are_their_first_day():
    assert parse_times(pd.DataFrame({"year": [2015, 2018]}), ["year"])[1] == pd.Timestamp("2018-01-01", tz="UTC")


@pytest.mark.parametrize("month", ["July", "jul", 7, "07"])
def test_parts_in_several_columns_are_joined(month):
    frame = pd.DataFrame({"y": [2015], "m": [month], "d": [9], "h": [13]})
    assert parse_times(frame, ["y", "m", "d", "h"])[0] == pd.Timestamp("2015-07-09T13:00Z")


def test_a_date_and_an_hour_are_joined():
    frame = pd.DataFrame({"day": ["2011-01-01", "2011-01-02"], "hr": [0, 23]})
    assert parse_times(frame, ["day", "hr"])[1] == pd.Timestamp("2011-01-02T23:00Z")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"t": ["2026-03-01", "tomorrow"]}, "row 2: expected a time in t, got 'tomorrow'"),
        ({"t": ["2026-03-01", None]}, "row 2: expected a time in t, got"),
        ({"t": ["01-02-2026", "03-04-2026"]}, "whose day may be either number"),
        ({"t": [1.5, 2.5]}, "row 1: expected a time in t, got"),
        ({"y": [2015, 2015], "m": ["July", "Brumaire"]}, "row 2: expected a month from 1 to 12 in m, got 'Brumaire'"),
        ({"y": [2015, 2015], "m": [7, 13]}, "row 2: expected a month from 1 to 12 in m"),
        ({"y": [2015, 2015], "m": [2, 2], "d": [28, 30]}, "row 2: there is no day 2015 2 30"),
        ({"t": ["2026-03-01"], "h": [24]}, "row 1: expected a hour from 0 to 23 in h"),
    ],
)
def test_the_first_value_that_is_no_time_is_named(columns, message):
    with pytest.raises(BadInput, match=message):
        parse_times(pd.DataFrame(columns), list(columns))


def test_a_time_column_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(BadInput, match="expected a time in ts, got a, b"):
        parse_times(pd.DataFrame({"a": [1], "b": [2]}), ["ts"])
