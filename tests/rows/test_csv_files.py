"""CSV files as people write them: separators, encodings, words for gaps, counters, ragged rows."""

import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hub_trainer.errors import DataError
from hub_trainer.rows import CanonicalRows, RowSpec, canonical_rows, read_split
from hub_trainer.rows.own_schema import OwnSchema, describe_folder, in_own_schema
from tests.rows.conftest import Folder

TEXT = RowSpec("text", {"text": "text", "label": "label"})
TABLE = RowSpec("table", {"label": "label"})


def rows_of(root: Path, spec: RowSpec = TEXT) -> CanonicalRows:
    return canonical_rows(read_split(root, where="ds"), spec, source="ds")


def cells(found: CanonicalRows, name: str) -> list[Any]:
    return found.table[name].to_pylist()


def test_label_when_a_word_for_a_gap_then_is_a_label(folder: Folder) -> None:
    lines = "text,label\nbuy now,Spam\nat noon,Ham\nNA,None\nnull,nan\n"
    found = rows_of(folder({"train.csv": lines}))
    assert cells(found, "label") == ["Spam", "Ham", "None", "nan"]
    assert cells(found, "text") == ["buy now", "at noon", "NA", "null"]


def test_feature_when_numbers_hold_words_for_a_gap_then_they_are_gaps(folder: Folder) -> None:
    found = rows_of(folder({"train.csv": "a,b,label\n1,NA,x\nnan,red,None\n3.5,None,y\n"}), TABLE)
    assert cells(found, "a") == [1.0, None, 3.5]
    assert cells(found, "b") == [None, "red", None]
    assert cells(found, "label") == ["x", "None", "y"]


@pytest.mark.parametrize("late", ["NA", "x", "2.5"])
def test_column_when_its_kind_shows_after_many_rows_then_it_is_of_one_kind(
    folder: Folder, late: str
) -> None:
    lines = "a,label\n" + "1,p\n" * 15_000 + f"{late},q\n"
    found = rows_of(folder({"train.csv": lines}), TABLE)
    last = {"NA": None, "x": "x", "2.5": 2.5}[late]
    assert cells(found, "a")[-1] == last
    assert found.features == {"a": "category" if late == "x" else "number"}


def test_text_when_it_looks_like_a_number_then_stays_as_written(folder: Folder) -> None:
    found = rows_of(folder({"train.csv": "text,label\n007,a\n1.50,b\n41,a\n"}))
    assert cells(found, "text") == ["007", "1.50", "41"]


@pytest.mark.parametrize("mark", [";", "\t", "|", ","])
@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_separator_when_another_then_is_found(folder: Folder, mark: str, suffix: str) -> None:
    lines = [["text", "label"], ['"so, it; is | a\tday"', "a"], ["plain", "b"]]
    content = "".join(mark.join(line) + "\n" for line in lines)
    found = rows_of(folder({f"train.{suffix}": content}))
    assert cells(found, "text") == ["so, it; is | a\tday", "plain"]
    assert cells(found, "label") == ["a", "b"]


def test_separator_when_said_by_the_card_then_it_is_not_looked_for(folder: Folder) -> None:
    card = "configs:\n- {config_name: default, data_files: train.csv, sep: ','}"
    with pytest.raises(DataError, match="no column 'text'") as caught:
        rows_of(folder({"train.csv": "text;label\na;b\n"}, card))
    assert "separator in the card: sep" in str(caught.value)


def test_separator_when_texts_hold_another_then_is_not_misled(folder: Folder) -> None:
    lines = "text,label\n" + "".join(f"one; two; three {i},a\n" for i in range(9))
    assert cells(rows_of(folder({"train.csv": lines})), "text")[0] == "one; two; three 0"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_encoding_when_it_can_be_told_then_is_read(folder: Folder, encoding: str) -> None:
    content = "text,label\nça va bien,ünter\nje suis là,b\n".encode(encoding)
    found = rows_of(folder({"train.csv": content}))
    assert cells(found, "text") == ["ça va bien", "je suis là"]
    assert cells(found, "label") == ["ünter", "b"]


