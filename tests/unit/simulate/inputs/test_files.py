"""Anybody's request log: read by the names of its columns, and never guessed."""

import gzip
import json
from pathlib import Path

import pytest

from trimtab.errors import InvalidInput
from trimtab.simulate.inputs.files import requests_in
from trimtab.simulate.inputs.spec import Columns, TimeUnit


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, "utf-8")
    return path


def test_azures_own_columns_and_seven_digits(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "azure.csv",
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:47.6805900,396,109\n",
    )
    traffic, read = requests_in(path)
    assert traffic.at_s.tolist() == [0.0, 1.0]
    assert traffic.input_tokens.tolist() == [374, 396]
    assert traffic.output_tokens.tolist() == [44, 109]
    assert "input=ContextTokens" in read


def test_zones_are_minded(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "z.csv",
        "time,input,output\n2026-01-01T01:00:00+01:00,1,1\n2026-01-01T00:00:30Z,2,2\n",
    )
    assert requests_in(path)[0].at_s.tolist() == [0.0, 30.0]


def test_mooncakes_milliseconds_and_blocks(tmp_path: Path) -> None:
    rows = [
        {"timestamp": 3000, "input_length": 600, "output_length": 5, "hash_ids": [1, 3]},
        {"timestamp": 0, "input_length": 700, "output_length": 6, "hash_ids": [1, 2]},
    ]
    path = written(tmp_path, "m.jsonl", "\n".join(map(json.dumps, rows)))
    traffic, _ = requests_in(path)
    assert traffic.at_s.tolist() == [0.0, 3.0]
    assert traffic.prefix == ((1, 2), (1, 3))


def test_an_inference_perf_report(tmp_path: Path) -> None:
    rows = [
        {"start_time": 5000.5, "end_time": 5001.0, "request": "{}",
         "info": {"input_tokens": 12, "output_tokens": 3}},
        {"start_time": 5001.75, "end_time": 5002.0, "request": "{}",
         "info": {"input_tokens": 14, "output_tokens": 0}},
    ]  # fmt: skip
    path = written(tmp_path, "per_request_lifecycle_metrics.json", json.dumps(rows))
    traffic, _ = requests_in(path)
    assert traffic.at_s.tolist() == [0.0, 1.25]
    assert traffic.input_tokens.tolist() == [12, 14]
    assert traffic.output_tokens.tolist() == [3, 1]


@pytest.mark.parametrize(
    ("first", "second", "gap_s"),
    [
        ("1700000000", "1700000002", 2.0),
        ("1700000000000", "1700000000250", 0.25),
        ("1700000000000000", "1700000000500000", 0.5),
    ],
)
def test_unix_times_tell_their_unit_by_their_size(
    tmp_path: Path, first: str, second: str, gap_s: float
) -> None:
    path = written(tmp_path, "u.csv", f"ts,isl,osl\n{first},1,1\n{second},1,1\n")
    assert requests_in(path)[0].at_s.tolist() == pytest.approx([0.0, gap_s])


def test_a_time_without_a_unit_is_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path, "t.csv", "timestamp,input,output\n0,1,1\n1500,1,1\n")
    with pytest.raises(InvalidInput, match="unit is unknown") as raised:
        requests_in(path)
    assert "timestamp" in raised.value.field
    assert requests_in(path, Columns(unit=TimeUnit.MS))[0].at_s.tolist() == [0.0, 1.5]


def test_the_name_of_a_column_may_tell_the_unit(tmp_path: Path) -> None:
    path = written(tmp_path, "t.csv", "t_ms,input,output\n0,1,1\n1500,1,1\n")
    assert requests_in(path)[0].at_s.tolist() == [0.0, 1.5]


def test_two_columns_that_fit_are_not_chosen_between(tmp_path: Path) -> None:
    path = written(
        tmp_path, "two.csv", "t_s,prompt_tokens,input_tokens,output\n0,1,10,1\n1,1,10,1\n"
    )
    with pytest.raises(InvalidInput, match="prompt_tokens and input_tokens could both be it"):
        requests_in(path)
    chosen, _ = requests_in(path, Columns(input="input_tokens"))
    assert chosen.input_tokens.tolist() == [10, 10]


def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    path = written(tmp_path, "no.csv", "t_s,words,output\n0,1,1\n")
    with pytest.raises(InvalidInput, match="there are t_s, words, output") as raised:
        requests_in(path)
    assert "columns.input" in raised.value.remedy


def test_a_wrong_cell_is_named_by_row_and_column(tmp_path: Path) -> None:
    path = written(tmp_path, "bad.csv", "t_s,input,output\n0,1,1\n1,many,1\n")
    with pytest.raises(InvalidInput, match="row 2 has 'many'"):
        requests_in(path)


