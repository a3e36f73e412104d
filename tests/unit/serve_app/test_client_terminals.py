"""Terminals of programs: a command's output, separated from everything else that is there."""

from __future__ import annotations

import pytest

from coditect.automation import MAX_OUTPUT, Printed
from coditect.errors import NotFound, TerminalClosed
from tests.support.waiting import wait_until


async def used(client, session_id: str) -> None:
    """Leave a transcript in the person's terminal, as of a day's work."""
    async with await client.terminal(session_id, "main") as terminal:
        await terminal.send("echo before-$((1 + 1))\r")
        await terminal.read_until(b"before-2\r\n")


async def test_a_programs_terminal_shows_what_its_own_commands_print(ada, session_id):
    await used(ada, session_id)
    for number in range(2):
        async with await ada.terminal(session_id) as terminal:
            await terminal.send(f"echo mark-$(({number} + 40))\r")
            seen = await terminal.read_until(b"$ ")
            assert f"\r\nmark-{number + 40}\r\n$ ".encode() in seen
            assert b"before" not in seen


async def test_it_is_not_the_persons_and_is_gone_when_it_is_closed(ada, session_id):
    await used(ada, session_id)
    terminal = await ada.terminal(session_id)
    await terminal.run("echo secret-$((1 + 2)); export LEFT=1")
    names = {each.name for each in await ada.terminals(session_id)}
    [own] = names - {"main"}
    assert own.startswith("auto-")
    await terminal.close()
    assert {each.name for each in await ada.terminals(session_id)} == {"main"}
    with pytest.raises(NotFound):
        [_ async for _ in ada.output(session_id, own)]
    said = b"".join([part async for part in ada.output(session_id, "main")])
    assert b"secret-3" not in said


@pytest.mark.parametrize(
    ("command", "output", "exit_code"),
    [
        ("echo one; echo two >&2", "one\ntwo\n", 0),
        ("printf 'no newline'", "no newline", 0),
        ("true", "", 0),
        ("(exit 3)", "", 3),
        ("no-such-program 2>/dev/null", "", 127),
        ("kill -9 $BASHPID", None, None),
        ("cat <<'end'\na\tb\n!! \"$HOME\" 'q'\nend", "a\tb\n!! \"$HOME\" 'q'\n", 0),
        ("for i in 1 2 3\ndo echo $i\ndone", "1\n2\n3\n", 0),
        ("echo 'ä 漢 👩‍💻'", "ä 漢 👩‍💻\n", 0),
        ("printf '$ \\n$ '", "$ \n$ ", 0),
        ("echo " + "x" * 6000, "x" * 6000 + "\n", 0),
        ("echo hidden # a comment", "hidden\n", 0),
    ],
)
async def test_run_returns_what_was_printed_and_the_status(
    ada, session_id, command, output, exit_code
):
    async with await ada.terminal(session_id) as terminal:
        if output is None:
            with pytest.raises(TerminalClosed):
                await terminal.run(command)
            return
        done = await terminal.run(command)
        assert (done.output, done.exit_code, done.truncated) == (output, exit_code, False)
        # And the next one begins at a prompt.
        assert (await terminal.run("echo next")).output == "next\n"


async def test_what_a_command_changes_in_the_shell_stays(ada, session_id):
    async with await ada.terminal(session_id) as terminal:
        await terminal.run("mkdir -p deep && cd deep && WORD=kept")
        done = await terminal.run('echo "${PWD##*/} $WORD"')
        assert done.output == "deep kept\n"
        assert (await terminal.run("cat /dev/null; false")).exit_code == 1


async def test_a_command_that_does_not_end_is_interrupted_and_the_shell_goes_on(ada, session_id):
    async with await ada.terminal(session_id) as terminal:
        with pytest.raises(TimeoutError, match="not ended"):
            await terminal.run("sleep 600", timeout_seconds=0.5)
        assert (await terminal.run("echo on")).output == "on\n"


async def test_a_shell_that_exits_reports_with_what(ada, session_id):
    async with await ada.terminal(session_id) as terminal:
        with pytest.raises(TerminalClosed) as ended:
            await terminal.run("exit 5")
        assert ended.value.exit_code == 5


async def test_a_strange_prompt_of_the_persons_does_not_matter(ada, session_id):
    async with await ada.terminal(session_id) as terminal:
        await terminal.run("PS1='\\e[31m%# '; PROMPT_COMMAND='echo noise'")
        assert (await ada.exec(session_id, ["true"])).exit_code == 0
    async with await ada.terminal(session_id, "main") as terminal:
        # In a person's terminal it works as well; only the prompt is theirs.
        assert (await terminal.run("echo fine")).output == "fine\n"


async def test_where_a_terminals_output_begins_is_asked_of_a_terminal_with_a_name(ada, session_id):
    with pytest.raises(ValueError, match="offset"):
        await ada.terminal(session_id, offset=0)


async def test_closing_the_client_ends_its_own_terminals(rig, ada, session_id):
    async with await rig.sign_in() as other:
        await other.terminal(session_id)
        assert len(await ada.terminals(session_id)) == 1

    async def names() -> set[str]:
        return {each.name for each in await ada.terminals(session_id)}

    await wait_until(names, lambda found: not found)


def test_output_without_end_is_cut_and_its_end_is_found():
    printed = Printed("w")
    printed.take(b"echo of the line \\033]8133;w;begin\\007 \x1b]8133;w;be")
    printed.take(b"gin\x07")
    for _ in range(3 * MAX_OUTPUT >> 20):
        printed.take(b"y" * (1 << 20))
        assert len(printed._seen) <= MAX_OUTPUT + (1 << 21)
    assert printed.result() is None
    printed.take(b"\x1b]8133;other;0\x07\x1b]8133;")
    printed.take(b"w;4\x07$ ")
    result = printed.result()
    assert result is not None
    assert (result.exit_code, len(result.output), result.truncated) == (4, MAX_OUTPUT, True)
    assert printed.rest() == b"$ "