def test_encoding_when_it_cannot_be_told_then_says_line_and_key(folder: Folder) -> None:
    content = "text,label\nplain,a\nça,b\n".encode("latin-1")
    with pytest.raises(DataError, match="not UTF-8") as caught:
        rows_of(folder({"train.csv": content}))
    assert "train.csv" in str(caught.value)
    assert "byte 0xe7 in line 3" in str(caught.value)
    assert "encoding: latin-1" in str(caught.value)
    card = "configs:\n- {config_name: default, data_files: train.csv, encoding: latin-1}"
    assert cells(rows_of(folder({}, card)), "text") == ["plain", "ça"]


def test_encoding_when_unknown_then_the_card_is_named(folder: Folder) -> None:
    card = "configs:\n- {config_name: default, data_files: train.csv, encoding: klingon}"
    with pytest.raises(DataError, match="unknown encoding"):
        rows_of(folder({"train.csv": "text,label\na,b\n"}, card))


def test_header_when_it_has_white_space_then_is_stripped(folder: Folder) -> None:
    found = rows_of(folder({"train.csv": "\ufeff text , label \r\nhi, a\r\nho,a \r\n"}))
    assert cells(found, "label") == ["a", "a"]


@pytest.mark.parametrize("numbers", [range(4), range(1, 5), (7, 3, 9, 2), (0, 1, 0, 1)])
@pytest.mark.parametrize("name", ["", "Unnamed: 0"])
def test_column_when_nameless_and_counting_then_is_left_out(
    folder: Folder, name: str, numbers: Any
) -> None:
    lines = f"{name},a,label\n" + "".join(f"{n},{n}.5,x\n" for n in numbers)
    found = rows_of(folder({"train.csv": lines}), TABLE)
    counts = tuple(numbers) != (0, 1, 0, 1)
    assert list(found.features) == (["a"] if counts else ["Unnamed: 0", "a"])
    assert [note for note in found.notes if "'Unnamed: 0'" in note] != [] or not counts


def test_column_when_pandas_wrote_its_index_to_parquet_then_is_left_out(folder: Folder) -> None:
    import pyarrow as pa

    table = pa.table({"a": [1.0, 2.0], "label": ["x", "y"], "__index_level_0__": [5, 3]})
    found = rows_of(folder({"train.parquet": table}), TABLE)
    assert list(found.features) == ["a"]
    assert "__index_level_0__" in found.notes[0]


def test_column_when_left_out_already_then_drop_columns_may_name_it(folder: Folder) -> None:
    spec = RowSpec("table", {"label": "label"}, drop_columns=["Unnamed: 0"])
    found = rows_of(folder({"train.csv": ",a,label\n0,1,x\n1,5,y\n"}), spec)
    assert list(found.features) == ["a"]


def test_column_when_r_wrote_row_names_then_no_cell_is_shifted(folder: Folder) -> None:
    lines = '"a","label"\n"1",3.5,"x"\n"2",4.5,"y"\n'
    found = rows_of(folder({"train.csv": lines}), TABLE)
    assert cells(found, "a") == [3.5, 4.5]
    assert cells(found, "label") == ["x", "y"]


def test_column_when_named_and_counting_then_a_person_is_told(folder: Folder) -> None:
    lines = "id,a,label\n" + "".join(f"{n},{n % 3},x\n" for n in range(1, 20))
    found = rows_of(folder({"train.csv": lines}), TABLE)
    assert list(found.features) == ["id", "a"]
    assert any("'id' counts the rows" in note for note in found.notes)


def test_separators_when_at_the_ends_of_lines_then_no_cell_is_shifted(folder: Folder) -> None:
    found = rows_of(folder({"train.csv": "text,label,\nhi,a,\nho,b,\n"}))
    assert (cells(found, "text"), cells(found, "label")) == (["hi", "ho"], ["a", "b"])
    found = rows_of(folder({"train.csv": "text,label\nhi,a,\nho,b,\n"}))
    assert (cells(found, "text"), cells(found, "label")) == (["hi", "ho"], ["a", "b"])


