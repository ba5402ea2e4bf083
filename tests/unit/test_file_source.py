import gzip
import os

import pandas as pd
import pytest

from monitor.errors import BadInput
from monitor.intake.columns import Columns
from monitor.intake.sources.contract import MOST_ROWS
from monitor.intake.sources.files import FileSource, read_file
from monitor.intake.sources.times import parse_times

FRAME = pd.DataFrame({"id": [1, 2, 3], "amount": [1.5, 2.5, None], "channel": ["app", "web", None]})


def take(source: FileSource, marks: dict) -> list[int]:
    """The ids of all new rows, marked as taken."""
    ids: list[int] = []
    for file in source.pieces():
        for part in file.parts(marks.get(file.key)):
            ids += part.frame["id"].tolist()
            marks[file.key] = part.mark
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


def test_an_index_that_was_written_with_the_rows_does_not_matter(tmp_path):
    pd.concat([FRAME, FRAME]).to_parquet(tmp_path / "twice.parquet")
    assert read_file(tmp_path / "twice.parquet").index.tolist() == [0, 1, 2, 3, 4, 5]


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
    source, marks = FileSource(f"{tmp_path}/*.csv"), {}
    assert take(source, marks) == [1, 2, 3]
    assert take(source, marks) == []
    (tmp_path / "c.csv").write_text(ids(4))
    assert take(source, marks) == [4]


