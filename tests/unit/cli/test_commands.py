"""What holds for every command, of whatever file it is."""

from typer.main import get_command

from raftq_k8s.cli.commands import application, run

WITHOUT_JSON = {"agent", "run"}
"""They do not answer: they run."""


def leaves():
    for name, command in get_command(application).commands.items():
        below = getattr(command, "commands", None)
        yield from ((f"{name} {inner}", each) for inner, each in below.items()) if below else [(name, command)]


def test_every_command_has_examples_in_its_help():
    assert [
        name for name, command in leaves() if not command.hidden and "[bold]raftq" not in (command.epilog or "")
    ] == []


def test_every_command_that_answers_can_do_so_in_json():
    answering = [(name, command) for name, command in leaves() if not command.hidden and name not in WITHOUT_JSON]
    assert [name for name, command in answering if not any("--json" in each.opts for each in command.params)] == []


def test_a_mistake_names_the_help_of_the_command_that_was_meant(capsys):
    assert run(["data", "gett"]) == 2
    assert run(["members", "remove"]) == 2
    assert run(["status", "--serve", "x"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert [line.rpartition("(see ")[2] for line in said] == [
        '"raftq data --help")',
        '"raftq members remove --help")',
        '"raftq status --help")',
    ]


def test_what_is_no_address_is_a_mistake(capsys):
    assert run(["data", "get", "--server", "ftp://raftq"]) == 2
    assert "'ftp://raftq' is no address of a server" in capsys.readouterr().err


def test_what_is_no_json_is_a_mistake_that_says_how_it_is_put(capsys):
    assert run(["data", "put", "colour", "blue"]) == 2
    assert "--text" in capsys.readouterr().err


def test_a_group_without_a_command_shows_its_help_and_nothing_else(capsys):
    assert run(["data"]) == 2
    said = capsys.readouterr()
    assert "Usage: raftq data" in said.out
    assert said.err == ""


def test_a_token_file_that_cannot_be_read_is_a_mistake_said_once(tmp_path, capsys):
    assert run(["data", "get", "--token-file", str(tmp_path / "none")]) == 2
    assert (
        capsys.readouterr().err == f"raftq: the token file {tmp_path}/none cannot be read: No such file or directory\n"
    )


def test_no_usage_has_brackets_twice(capsys):
    for name, command in leaves():
        if name not in ("agent", "run") and not command.hidden:
            assert run([*name.split(), "--help"]) == 0
    assert "[[" not in capsys.readouterr().out