def test_rows_when_shorter_than_the_header_then_are_counted(folder: Folder) -> None:
    found = rows_of(folder({"train.csv": "text,label\nhi,a\nho\nhu,b\n"}))
    assert found.dropped == {"no label": 1}
    assert "1 row has fewer cells than the header, the first in row 2" in found.notes[0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('text,label\n"hi,a\nho,b\nhu,c\n', ["never closed", "line 2", "twice"]),
        ('text,label\n"hi,a\nho,b\n"hu",c\n', ["closed inside another cell", "line 2", "twice"]),
        ('text,label\n"hi,a\nho,b\n"hu, a",c\n', ["closed inside another cell", "line 2"]),
        ("text,label\nhi,a\nho,b,c\n", ["more cells", "line 3", "3 cells under 2", "quotes"]),
        ("text,label,label\nhi,a,b\n", ["same name", "label"]),
        ("text,label\n", ["no rows"]),
        ("text label\nhi a\n", ["no column 'text'", "separator in the card"]),
    ],
)
def test_file_when_broken_then_says_where_and_what_to_do(
    folder: Folder, content: str, words: list[str]
) -> None:
    with pytest.raises(DataError) as caught:
        rows_of(folder({"train.csv": content}))
    assert [word for word in words if word not in str(caught.value)] == []
    assert "do:" in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        "text,label\nhi,a\rho,b\r\nhu,c\n",
        'text,label\n"hi\nyou",a\n\n"he said ""ho""",b\nh\0u,c\n',
        "text,label\n" + "x" * 300_000 + ",a\nho,b\nhu,c\n",
    ],
    ids=["line endings", "quotes and zeros", "a large cell"],
)
def test_file_when_odd_but_sound_then_every_row_is_read(folder: Folder, content: str) -> None:
    found = rows_of(folder({"train.csv.gz": gzip.compress(content.encode())}))
    assert cells(found, "label") == ["a", "b", "c"]


def test_numbers_when_they_look_like_text_then_a_person_is_told(folder: Folder) -> None:
    lines = "a;b;c;d;label\n1,5;2,000;?;-;x\n2,5;3,100;4;1,5;y\n" + "3,5;4,000;5;7;x\n" * 8
    found = rows_of(folder({"train.csv": lines}), TABLE)
    told = "'d' is numbers with a decimal comma in 90% of its cells, and '-' in the rest"
    assert any(told in note for note in found.notes)
    assert any("'a' holds numbers with a decimal comma, as '1,5'" in note for note in found.notes)
    assert any("'c' is numbers in 90% of its cells, and '?'" in note for note in found.notes)
    assert cells(found, "a")[:2] == [1.5, 2.5]
    assert cells(found, "b")[:2] == [2.0, 3.1], "another column says what the comma is"


@pytest.mark.parametrize(
    ("column", "found"),
    [
        (["28,95", "-3,5", "4", "NA"], [28.95, -3.5, 4.0, None]),
        (["1.234,56", "7,5", " +0,250 ", ""], [1234.56, 7.5, 0.25, None]),
        (["0,125", "1,250", "2,375", "3,5e2"], [0.125, 1.25, 2.375, 350.0]),
        (["1,234", "2,345", "5", "7"], ["1,234", "2,345", "5", "7"]),
        (["28,95", "1.234", "5", "7"], ["28,95", "1.234", "5", "7"]),
        (["28,95", "cheap", "5", "7"], ["28,95", "cheap", "5", "7"]),
        (["1,2", "1,2,3", "5", "7"], ["1,2", "1,2,3", "5", "7"]),
    ],
)
def test_commas_when_cells_are_parted_by_semicolons_then_decimal_if_they_can_be_nothing_else(
    folder: Folder, column: list[str], found: list[Any]
) -> None:
    lines = "a;label\n" + "".join(f"{cell};x\n" for cell in column)
    raw = read_split(folder({"train.csv": lines}))
    assert raw.table["a"].to_pylist() == found
    assert raw.as_written("a").to_pylist()[:2] == column[:2]
    is_number = not isinstance(found[0], str)
    assert [n for n in raw.notes if "read as numbers" in n] == is_number * [
        f"the column 'a' holds numbers with a decimal comma, as {column[0]!r}: they are read as "
        "numbers"
    ]


