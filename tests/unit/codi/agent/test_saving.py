"""A save keeps permissions, owner, attributes, names and content, whatever ends it."""

from __future__ import annotations

import errno
import os
import stat

import pytest

from cluster.codi.agent.errors import AgentError, from_os_error
from cluster.codi.agent.files import saving, temporary
from cluster.codi.agent.files.paths import Workspace


@pytest.fixture
def place(tmp_path):
    os.chdir(tmp_path)
    return Workspace(str(tmp_path))


def save(place, path, content, mode=None, fields=None):
    draft = saving.Draft(place, path, fields or {}, mode)
    try:
        draft.write(content)
        draft.sync()
        return draft.commit()
    finally:
        draft.discard()


def write(path, content=b"before", mode=0o644):
    with open(path, "wb") as file:
        file.write(content)
    os.chmod(path, mode)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def leftovers(tmp_path):
    return [each.name for each in tmp_path.rglob(".codi-*")]


def test_a_new_file_takes_the_place_of_the_old_one_at_once(place, tmp_path):
    write("a", mode=0o750)
    with open("a", "rb") as reader:
        save(place, b"a", b"after")
        assert reader.read() == b"before"
    assert (read("a"), stat.S_IMODE(os.stat("a").st_mode)) == (b"after", 0o750)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b"after", b"longer than it was before"])
def test_a_file_keeps_its_other_names(place, tmp_path, content):
    write("a", mode=0o640)
    os.link("a", "b")
    before = os.stat("a")
    etag = save(place, b"a", content)
    after = os.stat("a")
    assert read("b") == content
    assert (after.st_ino, after.st_nlink, after.st_mode) == (before.st_ino, 2, before.st_mode)
    assert etag == saving.etag_of(after) != saving.etag_of(before)
    assert leftovers(tmp_path) == []


def test_the_etag_changes_though_the_clock_stands(place):
    """As where a file system's clock ticks every few milliseconds, and the size is the same."""
    write("a", b"1")
    before = os.stat("a")
    with open("a", "r+b") as file:
        saving._make_newer(file.fileno(), before)
    assert saving.etag_of(os.stat("a")) != saving.etag_of(before)


@pytest.mark.parametrize("content", [b"", b"after"])
def test_attributes_are_kept(place, content):
    write("a")
    try:
        os.setxattr("a", "user.origin", b"https://example.com")
    except OSError as error:
        pytest.skip(f"no extended attributes here: {error}")
    save(place, b"a", content)
    assert os.getxattr("a", "user.origin") == b"https://example.com"
    assert read("a") == content


def test_what_cannot_be_carried_over_is_written_in_place(place, tmp_path, monkeypatch):
    """As the owner of a file that is another user's, or an access list."""

    def refuse(*_):
        raise PermissionError(errno.EPERM, "not yours")

    write("a", mode=0o604)
    before = os.stat("a")
    monkeypatch.setattr(saving, "carry_over", refuse)
    save(place, b"a", b"after")
    after = os.stat("a")
    assert (after.st_ino, after.st_mode, read("a")) == (before.st_ino, before.st_mode, b"after")
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EPERM, errno.EACCES])
def test_where_no_name_can_be_given_the_content_is_written_in_place(
    place, tmp_path, monkeypatch, number
):
    def refuse(*_args, **_names):
        raise OSError(number, os.strerror(number))

    write("a")
    before = os.stat("a").st_ino
    draft = saving.Draft(place, b"a", {})
    draft.write(b"after")
    draft.sync()
    monkeypatch.setattr(draft, "_rename", refuse)
    draft.commit()
    draft.discard()
    assert (os.stat("a").st_ino, read("a"), leftovers(tmp_path)) == (before, b"after", [])


@pytest.mark.parametrize(
    ("number", "status"), [(errno.EACCES, 403), (errno.ENOSPC, 507), (errno.EDQUOT, 507)]
)
def test_where_there_is_no_place_for_a_journal_what_is_bounded_is_written_in_place(
    place, tmp_path, monkeypatch, number, status
):
    write("a")
    before = os.stat("a").st_ino
    really = os.open

    def refuse(path, flags, *arguments, **named):
        if flags & os.O_CREAT:
            raise OSError(number, os.strerror(number))
        return really(path, flags, *arguments, **named)

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(saving, "_MAX_IN_MEMORY", 10)
    save(place, b"a", b"ten bytes.")
    for name, content in ((b"a", b"eleven byte"), (b"new", b"x")):
        with pytest.raises(OSError, match=rf"Errno {number}\b") as refused:
            save(place, name, content)
        assert from_os_error(refused.value).status == status
    monkeypatch.undo()
    assert (os.stat("a").st_ino, read("a")) == (before, b"ten bytes.")
    assert os.listdir(tmp_path) == ["a"]


def test_a_mode_that_is_given_counts(place):
    write("a", mode=0o644)
    save(place, b"a", b"x", mode=0o755)
    os.link("a", "b")
    save(place, b"b", b"y", mode=0o700)
    assert stat.S_IMODE(os.stat("a").st_mode) == 0o700


