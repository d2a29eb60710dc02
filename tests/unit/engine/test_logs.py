from hypothesis import given
from hypothesis import strategies as st

from wherry.engine.logs import _last, _stored, parse_json_file, parse_k8s_file


def test_k8s_lines_and_parts():
    whole = parse_k8s_file(b"2026-01-02T03:04:05.000000001Z stdout F hello  world\n")
    part = parse_k8s_file(b"2026-01-02T03:04:05.000000001Z stderr P hel\n")
    assert (whole.time, whole.stream, whole.data) == ("2026-01-02T03:04:05.000000001Z", "stdout", b"hello  world\n")
    assert (part.stream, part.data) == ("stderr", b"hel")


def test_json_lines():
    line = parse_json_file(b'{"log":"a\\u00e4\\n","stream":"stdout","time":"t"}\n')
    assert (line.data, line.stream, line.time) == ("aä\n".encode(), "stdout", "t")


def test_rotated_files_come_first_and_a_torn_line_is_left_out(tmp_path):
    path = tmp_path / "log"
    (tmp_path / "log.2").write_bytes(b"t stdout F 1\n")
    (tmp_path / "log.1").write_bytes(b"t stdout F 2\n")
    path.write_bytes(b"t stdout F 3\nt stdout F to")
    assert [line.data for line in _stored(str(path), 3, parse_k8s_file)] == [b"1\n", b"2\n", b"3\n"]


def test_no_further_than_the_place_followed_from(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"t stdout F 1\nt stdout F 2\n")
    inode = path.stat().st_ino
    assert [line.data for line in _stored(str(path), 1, parse_k8s_file, upto=(inode, 13))] == [b"1\n"]
    (tmp_path / "log.1").write_bytes(path.read_bytes())
    old = (tmp_path / "log.1").stat().st_ino
    assert [line.data for line in _stored(str(path), 2, parse_k8s_file, upto=(old, 13))] == [b"1\n"]


@given(st.lists(st.integers()), st.integers(-1, 9))
def test_the_last_lines(lines, tail):
    kept = list(_last(iter(lines), tail))
    assert kept == (lines if tail < 0 else lines[len(lines) - min(tail, len(lines)) :])