def test_points_when_another_column_has_decimal_commas_then_between_thousands(
    folder: Folder,
) -> None:
    lines = "km;price;level;label\n84,1;465;1.5;x\n7,5;7.852;2;x\n9,0;1.006.964;3;x\n"
    raw = read_split(folder({"train.csv": lines}))
    assert raw.table["price"].to_pylist() == [465, 7852, 1006964]
    assert raw.table["km"].to_pylist() == [84.1, 7.5, 9.0]
    assert raw.table["level"].to_pylist() == [1.5, 2.0, 3.0]
    assert (
        "the column 'price' holds points between thousands, as '7.852', as the file's decimal sign "
        "is a comma: they are read as whole numbers"
    ) in raw.notes


@pytest.mark.parametrize(
    ("column", "is_told"),
    [
        (["465", "7.852", "959"], True),
        (["4.651", "7.852", "9.590"], False),
        (["465", "7.85", "959"], False),
        (["465", "0.852", "959"], False),
    ],
)
def test_points_when_nothing_says_what_they_are_then_decimal_and_told_where_doubtful(
    folder: Folder, column: list[str], is_told: bool
) -> None:
    lines = "price;label\n" + "".join(f"{cell};x\n" for cell in column)
    raw = read_split(folder({"train.csv": lines}))
    assert raw.table["price"].to_pylist() == [float(cell) for cell in column]
    assert [one for one in raw.notes if "point is read as a decimal one" in one] == is_told * [
        "the column 'price' holds '7.852' beside whole numbers: the point is read as a decimal "
        "one; if it stands between thousands, write the numbers without it, or let the card say "
        'thousands: "."'
    ]


def test_commas_when_the_card_says_what_they_are_then_it_is_believed(folder: Folder) -> None:
    card = "configs:\n- {config_name: default, data_files: train.csv, sep: ';', thousands: ','}"
    raw = read_split(folder({"train.csv": "a;b;label\n1,250;2,5;x\n"}, card))
    assert raw.table.to_pylist() == [{"a": 1250, "b": 25, "label": "x"}]


def test_commas_when_they_part_names_then_no_decimal_ones(folder: Folder) -> None:
    spec = RowSpec("text", {"text": "text", "labels": "labels"})
    found = rows_of(folder({"train.csv": "text;labels\nhi;1,2\nho;3\n"}), spec)
    assert cells(found, "labels") == [["1", "2"], ["3"]]


@pytest.mark.parametrize("gap", ["NA", "None", " ", ""])
@pytest.mark.parametrize("mark", ["label", "weight"])
def test_category_when_a_gap_then_is_one_in_the_datasets_own_rows(
    tmp_path: Path, gap: str, mark: str
) -> None:
    there, new = tmp_path / "there", tmp_path / "new"
    there.mkdir()
    new.mkdir()
    cells = {"label": ("NA", "b"), "weight": ("1.5", "2")}[mark]
    answers = list(cells) if mark == "label" else [1.5, 2.0]
    pq.write_table(
        pa.table({"age": [1, 2], "sex": ["m", None], mark: answers}), there / "train.parquet"
    )
    (new / "train.csv").write_text(f"age,sex,{mark}\n1,{gap},{cells[0]}\n2,f,{cells[1]}\n")
    schema = OwnSchema.from_json(describe_folder(str(there), "train"))
    assert OwnSchema.from_json(schema.to_json()) == schema
    rows = in_own_schema(read_split(new), schema, {}, where="new")
    assert rows["sex"].to_pylist() == [None, "f"]
    assert rows[mark].to_pylist() == answers, "a label called NA stays one"


def test_category_when_the_dataset_itself_has_one_called_na_then_is_no_gap(tmp_path: Path) -> None:
    there, new = tmp_path / "there", tmp_path / "new"
    there.mkdir()
    new.mkdir()
    known = {"age": [1, 2], "land": ["NA", None], "label": ["a", "b"]}
    pq.write_table(pa.table(known), there / "train.parquet")
    (new / "train.csv").write_text("age,land,label\n1,NA,a\n2,US,b\n")
    schema = OwnSchema.from_json(describe_folder(str(there), "train"))
    rows = in_own_schema(read_split(new), schema, {}, where="new")
    assert rows["land"].to_pylist() == ["NA", "US"]


