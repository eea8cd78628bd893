"""Printed output: lines that suit a log, names that may contain anything."""

from vlg_fastai import console


def test_names_with_brackets_and_of_any_length_stay_as_they_are(capsys):
    line = "runs/[bold]x[/bold] " + "y" * 300
    console.say(line)
    assert capsys.readouterr().out == line + "\n"
    console.show("t", ["file", "n"], [("[red]a[/red]", 1)])
    assert "[red]a[/red]" in capsys.readouterr().out


def test_names_that_the_output_cannot_show_become_escapes(capsys, monkeypatch):
    name = b"h\xf6hle".decode("utf-8", "surrogateescape")
    console.say(name)
    assert capsys.readouterr().out == "h\\udcf6hle\n"
    monkeypatch.setattr(type(console.console), "encoding", "ascii")
    assert console.printable("кит") == "\\u043a\\u0438\\u0442"


def test_seconds_are_said_as_a_person_says_them():
    assert [console.clock(s) for s in (8.2, 200, 7500)] == ["8 s", "3 min 20 s", "2 h 05 min"]


def test_a_log_gets_a_line_now_and_then_with_the_time_left(capsys, monkeypatch):
    monkeypatch.setattr(console, "LINE_EVERY", 0.0)
    assert list(console.track("abc", "reading", 3)) == ["a", "b", "c"]
    out = capsys.readouterr().out
    assert "reading 1/3, 0 s left" in out
    assert (
        "\r" not in out
    )  # fastai's own bar tests isatty without calling it and fills logs with these


def test_what_an_earlier_run_did_says_nothing_about_the_time_left(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    lines = console.Lines("trials", 8, before=3)
    now[0] += 60
    lines.update(3)
    assert not capsys.readouterr().out
    lines.update(4)
    assert capsys.readouterr().out == "trials 4/8, 4 min 00 s left\n"
    lines.update(0)  # all of it is done anew
    now[0] += 60
    lines.update(1)
    assert capsys.readouterr().out == "trials 1/8, 14 min 00 s left\n"


def test_a_log_is_quiet_about_what_is_quick(capsys):
    assert list(console.track(range(5), "reading", 5)) == list(range(5))
    assert capsys.readouterr().out == ""


def test_a_name_prints_as_it_is_spelled(capsys):
    console.say("class :x: of [red]")
    console.show(":x: title", ["name"], [[":x: [red]"]])
    told = capsys.readouterr().out
    assert told.count(":x:") == 3
    assert told.count("[red]") == 2


def test_one_photo_is_not_counted_in_the_plural():
    assert [console.counted(n) for n in (0, 1, 2)] == ["0 photos", "1 photo", "2 photos"]
    assert console.counted(1, "group") == "1 group"
