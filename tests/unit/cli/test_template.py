import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.cli.template import Template
from wherry.errors import WherryError

VALUE = {
    "Name": "web",
    "State": {"Status": "running", "Pid": 7, "OOMKilled": False},
    "Ports": {"80/tcp": [{"HostPort": "8080"}]},
    "Args": ["a", "b"],
    "Labels": {"x": "1"},
    "Empty": [],
    "Nothing": None,
}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{.Name}}", "web"),
        ("{{ .State.Status }}/{{.State.Pid}}", "running/7"),
        ("{{json .State}}", '{"Status":"running","Pid":7,"OOMKilled":false}'),
        ("{{.State | json}}", '{"Status":"running","Pid":7,"OOMKilled":false}'),
        ("{{range .Args}}[{{.}}]{{end}}", "[a][b]"),
        ("{{range $i, $v := .Args}}{{$i}}={{$v}};{{end}}", "0=a;1=b;"),
        ("{{range $k, $v := .Ports}}{{$k}}->{{(index $v 0).HostPort}}{{end}}", None),
        ('{{(index (index .Ports "80/tcp") 0)}}', "map[HostPort:8080]"),
        ('{{index .Labels "x"}}', "1"),
        ("{{if .State.OOMKilled}}y{{else}}n{{end}}", "n"),
        ('{{if eq .Name "db"}}d{{else if eq .Name "web" "www"}}w{{else}}?{{end}}', "w"),
        ("{{with .State}}{{.Pid}}{{end}}", "7"),
        ("{{with .Empty}}x{{else}}none{{end}}", "none"),
        ("{{range .Empty}}x{{else}}none{{end}}", "none"),
        ('{{join .Args ","}}', "a,b"),
        ("{{.Args}}", "[a b]"),
        ("{{.State.OOMKilled}}", "false"),
        ("{{.Nothing}}", "<no value>"),
        ("{{upper .Name}} {{title .Name}} {{len .Args}}", "WEB Web 2"),
        ("{{println .Name}}", "web\n"),
        ('{{printf "%s-%d" .Name 3}}', "web-3"),
        ("a {{- .Name -}} b", "aweb b".replace(" b", "b")),
        ("{{$x := .Name}}{{$x}}", "web"),
        ("{{/* note */}}x", "x"),
        ('{{"a}}b"}}', "a}}b"),
        ("{{range .Args}}{{$.Name}}{{end}}", "webweb"),
        ("{{and .Name .Args}} {{or .Empty .Name}} {{not .Empty}}", "[a b] web true"),
        ("{{.name}}", "web"),
        ("plain", "plain"),
    ],
)
def test_renders(template, expected):
    if expected is None:
        with pytest.raises(WherryError):
            Template(template).render(VALUE)
    else:
        assert Template(template).render(VALUE) == expected


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{{.Missing}}", "no field 'Missing'"),
        ("{{if .Name}}", "missing {{end}}"),
        ("{{end}}", "unexpected {{end}}"),
        ("{{nope .Name}}", "function 'nope' not defined"),
        ("{{.Name", "unclosed action"),
        ("{{index .Args 9}}", "index"),
        ("{{.Name.Inner}}", "no field 'Inner'"),
        ("{{$y}}", "undefined variable"),
        ("{{.Name .Name}}", "only a function takes arguments"),
        ("{{}}", "empty command"),
    ],
)
def test_refuses(template, says):
    with pytest.raises(WherryError, match="(?s)" + says.replace("{", r"\{").replace("}", r"\}").replace("$", r"\$")):
        Template(template).render(VALUE)


@given(st.text(st.sampled_from('{}.|"`$() abN:=-,\\endifrg')))
def test_any_text_renders_or_is_refused(text):
    try:
        Template(text).render(VALUE)
    except WherryError:
        pass