def test_floats_when_read_then_are_those_of_pandas_to_the_last_bit(folder: Folder) -> None:
    import io

    import numpy as np
    import pandas as pd

    values = [f"{v:.{d}f}" for d in (3, 6, 17) for v in np.random.default_rng(0).normal(size=500)]
    values[0] = values[7] = ""
    content = "a,label\n" + "".join(f"{value},x\n" for value in values)
    found = rows_of(folder({"train.csv": content}), TABLE)
    theirs = pd.read_csv(io.StringIO(content))["a"].tolist()
    assert cells(found, "a") == [None if value != value else value for value in theirs]


def test_files_when_one_has_other_columns_then_both_are_named(folder: Folder) -> None:
    files = {"train-0.csv": "text,label\na,b\n", "train-1.csv": "label,words\nb,a\n"}
    with pytest.raises(DataError, match="other columns") as caught:
        rows_of(folder(files))
    assert "train-1.csv, beside train-0.csv" in str(caught.value)
    assert "lacks text; has also words" in str(caught.value)


def test_files_when_their_columns_stand_in_another_order_then_are_joined(folder: Folder) -> None:
    files = {"train-0.csv": "text,label\na,b\n", "train-1.csv": ",label;text\n".replace(",", "")}
    files["train-1.csv"] = "label;text\nb;c\n"
    assert cells(rows_of(folder(files)), "text") == ["a", "c"]


@pytest.mark.parametrize(
    ("declared", "message"),
    [("score, dtype: string", "does|do not have"), ("label, dtype: int64", "type that the card")],
)
def test_column_when_it_is_not_as_declared_then_says_which(
    folder: Folder, declared: str, message: str
) -> None:
    card = f"dataset_info:\n  features:\n  - {{name: {declared}}}"
    with pytest.raises(DataError, match=message) as caught:
        rows_of(folder({"train.csv": "text,label\na,b\n"}, card))
    assert "dataset_info" in str(caught.value)


@pytest.mark.parametrize("first", ["sep=;", '"sep=;"'])
def test_separator_when_excel_names_it_before_the_header_then_is_believed(
    folder: Folder, first: str
) -> None:
    raw = read_split(folder({"train.csv": f"{first}\r\ntext;label\r\nhi, you;a\r\n"}))
    assert raw.table.to_pylist() == [{"text": "hi, you", "label": "a"}]


def test_column_when_no_row_has_a_value_then_is_empty(folder: Folder) -> None:
    raw = read_split(folder({"train.csv": "a,gap,label\n1,,x\n2,,y\n"}))
    assert raw.table["gap"].to_pylist() == [None, None]


def test_number_when_infinite_then_is_a_gap_and_said(folder: Folder) -> None:
    rows = rows_of(folder({"train.csv": "a,label\n1,x\ninf,y\n-inf,x\n2.5,y\n"}), TABLE)
    assert rows.table["a"].to_pylist() == [1.0, None, None, 2.5]
    assert "the column 'a' is infinite in 2 rows: they are gaps" in rows.notes


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("train.csv", 'text, label\n"hi, you", "a"\nyo, b\n', ["hi, you", "yo"]),
        (
            "train.csv",
            'text,label\n"say \\"hi, you\\"",a\n"C:\\n\\\\",b\n',
            ['say "hi, you"', "C:\\n\\\\"],
        ),
        ("train.csv", 'text,label\n"C:\\dir\\",a\n"say ""hi""",b\n', ["C:\\dir\\", 'say "hi"']),
        ("train.csv", 'text,label\n"Great" film,a\n"x ""y""" ,b\n', ['"Great" film', 'x "y"']),
        ("train.tsv", 'text\tlabel\n"hi" he\ta\n"ho\tb\n', ['"hi" he', '"ho']),
        ("train.tsv", 'text\tlabel\n"a\tb"\ta\n"ho"\tb\n', ["a\tb", "ho"]),
        ("train.csv", "\ufeff\ufefftext,label\nhi,a\nyo,b\n", ["hi", "yo"]),
    ],
)
def test_quotes_when_written_in_another_way_then_texts_are_whole(
    folder: Folder, name: str, content: str, found: list[str]
) -> None:
    rows = rows_of(folder({name: content}))
    assert cells(rows, "text") == found
    assert cells(rows, "label") == ["a", "b"]