@pytest.mark.parametrize(
    ("link", "target"),
    [("n", "data/n.txt"), ("n", "data/../data/n.txt"), ("data/up", "../n.txt"), ("n", "new/n.txt")],
)
def test_a_link_that_points_nowhere_yet_is_followed(place, tmp_path, link, target):
    os.mkdir("data")
    os.symlink(target, link)
    draft = saving.Draft(place, link.encode(), {})
    draft.write(b"x")
    draft.sync()
    draft.commit()
    stored = draft.path
    draft.discard()
    assert os.path.islink(link)
    assert read(link) == b"x"
    assert stored == os.fsencode(os.path.relpath(os.path.realpath(link), tmp_path))


def test_a_chain_of_links_is_followed(place):
    os.symlink("b", "a")
    os.symlink("c", "b")
    save(place, b"a", b"x")
    assert (os.path.islink("a"), os.path.islink("b"), read("c")) == (True, True, b"x")


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("n", "../outside"),
        ("n", "/tmp/outside"),
        ("n", "a/../../outside"),
        ("a/n", "../../outside"),
        ("a/n", "/outside"),
    ],
)
def test_a_link_out_of_the_workspace_is_not_followed(tmp_path, link, target):
    root = tmp_path / "w"
    (root / "a").mkdir(parents=True)
    os.symlink(target, root / link)
    with pytest.raises(OSError, match=rf"Errno {errno.EXDEV}\b"):
        save(Workspace(str(root)), link.encode(), b"x")
    assert not list(tmp_path.rglob("outside"))


def test_links_in_a_circle_end(place):
    os.symlink("b", "a")
    os.symlink("a", "b")
    with pytest.raises(OSError, match=rf"Errno {errno.ELOOP}\b"):
        save(place, b"a", b"x")


class TestJournal:
    """The content and where it belongs are on the disk before a byte of the file is touched."""

    @pytest.fixture
    def interrupted(self, place, monkeypatch):
        """A save in place that ends amid its writing, as with a power cut."""

        def save_half(content, die_at):
            written = 0
            real = os.write

            def dying(fd, data):
                nonlocal written
                if written >= die_at and os.fstat(fd).st_nlink == 2:
                    raise KeyboardInterrupt
                count = real(fd, bytes(data)[:3])
                if os.fstat(fd).st_nlink == 2:
                    written += count
                return count

            write("a", b"what it was")
            os.link("a", "b")
            draft = saving.Draft(place, b"a", {})
            draft.write(content)
            draft.sync()
            with monkeypatch.context() as patch:
                patch.setattr(os, "write", dying)
                with pytest.raises(KeyboardInterrupt):
                    draft.commit()
            draft.discard()

        return save_half

    @pytest.mark.parametrize("die_at", [0, 3, 9])
    def test_what_was_being_written_is_written_to_the_end(
        self, place, tmp_path, interrupted, die_at
    ):
        interrupted(b"what it becomes", die_at)
        assert len(leftovers(tmp_path)) == 1
        saving.redo(place)
        assert (read("a"), read("b"), leftovers(tmp_path)) == (b"what it becomes",) * 2 + ([],)

    def test_a_file_that_took_its_place_is_left_alone(self, place, tmp_path, interrupted):
        interrupted(b"what it becomes", 3)
        os.unlink("a")
        write("a", b"another")
        saving.redo(place)
        assert (read("a"), leftovers(tmp_path)) == (b"another", [])

    def test_a_save_that_was_reported_failed_undoes_nothing_that_is_written_later(
        self, place, tmp_path, monkeypatch
    ):
        def broken(*_):
            raise OSError(errno.EIO, "broken")

        write("a")
        os.link("a", "b")
        draft = saving.Draft(place, b"a", {})
        draft.write(b"the first one")
        draft.sync()
        with monkeypatch.context() as patch:
            patch.setattr(os, "pread", broken)
            with pytest.raises(OSError, match="error"):
                draft.commit()
        draft.discard()
        assert leftovers(tmp_path) == []
        save(place, b"a", b"the second one")
        saving.redo(place)
        assert read("a") == read("b") == b"the second one"

    @pytest.mark.parametrize("content", [b"", b"x" * 11, b"x" * 100, bytes(16)])
    def test_what_is_no_journal_is_left_alone(self, place, content):
        name = temporary.new_name().decode()
        write(name, content)
        saving.redo(place)
        assert read(name) == content

    def test_without_room_nothing_is_changed(self, place, tmp_path, monkeypatch):
        def full(*_):
            raise OSError(errno.ENOSPC, "full")

        write("a", b"what it was")
        os.link("a", "b")
        monkeypatch.setattr(os, "posix_fallocate", full)
        with pytest.raises(OSError, match=rf"Errno {errno.ENOSPC}\b"):
            save(place, b"a", b"something longer than before")
        assert (read("a"), leftovers(tmp_path)) == (b"what it was", [])


@pytest.mark.parametrize(
    "fields",
    [
        {"if-match": '"x"'},
        {"if-none-match": "*"},
        {"if-unmodified-since": "Sun, 06 Nov 1994 08:49:37 GMT"},
    ],
)
def test_a_condition_that_fails_changes_nothing(place, tmp_path, fields):
    write("a")
    with pytest.raises(AgentError) as refused:
        save(place, b"a", b"after", fields=fields)
    assert (refused.value.status, read("a"), leftovers(tmp_path)) == (412, b"before", [])
