"""Flags, variables and the file: who wins, and that no misspelling passes."""

import pytest

from raftq_k8s.agent import sources
from raftq_k8s.agent.settings import Settings, SettingsError
from raftq_k8s.agent.sources import explained, load


@pytest.fixture(autouse=True)
def no_service_account(monkeypatch, tmp_path):
    monkeypatch.setattr(sources, "_SERVICE_ACCOUNT_NAMESPACE", tmp_path / "none")


@pytest.fixture
def config(tmp_path):
    def write(text):
        path = tmp_path / "raftq.toml"
        path.write_text(text)
        return str(path)

    return write


def test_without_anything_said_the_defaults_hold():
    assert load([], {}) == Settings()


def test_a_flag_wins_over_a_variable_and_a_variable_over_the_file(config):
    path = config('raft_port = 1\nhttp_port = 2\nprofile = "steady"')
    settings = load(["--config", path, "--raft-port", "5"], {"RAFTQ_RAFT_PORT": "4", "RAFTQ_HTTP_PORT": "3"})
    assert (settings.raft_port, settings.http_port, settings.profile) == (5, 3, "steady")


def test_the_file_may_be_named_by_a_variable(config):
    assert load([], {"RAFTQ_CONFIG": config("raft_port = 7")}).raft_port == 7


def test_every_setting_has_all_three_doors(config):
    for key, setting in explained().items():
        value = setting.choices[-1] if setting.choices else "2048" if setting.metavar == "NUMBER" else "text"
        expected = getattr(load([setting.flag, value], {}), key)
        assert str(expected).removesuffix(".0") == value
        assert getattr(load([], {setting.variable: value}), key) == expected
        literal = value if setting.metavar == "NUMBER" else f'"{value}"'
        assert getattr(load(["--config", config(f"{key} = {literal}")], {}), key) == expected


def test_the_pod_names_itself_unless_told_otherwise():
    pod = {"POD_NAME": "raftq-2", "POD_NAMESPACE": "there"}
    assert (load([], pod).name, load([], pod).namespace) == ("raftq-2", "there")
    assert load([], {**pod, "RAFTQ_NAME": "raftq-1"}).name == "raftq-1"


def test_the_namespace_is_that_of_the_service_account(monkeypatch, tmp_path):
    (tmp_path / "namespace").write_text("here\n")
    monkeypatch.setattr(sources, "_SERVICE_ACCOUNT_NAMESPACE", tmp_path / "namespace")
    assert load([], {}).namespace == "here"


def test_the_variable_of_the_commands_that_ask_agents_is_passed_over():
    assert load([], {"RAFTQ_SERVER": "http://raftq:7480"}) == load([], {})


def test_variables_that_kubernetes_makes_of_services_are_passed_over():
    settings = load(
        [],
        {
            "RAFTQ_SERVICE_HOST": "10.0.0.1",
            "RAFTQ_SERVICE_PORT": "7480",
            "RAFTQ_SERVICE_PORT_HTTP": "7480",
            "RAFTQ_PORT": "tcp://10.0.0.1:7480",
            "RAFTQ_PORT_7480_TCP": "tcp://10.0.0.1:7480",
            "RAFTQ_PORT_7480_TCP_ADDR": "10.0.0.1",
            "RAFTQ_PORT_7480_TCP_PORT": "7480",
            "RAFTQ_PORT_7480_TCP_PROTO": "tcp",
            "RAFTQ_LEADER_SERVICE_HOST": "10.0.0.2",
            "RAFTQ_LEADER_PORT_7480_TCP_ADDR": "10.0.0.2",
            "RAFTQ_HTTP_PORT": "tcp://10.0.0.3:80",  # a Service called raftq-http
        },
    )
    assert settings == Settings()


@pytest.mark.parametrize(
    ("arguments", "environment", "complaint"),
    [
        (["--prot", "1"], {}, "--prot"),
        (["--raft", "1"], {}, "--raft"),
        (["stray"], {}, "stray"),
        (["--raft-port"], {}, "--raft-port"),
        (["--raft-port", "x"], {}, "--raft-port: 'x' is not a whole number from 1 to 65535"),
        (["--raft-port", "0"], {}, "--raft-port: '0' is not a whole number from 1 to 65535"),
        (["--profile", "quick"], {}, "--profile: 'quick' is not one of fast, steady"),
        (["--heartbeat-ms", "0"], {}, "--heartbeat-ms: '0' is not a number from 1 to 60000"),
        (["--heartbeat-ms", "1e-9"], {}, "--heartbeat-ms: '1e-9' is not a number from 1 to 60000"),
        (["--minimum-election-ms", "1e300"], {}, "is not a number from 1 to 60000"),
        (["--maximum-election-ms", "inf"], {}, "--maximum-election-ms: 'inf' is not a number from 1 to 60000"),
        (["--maximum-election-ms", "3700000"], {}, "is not a number from 1 to 60000"),
        (["--birth-replicas", "2.5"], {}, "--birth-replicas: '2.5' is not a whole number"),
        (["--config", "/nowhere/raftq.toml"], {}, "/nowhere/raftq.toml: No such file"),
        ([], {"RAFTQ_PROFIL": "fast"}, "RAFTQ_PROFIL is no setting (did you mean RAFTQ_PROFILE?)"),
        ([], {"RAFTQ_LOG_LEVEL": "loud"}, "RAFTQ_LOG_LEVEL: 'loud' is not one of debug, info"),
        ([], {"RAFTQ_LEADER_PORT": "7480"}, "RAFTQ_LEADER_PORT is no setting"),
        ([], {"RAFTQ_HTTP_PORT": "http"}, "RAFTQ_HTTP_PORT: 'http' is not a whole number"),
    ],
)
def test_what_is_no_setting_is_refused_with_one_line(arguments, environment, complaint):
    with pytest.raises(SettingsError) as refusal:
        load(arguments, environment)
    assert complaint in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("raft_prot = 1", "raft_prot is no setting (did you mean raft_port?)"),
        ("raft_port = 1.5", "raft_port: 1.5 is not a whole number"),
        ("raft_port = true", "raft_port: True is not a whole number"),
        ("heartbeat_ms = nan", "heartbeat_ms: nan is not a number from 1 to 60000"),
        ("name = 3", "name: 3 is not a text"),
        ("[raft]\nport = 1", "raft is no setting"),
        ("raft_port = ", "is not TOML"),
    ],
)
def test_a_file_that_says_something_else_is_refused_with_one_line(config, text, complaint):
    with pytest.raises(SettingsError) as refusal:
        load(["--config", config(text)], {})
    assert complaint in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_help_fits_into_a_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        load(["--help"], {})
    assert max(map(len, capsys.readouterr().out.splitlines())) < 80


def test_help_explains_every_setting(capsys):
    with pytest.raises(SystemExit) as end:
        load(["--help"], {})
    assert end.value.code == 0
    told = capsys.readouterr().out
    assert all(setting.flag in told for setting in explained().values())