def test_a_file_that_grew_is_read_on_with_the_row_numbers_of_the_file(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(ids(1, 2))
    source, marks = FileSource(str(path)), {}
    take(source, marks)
    with path.open("a") as log:
        log.write("3\n")
    (file,) = source.pieces()
    (part,) = file.parts(marks[file.key])
    assert (part.frame["id"].tolist(), part.frame.index.tolist()) == ([3], [2])


def test_a_file_that_was_replaced_is_read_from_its_start(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(ids(1, 2))
    source, marks = FileSource(str(path)), {}
    take(source, marks)
    path.write_text(ids(7, 8))
    assert take(source, marks) == [7, 8]


def test_a_mark_of_the_first_release_counts_rows_alone(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(ids(1, 2))
    source, marks = FileSource(str(path)), {}
    take(source, marks)
    for mark in marks.values():
        del mark["offset"], mark["stamp"]
    assert take(source, marks) == []
    path.write_text(ids(1, 2, 3))
    assert take(source, marks) == [3]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_file_of_several_parts_keeps_the_numbers_of_its_rows(tmp_path, ending):
    path = tmp_path / f"big.{ending}"
    big = pd.DataFrame({"id": range(MOST_ROWS + 10)})
    if ending == "parquet":
        big.to_parquet(path, row_group_size=7_000)
    elif ending == "csv":
        big.to_csv(path, index=False)
    else:
        big.to_json(path, orient="records", lines=True)
    (file,) = FileSource(str(path)).pieces()
    parts = list(file.parts(None))
    assert [len(part.frame) <= MOST_ROWS for part in parts] == [True, True]
    for part in parts:
        assert part.frame.index.tolist() == part.frame["id"].tolist()
    assert [part.frame["id"].tolist() for part in file.parts(parts[0].mark)] == [parts[1].frame["id"].tolist()]


def test_an_empty_file_waits_until_it_has_rows(tmp_path):
    path = tmp_path / "log.csv"
    path.touch()
    source, marks = FileSource(str(path)), {}
    assert take(source, marks) == []
    path.write_text("id\n")
    assert take(source, marks) == []
    path.write_text(ids(1))
    assert take(source, marks) == [1]


def test_a_line_of_csv_that_is_half_written_waits_until_it_ends_or_the_file_rests(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(ids(1) + "23")
    source, marks = FileSource(str(path)), {}
    assert take(source, marks) == [1]
    assert take(source, marks) == []
    with path.open("a") as log:
        log.write("4\n5")
    assert take(source, marks) == [234]
    os.utime(path, (0, 0))
    assert take(source, marks) == [5]
    assert take(source, marks) == []


def test_an_object_of_json_lines_is_whole_when_it_closes(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"id": 1}\n{"id": 2')
    source, marks = FileSource(str(path)), {}
    assert take(source, marks) == [1]
    with path.open("a") as log:
        log.write("3}")
    assert take(source, marks) == [23]
    with path.open("a") as log:
        log.write('\n{"id": 4}\n')
    assert take(source, marks) == [4]


def test_quoted_fields_may_hold_line_breaks_and_quotes(tmp_path):
    path = tmp_path / "log.csv"
    frame = pd.DataFrame({"id": [1, 2, 3, 4], "note": ["two\nlines", 'say "no",\n"""', '5" pipe', "plain"]})
    frame.to_csv(path, index=False)
    with path.open("a") as log:
        log.write('5,5" pipe\n6,"open\n')
    (file,) = FileSource(str(path)).pieces()
    (part,) = file.parts(None)
    assert part.frame["note"].tolist() == [*frame["note"], '5" pipe']
    with path.open("a") as log:
        log.write('closed"\n')
    (part,) = file.parts(part.mark)
    assert (part.frame["id"].tolist(), part.frame["note"].tolist()) == ([6], ["open\nclosed"])


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("log.csv", "id,x\n1,2\n3,4,5\n6,7\n", "expected 2 fields as in the header, got 3"),
        ("log.jsonl", '{"id": 1}\n{"id": 3, "x{"id": 4}\n{"id": 6}\n', "expected a JSON object on each line"),
    ],
)
def test_a_record_that_is_broken_is_left_out_with_its_reason(tmp_path, name, text, reason):
    (tmp_path / name).write_text(text)
    (file,) = FileSource(str(tmp_path / name)).pieces()
    (part,) = file.parts(None)
    assert (part.frame["id"].tolist(), part.frame.index.tolist()) == ([1, 6], [0, 2])
    assert [(row.position, row.reason) for row in part.bad] == [(1, reason)]


def test_a_file_whose_records_are_none_is_told(tmp_path):
    (tmp_path / "log.jsonl").write_text("no json\n" * 30)
    (file,) = FileSource(str(tmp_path / "log.jsonl")).pieces()
    with pytest.raises(BadInput, match="log.jsonl: record 1: expected a JSON object .* 29 others"):
        list(file.parts(None))


def test_ids_and_categories_that_are_digits_keep_their_zeros(tmp_path):
    (tmp_path / "log.csv").write_text("id,t,zip,n\n007,2026-01-01,01234,05\n")
    columns = Columns(time=("t",), id="id", texts=("zip",))
    (file,) = FileSource(str(tmp_path / "log.csv"), columns=columns).pieces()
    (part,) = file.parts(None)
    assert part.frame[["id", "zip", "n"]].values.tolist() == [["007", "01234", 5]]


def test_the_order_of_day_and_month_may_be_known_beforehand():
    frame = pd.DataFrame({"t": ["01-02-2026", "03-04-2026"]})
    read = {first: parse_times(frame, ["t"], day_first=first)[1].month for first in (True, False)}
    assert read == {True: 4, False: 3}
    shown = pd.DataFrame({"t": ["01-02-2026", "03-14-2026"]})  # what rows show is true
    assert parse_times(shown, ["t"], day_first=True)[1] == pd.Timestamp("2026-03-14", tz="UTC")


def test_wide_rows_come_in_smaller_parts(tmp_path):
    pd.DataFrame({f"c{i}": [0.0] * 6_000 for i in range(500)}).to_parquet(tmp_path / "wide.parquet")
    (file,) = FileSource(str(tmp_path / "wide.parquet")).pieces()
    assert [len(part.frame) for part in file.parts(None)] == [5_000, 1_000]
    pd.DataFrame({"face": [[0.0] * 1_000] * 3_000}).to_parquet(tmp_path / "vectors.parquet")
    (file,) = FileSource(str(tmp_path / "vectors.parquet")).pieces()
    assert [len(part.frame) for part in file.parts(None)] == [2_500, 500]


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