def test_quotes_when_a_tsv_has_one_late_then_no_row_is_swallowed(folder: Folder) -> None:
    lines = "text\tlabel\n" + "yo\ta\n" * 200 + '"hi she said\tb\n' + "ho\ta\n" * 9
    assert rows_of(folder({"train.tsv": lines})).table.num_rows == 210


def test_quote_when_closed_inside_a_cell_that_holds_the_separator_then_error_names_the_line(
    folder: Folder,
) -> None:
    with pytest.raises(DataError, match="closed inside a cell") as caught:
        rows_of(folder({"train.csv": 'text,label\nyo,b\n"Great" film, good,a\n'}))
    assert "line 3" in str(caught.value)


@pytest.mark.parametrize(
    ("cells_of", "note"),
    [
        ("${}.50", "holds numbers that are not written alone ('$0.50'): it is read as categories"),
        ("{} kg", "holds numbers that are not written alone ('0 kg')"),
        ("{} 000", "holds numbers that are not written alone ('0 000')"),
        ("1{}%", "holds numbers that are not written alone ('10%')"),
        ("\u2212{}", "holds numbers that are not written alone ('\u22120')"),
        ('"1{},234"', "with a comma, a decimal one or one between thousands ('10,234')"),
        ('"{},5"', "holds numbers written with a decimal comma ('0,5')"),
        ("2024-01-{}", "holds dates in a way that can be misread ('2024-01-0')"),
        ("id{}x{}", "has 25 different texts in 25 rows, as 'id0x0'"),
    ],
)
def test_column_when_it_is_probably_no_category_then_said(
    folder: Folder, cells_of: str, note: str
) -> None:
    lines = "a,label\n" + "".join(f"{cells_of.format(i, i)},{'xy'[i % 2]}\n" for i in range(25))
    found = rows_of(folder({"train.csv": lines}), TABLE)
    assert found.features == {"a": "category"}
    assert note in found.notes[0]


def test_column_when_a_category_then_only_its_case_is_noted(folder: Folder) -> None:
    lines = "a,b,label\n" + "".join(
        f"{['Red', 'red', 'blue'][i % 3]},Type {i % 3},{'xy'[i % 2]}\n" for i in range(30)
    )
    assert rows_of(folder({"train.csv": lines}), TABLE).notes == (
        "the column 'a' holds 'Red' (10 rows), 'red' (10 rows), which are different categories",
    )


def test_cell_when_not_of_the_declared_type_then_error_names_its_row(folder: Folder) -> None:
    card = (
        "dataset_info: {features: [{name: text, dtype: string}, "
        "{name: label, dtype: {class_label: {names: {'0': neg, '1': pos}}}}]}"
    )
    lines = "text,label\n" + "a,neg\nb,1\n" * 50 + "c,meh\n" + "a,neg\n" * 9
    with pytest.raises(DataError, match="not of the type") as caught:
        rows_of(folder({"train.csv": lines}, card))
    assert "column label, row 101\n" in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "hint"),
    [
        ("# mine\ntext,label\na,x\n", "how many come before it in the card: skiprows"),
        ("My export,,\ntext,label,n\na,x,1\n", "how many come before it in the card: skiprows"),
        ("text^label\na^x\n", "its separator in the card: sep"),
        ("body\na\n", "columns: {text: <one of them>, label: <one of them>}"),
    ],
)
def test_header_when_it_is_none_then_the_hint_says_what_may_be_wrong(
    folder: Folder, lines: str, hint: str
) -> None:
    with pytest.raises(DataError, match="has no column 'text'") as caught:
        rows_of(folder({"train.csv": lines}))
    assert str(caught.value).endswith(hint)
