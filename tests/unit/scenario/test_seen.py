from lab.scenario.seen import Output, Seen, table


def test_a_kubectl_table_is_split_by_its_titles() -> None:
    text = (
        "NAME                     READY   STATUS    RESTARTS      AGE   NOMINATED NODE\n"
        "jiuxi-7c5d8bf9f-x2x4z    1/1     Running   1 (3s ago)    5m    <none>\n"
        "other                            Pending   0             2s\n"
    )
    first, second = table(text)
    assert first["RESTARTS"] == "1 (3s ago)"
    assert first["NOMINATED NODE"] == "<none>"
    assert second["READY"] == ""
    assert second["STATUS"] == "Pending"


def test_nothing_printed_is_an_empty_table() -> None:
    assert table("\n") == []


def test_short_cuts_speak_of_the_last_output() -> None:
    seen = Seen((Output("a", ("a",), "1"), Output("b", ("b",), '{"x": 2}', "warning")))
    assert len(seen) == 2
    assert seen.last.json() == {"x": 2}
    assert seen.text == '{"x": 2}warning'
    assert [one.shown for one in seen] == ["a", "b"]