def test_models_are_told_apart_and_one_is_chosen(tmp_path: Path) -> None:
    path = written(tmp_path, "models.csv", "t_s,input,output,model\n0,1,1,a\n1,2,2,b\n2,3,3,a\n")
    with pytest.raises(InvalidInput, match="rows of 2 models: a, b"):
        requests_in(path)
    assert requests_in(path, model="a")[0].input_tokens.tolist() == [1, 3]
    assert requests_in(path, model="b")[0].at_s.tolist() == [1.0]  # beside those of the other
    with pytest.raises(InvalidInput, match="no row is of model c"):
        requests_in(path, model="c")
    path = written(tmp_path, "bad.csv", "t_s,input,output,model\n0,1,1,a\n1,2,2,b\n2,x,3,b\n")
    with pytest.raises(InvalidInput, match="row 3 has 'x'"):
        requests_in(path, model="b")


def test_gzipped_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"t_s,input,output\n0,1,1\n4,1,1\n"))
    assert requests_in(path)[0].at_s.tolist() == [0.0, 4.0]


@pytest.mark.parametrize(
    ("name", "text"), [("e.csv", "t_s,input,output\n"), ("e.jsonl", ""), ("e.json", "[1]"),
                       ("e.json", "{"), ("e.txt", "1 2 3")]
)  # fmt: skip
def test_a_file_without_requests_is_refused(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(InvalidInput):
        requests_in(written(tmp_path, name, text))


def test_line_separators_of_unicode_in_a_prompt_end_no_row(tmp_path: Path) -> None:
    prompt = "gr\u00fc\u00dfe\u2028\u65e5\u672c\u0085\x0c"
    rows = [{"t_s": at, "prompt": prompt, "input": 7, "output": 3} for at in (0, 2)]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    assert requests_in(written(tmp_path, "u.jsonl", lines))[0].at_s.tolist() == [0.0, 2.0]
    table = f't_s,prompt,input,output\n0,{prompt},7,3\n2,"{prompt},\ntwo lines",8,3\n'
    assert requests_in(written(tmp_path, "u.csv", table))[0].input_tokens.tolist() == [7, 8]


def test_a_cell_may_be_a_prompt_of_any_length(tmp_path: Path) -> None:
    text = f"t_s,prompt,input,output\n0,{'a ' * 100_000},100000,3\n1,b,1,1\n"
    assert requests_in(written(tmp_path, "l.csv", text))[0].input_tokens.tolist() == [100_000, 1]


def test_columns_are_those_of_all_rows(tmp_path: Path) -> None:
    of_none = {"t_s": 0, "input": 1, "output": 1}
    rows = [of_none, {**of_none, "model": "a"}, {**of_none, "model": "b"}]
    path = written(tmp_path, "r.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InvalidInput, match="rows of 3 models: None, a, b"):
        requests_in(path)


@pytest.mark.parametrize(
    ("text", "says", "remedy"),
    [
        ("t_s,input,output\n0,1,1\n1,9,1,1\n", "row 2 has more cells", "Name every column"),
        ("t_s,input,input,output\n0,1,2,1\n", "two columns input", "its own name"),
        ("t_s;input;output\n0;1;1\n", "has no comma, but ';'", "commas"),
        ("t_s\tinput\toutput\n0\t1\t1\n", "has no comma, but", "commas"),
        ("t_s,input,output\n0,1,1e30\n", "'1e30', which is no count", "row"),
        ("t_s,input,output\n0,NaN,1\n", "'NaN', which is no count", "row"),
        ("t_s,input,output\n16/Nov/2023:18:15:46,1,1\n", "like 2026-11-25T12:00:00Z", "row"),
    ],
)
def test_a_table_that_could_be_misread_is_refused(
    tmp_path: Path, text: str, says: str, remedy: str
) -> None:
    with pytest.raises(InvalidInput, match=says) as raised:
        requests_in(written(tmp_path, "t.csv", text))
    assert remedy in raised.value.remedy


def test_empty_columns_behind_the_others_do_no_harm(tmp_path: Path) -> None:
    path = written(tmp_path, "t.csv", "t_s,input,output,,\n0,1,1,,\n1,2,2,,\n")
    assert requests_in(path)[0].input_tokens.tolist() == [1, 2]


def test_what_is_not_utf_8_is_told_so(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("t_s,na\u00efve,input,output\n0,1,1,1\n".encode("latin-1"))
    with pytest.raises(InvalidInput, match="no text in UTF-8") as raised:
        requests_in(path)
    assert raised.value.remedy == "Save it in UTF-8"
