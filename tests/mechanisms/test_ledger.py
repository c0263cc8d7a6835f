"""The ledger: charged before anything is drawn, one for all clients of a user, and closed when it cannot be read."""

import copy
import multiprocessing
import os
import pickle
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import mechanisms
from mechanisms import ledger as ledger_module
from mechanisms import ledger_file
from mechanisms.client import Client, CodeReleaser
from mechanisms.encoder import Encoder
from mechanisms.errors import UserError
from mechanisms.ledger import HASH_BYTES, WINDOW, Account, Ledger
from mechanisms.quantizer import StochasticQuantizer
from mechanisms.randomness import SimulatedRandomness, SystemRandomness
from mechanisms.spec import QuantizerSpec
from mechanisms.terms import Deployment, Terms

SPEC = QuantizerSpec(bits=4, dim=6, clip=0.05, scale=0.1)
ENCODER = Encoder(np.random.default_rng(0).integers(0, 255, (1000, 6), dtype=np.uint8), SPEC.clip)
ROOT = Path(mechanisms.__file__).parent.parent
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("DEL_AUDIT_STATE", str(folder))
    return folder


@pytest.fixture
def clock(monkeypatch):
    """Sets the ledger's clock."""

    def put(moment):
        monkeypatch.setattr(ledger_module, "datetime", SimpleNamespace(now=lambda _: moment, fromtimestamp=_from))

    _from = datetime.fromtimestamp
    return put


def a_client(tokenizer="t", deployment="d", **terms):
    return Client(None, CodeReleaser(ENCODER, SPEC), 100, terms=Terms(**terms), account=account(deployment, tokenizer))


def account(deployment="d", tokenizer="t"):
    return Account(Ledger.of_user(), deployment, tokenizer)


def text(start, length=10):
    return list(range(start, start + length))


def allowed(client, tokens):
    try:
        client.release_tokens(tokens)
    except UserError:
        return False
    return True


class TestSends:
    def test_the_same_text_is_sent_as_often_as_the_certificate_says(self):
        """The audit's finding: a client with these terms sent one text 1,000 times."""
        client = a_client(sends=1)
        assert sum(allowed(client, text(0)) for _ in range(1000)) == 1
        assert sum(allowed(a_client(sends=3), text(500)) for _ in range(10)) == 3

    def test_what_is_refused_is_not_drawn_and_not_charged(self, monkeypatch):
        client = a_client(sends=1)
        client.release_tokens(text(0))
        monkeypatch.setattr(SystemRandomness, "words", lambda *_: pytest.fail("something was drawn"))
        said = (
            r"no 8 tokens in a row were sent 1 times before.*got tokens 1 to 8, sent once \(to any service with this "
            r"tokenizer, under earlier certificates as well\)\. Write it in other words"
        )
        with pytest.raises(UserError, match=said):
            client.release_tokens(text(0))
        assert client.charged == 10
        assert Ledger.of_user().summary(DAY).spent[0].tokens == 10

    @pytest.mark.parametrize("at", [0, 1, 9, 10, 19])
    def test_a_text_with_one_changed_token_is_the_same_text(self, at):
        client = a_client(sends=1)
        client.release_tokens(text(0, 20))
        changed = text(0, 20)
        changed[at] = 999
        assert not allowed(client, changed)

    def test_a_part_of_a_text_and_a_longer_text_are_the_same_text(self):
        client = a_client(sends=1)
        client.release_tokens(text(0, 20))
        assert not allowed(client, text(5, 8))
        assert not allowed(client, [999, *text(0, 20)])
        assert allowed(client, text(15, 12))  # 5 tokens in common: fewer than a window

    def test_a_window_that_a_text_repeats_counts_once(self):
        client = a_client(sends=2)
        assert sum(allowed(client, [7] * 50) for _ in range(5)) == 2

    def test_a_short_turn_counts_towards_the_tokens_only(self):
        client = a_client(sends=1, session_tokens=20)
        assert sum(allowed(client, text(0, WINDOW - 1)) for _ in range(5)) == 2

    def test_it_is_counted_over_services_with_the_tokenizer_and_not_over_others(self):
        a_client(sends=5, deployment="a").release_tokens(text(0))
        assert not allowed(a_client(sends=1, deployment="b"), text(0))
        assert allowed(a_client(sends=1, deployment="b", tokenizer="u"), text(0))

    def test_what_was_sent_without_terms_counts_for_a_certified_client(self):
        plain = Client(None, CodeReleaser(ENCODER, SPEC), 100, account=account())
        for _ in range(3):
            plain.release_tokens(text(0))
        assert not allowed(a_client(sends=3), text(0))
        assert allowed(a_client(sends=4), text(0))

    def test_no_text_is_in_the_files(self, state):
        tokens = text(0, 20)
        a_client(sends=1).release_tokens(tokens)
        data = (state / "ledger.sqlite").read_bytes()
        for width in ("<i8", "<i4", "<i2", ">i8"):
            assert np.array(tokens[:WINDOW], dtype=width).tobytes() not in data
        with sqlite3.connect(state / "ledger.sqlite") as database:
            rows = database.execute("SELECT window FROM windows").fetchall()
        assert {len(row[0]) for row in rows} == {HASH_BYTES}
        assert len(rows) == 20 - WINDOW + 1


class TestTokens:
    def test_a_session_is_what_is_sent_within_a_period(self, clock):
        start = datetime(2026, 1, 1, tzinfo=UTC)
        client = a_client(session_tokens=25, period=30 * DAY)
        for days, tokens, sent in [(0, 10, True), (10, 10, True), (20, 6, False), (20, 5, True), (29, 1, False)]:
            clock(start + days * DAY)
            assert allowed(client, text(40 * days, tokens)) is sent, days
        clock(start + 31 * DAY)
        assert not allowed(client, text(0, 11))
        assert allowed(client, text(0, 10))

    def test_a_clock_that_was_set_back_frees_nothing(self, clock):
        client = a_client(session_tokens=10, period=30 * DAY)
        clock(datetime(2030, 1, 1, tzinfo=UTC))
        client.release_tokens(text(0))
        clock(datetime(2026, 1, 1, tzinfo=UTC))
        assert not allowed(client, text(100, 1))

    def test_what_can_be_done_is_said(self, clock):
        client = a_client(session_tokens=12, period=30 * DAY)
        clock(datetime(2026, 1, 1, 9, 30, tzinfo=UTC))
        client.release_tokens(text(0))
        said = r"at most 2 tokens, the rest of the session's 12 in 30 days, got 3\. .* after 2026-01-31 09:30 UTC"
        with pytest.raises(UserError, match=said):
            client.release_tokens(text(100, 3))
        with pytest.raises(UserError, match="Shorten the text"):
            client.release_tokens(text(100, 13))

    def test_the_moment_that_is_said_is_when_enough_of_the_session_has_passed(self, clock):
        client = a_client(session_tokens=12, period=30 * DAY)
        for day, tokens in ((1, 4), (2, 4), (3, 4)):
            clock(datetime(2026, 1, day, tzinfo=UTC))
            client.release_tokens(text(100 * day, tokens))
        for tokens, moment in ((4, "2026-01-31"), (5, "2026-02-01"), (8, "2026-02-01"), (9, "2026-02-02")):
            with pytest.raises(UserError, match=f"at most 0 tokens, .*got {tokens}.*after {moment} 00:00 UTC"):
                client.release_tokens(text(500, tokens))

    def test_the_moment_that_is_said_does_not_depend_on_where_the_machine_stands(self, clock, monkeypatch):
        client = a_client(session_tokens=4, period=30 * DAY)
        clock(datetime(2026, 1, 1, tzinfo=UTC))
        client.release_tokens(text(0, 4))
        with monkeypatch.context() as patch:
            patch.setenv("TZ", "Asia/Tokyo")
            time.tzset()
            with pytest.raises(UserError, match="after 2026-01-31 00:00 UTC"):
                client.release_tokens(text(500, 4))
        time.tzset()

    def test_another_certificate_or_folder_of_the_deployment_shares_its_allowance(self):
        """The scope is spec, table, tokenizer and model: nothing that certifying again would change."""
        one = Deployment(SPEC, "e", "t", "m")
        a_client(deployment=one.fingerprint, session_tokens=10).release_tokens(text(0))
        again = a_client(deployment=Deployment(SPEC, "e", "t", "m").fingerprint, session_tokens=12)
        assert not allowed(again, text(100, 3))
        others = [
            Deployment(QuantizerSpec(4, 6, 0.05, 0.2), "e", "t", "m"),
            Deployment(SPEC, "x", "t", "m"),
            Deployment(SPEC, "e", "x", "m"),
            Deployment(SPEC, "e", "t", "x"),
        ]
        assert len({one.fingerprint, *(other.fingerprint for other in others)}) == 5
        for other in others:
            assert allowed(a_client(deployment=other.fingerprint, session_tokens=12), text(100, 3))

    def test_the_longest_prompt_is_charged_to_nobody(self):
        client = a_client(prompt_tokens=5)
        assert not allowed(client, text(0, 6))
        assert Ledger.of_user().summary(DAY).spent == ()


class Lying(list):
    """A list that says it is short."""

    def __len__(self):
        return 1


def _pickled(client):
    return pickle.loads(pickle.dumps(client))  # noqa: S301


class Once:
    """Something that yields other tokens the second time."""

    def __init__(self):
        self.times = 0

    def __iter__(self):
        self.times += 1
        return iter(text(100 * self.times, 5))

    def __len__(self):
        return 5


class TestOneAllowance:
    """Every way to have more than one client, or to say less than is sent."""

    @pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, _pickled])
    def test_copies_share_it(self, how):
        """The audit's finding: ten copies of an allowance of 5 sent 50."""
        client = a_client(session_tokens=5)
        sent = sum(allowed(how(client), text(10 * number, 1)) for number in range(50))
        assert sent == 5

    def test_a_client_that_is_made_again_has_no_allowance_of_its_own(self):
        assert sum(allowed(a_client(session_tokens=5), text(0, 1)) for _ in range(10)) == 5

    def test_threads_share_it(self):
        client = a_client(session_tokens=50)
        with ThreadPoolExecutor(8) as pool:
            sent = sum(pool.map(lambda number: allowed(client, text(number, 1)), range(120)))
        assert (sent, client.charged) == (50, 50)

    def test_forks_share_it(self):
        client = a_client(session_tokens=50)
        context = multiprocessing.get_context("fork")
        with context.Pool(3) as pool:
            sent = sum(pool.starmap(allowed, [(client, text(number, 1)) for number in range(120)]))
        assert sent == 50

    def test_a_fork_amid_another_threads_charge_undoes_nothing(self):
        """A child that closed its parent's transaction would roll it back on the disk."""
        client, stop = a_client(sends=1000), threading.Event()
        sent = 0

        def send():
            nonlocal sent
            while not stop.is_set():
                client.release_tokens(text(0, 3))
                sent += 1
                time.sleep(0.005)  # a lock is not fair

        sender = threading.Thread(target=send)
        sender.start()
        for _ in range(20):
            if (child := os.fork()) == 0:
                signal.alarm(30)  # a child that waits for ever fails
                os._exit(0 if allowed(client, text(0, 3)) else 1)
            assert os.waitpid(child, 0)[1] == 0
        stop.set()
        sender.join()
        assert Ledger.of_user().summary(DAY).spent[0].releases == sent + 20

    def test_processes_share_it(self, state):
        program = (
            "import numpy as np\n"
            "from mechanisms.errors import UserError\n"
            "from mechanisms.ledger import Ledger\n"
            "from mechanisms.terms import Terms\n"
            "sent = 0\n"
            "for number in range(40):\n"
            "    try:\n"
            "        Ledger.of_user().charge('d', 't', [np.arange(9)], Terms(sends=25))\n"
            "        sent += 1\n"
            "    except UserError:\n"
            "        pass\n"
            "print(sent)\n"
        )
        command = [sys.executable, "-c", program]
        running = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
        assert sum(int(each.communicate()[0]) for each in running) == 25

    @pytest.mark.parametrize(
        "say",
        [
            lambda tokens: Lying(tokens),
            lambda tokens: iter(tokens),
            lambda tokens: (token for token in tokens),
            lambda tokens: np.array(tokens),
            lambda tokens: np.array(tokens, dtype=np.uint16),
            lambda tokens: range(tokens[0], tokens[-1] + 1),
            lambda tokens: dict.fromkeys(tokens),
        ],
    )
    def test_no_sequence_is_longer_than_it_counts(self, say):
        """The audit's finding: a list with a false length passed a prompt's limit."""
        client = a_client(prompt_tokens=5, session_tokens=8)
        with pytest.raises(UserError, match="certificate's limit, got 6"):
            client.release_tokens(say(text(0, 6)))
        client.release_tokens(say(text(0, 5)))
        assert client.charged == 5
        with pytest.raises(UserError, match="at most 3 tokens"):
            client.release_tokens(say(text(0, 4)))
        with pytest.raises(UserError, match="at most 100 tokens, got 101"):
            Client(None, CodeReleaser(ENCODER, SPEC), 100).release_tokens(say(text(0, 101)))

    def test_tokens_are_read_once(self):
        given = Once()
        a_client(sends=1).release_tokens(given)
        assert given.times == 1

    @pytest.mark.parametrize(
        "tokens", [[], [1.0], [True], ["1"], "12", [[1, 2]], [None], 5, None, [2**70], [-1], [1000], np.zeros((2, 2))]
    )
    def test_what_is_no_row_of_tokens_is_charged_to_nobody(self, tokens):
        with pytest.raises(UserError):
            a_client(sends=1).release_tokens(tokens)
        assert Ledger.of_user().summary(DAY).spent == ()


class TestTerms:
    def test_a_client_with_terms_has_the_users_ledger(self, state):
        client = Client(None, CodeReleaser(ENCODER, SPEC), 100, terms=Terms(sends=1))
        assert allowed(client, text(0))
        assert (state / "ledger.sqlite").exists()
        assert not allowed(Client(None, CodeReleaser(ENCODER, SPEC), 100, terms=Terms(sends=1)), text(0))

    def test_terms_go_with_no_source(self):
        for source in (SimulatedRandomness(0), SystemRandomness()):
            with pytest.raises(UserError, match="Expected no source beside the terms"):
                Client(None, CodeReleaser(ENCODER, SPEC), 100, source, Terms())

    def test_a_client_without_terms_and_account_has_no_ledger(self, state):
        Client(None, CodeReleaser(ENCODER, SPEC), 100, SimulatedRandomness(0)).release_tokens(text(0))
        Client(None, CodeReleaser(ENCODER, SPEC), 100).release_tokens(text(0))
        assert not list(state.iterdir())

    def test_a_tokenizer_without_hash_needs_an_account(self):
        with pytest.raises(UserError, match="Expected account beside terms"):
            Client(object(), CodeReleaser(ENCODER, SPEC), 100, terms=Terms(sends=1))

    @pytest.mark.parametrize(
        "wrong",
        [
            {"prompt_tokens": 0},
            {"sends": 0},
            {"sends": True},
            {"sends": 1.5},
            {"session_tokens": -1},
            {"session_tokens": float("nan")},
            {"period": timedelta(0)},
            {"period": 30},
            {"until": datetime(2026, 1, 1)},
        ],
    )
    def test_terms_that_limit_nothing_are_refused(self, wrong):
        with pytest.raises(UserError, match=next(iter(wrong))):
            Terms(**wrong)

    def test_the_least_terms_are_read(self):
        least = {"prompt_tokens": 1, "sends": 1, "session_tokens": 1, "period": timedelta(microseconds=1)}
        assert Terms(**least).until is None
        assert allowed(a_client(**least), [1])
        assert not allowed(a_client(**least), [1, 2])

    def test_a_prompt_as_long_as_the_longest_is_sent(self):
        client = Client(None, CodeReleaser(ENCODER, SPEC), 3)
        assert allowed(client, [1, 2, 3])
        with pytest.raises(UserError, match="at most 3 tokens, got 4"):
            client.release_tokens([1, 2, 3, 4])

    @pytest.mark.parametrize("longest", [float("nan"), float("inf"), "9", True, None])
    def test_a_longest_prompt_that_is_no_number_is_refused(self, longest):
        with pytest.raises(UserError, match="max_tokens"):
            Client(None, CodeReleaser(ENCODER, SPEC), longest)


def test_a_client_that_is_killed_between_charging_and_sending_stays_charged(state):
    program = (
        "import os, signal, numpy as np\n"
        "from mechanisms.client import Client, CodeReleaser\n"
        "from mechanisms.encoder import Encoder\n"
        "from mechanisms.quantizer import StochasticQuantizer\n"
        "from mechanisms.spec import QuantizerSpec\n"
        "from mechanisms.terms import Terms\n"
        "StochasticQuantizer.sample = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "releaser = CodeReleaser(Encoder.of(np.zeros((99, 6)), 0.05), QuantizerSpec(4, 6, 0.05, 0.1))\n"
        "Client(None, releaser, 100, terms=Terms(sends=1)).release_tokens(range(9))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    releaser = CodeReleaser(Encoder.of(np.zeros((99, 6)), 0.05), SPEC)
    assert not allowed(Client(None, releaser, 100, terms=Terms(sends=1)), range(9))
    assert Ledger.of_user().summary(DAY).spent[0].tokens == 9


@pytest.mark.parametrize("at", range(3))
def test_a_client_that_is_killed_amid_charging_leaves_a_ledger_that_can_be_read(at):
    statements = ["INSERT INTO charges", "INSERT INTO windows", "COMMIT"]
    program = (
        "import os, signal, sqlite3, numpy as np\n"
        "from mechanisms import ledger_file\n"
        "from mechanisms.ledger import Ledger\n"
        "from mechanisms.terms import Terms\n"
        "class Killed(sqlite3.Connection):\n"
        "    def execute(self, text, *rest):\n"
        f"        if text.startswith({statements[at]!r}):\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return super().execute(text, *rest)\n"
        "    def executemany(self, text, *rest):\n"
        f"        if text.startswith({statements[at]!r}):\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return super().executemany(text, *rest)\n"
        "connect = sqlite3.connect\n"
        "Ledger.of_user().charge('d', 't', [np.arange(9)], Terms())\n"
        "ledger_file.sqlite3.connect = lambda *a, **k: connect(*a, factory=Killed, **k)\n"
        "Ledger.of_user().charge('d', 't', [np.arange(20, 29)], Terms())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    found = Ledger.of_user().summary(DAY)
    assert (found.spent[0].releases, found.windows) == (1, 2)
    a_client(sends=1).release_tokens(text(20, 9))


def test_a_release_that_fails_stays_charged(monkeypatch):
    client = a_client(sends=1)

    def fail(*_):
        raise RuntimeError("the quantizer is broken")

    with monkeypatch.context() as patch:
        patch.setattr(StochasticQuantizer, "sample", fail)
        with pytest.raises(RuntimeError):
            client.release_tokens(text(0))
    assert client.charged == 10
    assert not allowed(client, text(0))


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def fill(path):
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))


def drop(table):
    def change(path):
        with sqlite3.connect(path) as database:
            database.execute(f"DROP TABLE {table}")
        database.close()

    return change


def version(path):
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 2")
    database.close()


def link(path):
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "no database": lambda path: path.write_bytes(b"not a database at all, but long enough to look at" * 100),
    "cut": cut,
    "overwritten": fill,
    "a table less": drop("windows"),
    "another table less": drop("charges"),
    "no proof": drop("keyed"),
    "another version": version,
    "removed": lambda path: path.unlink(),
    "another database": lambda path: (path.unlink(), sqlite3.connect(path).execute("CREATE TABLE a (b)")),
    "for the group": lambda path: path.chmod(0o640),
    "for all": lambda path: path.chmod(0o604),
    "written by all": lambda path: path.chmod(0o602),
    "a link": link,
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a key less": lambda path: path.with_suffix(".key").unlink(),
    "another key": lambda path: path.with_suffix(".key").write_bytes(bytes(32)),
    "a short key": lambda path: path.with_suffix(".key").write_bytes(bytes(31)),
    "a long key": lambda path: path.with_suffix(".key").write_bytes(bytes(33)),
    "a key for all": lambda path: path.with_suffix(".key").chmod(0o644),
    "an open folder": lambda path: path.parent.chmod(0o755),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_whatever_is_wrong_with_the_files_sends_nothing(state, damage, monkeypatch):
    client, other = a_client(sends=5), a_client(sends=5, deployment="other")
    for number in range(6):
        client.release_tokens(text(100 * number, 100))
    damage(state / "ledger.sqlite")
    monkeypatch.setattr(SystemRandomness, "words", lambda *_: pytest.fail("something was drawn"))
    try:
        for each in (client, other):
            with pytest.raises(UserError) as refusal:
                (each if state.stat().st_mode & 0o077 == 0 else a_client(sends=5)).release_tokens(text(800))
            assert "\n" not in str(refusal.value)
            assert str(state) in str(refusal.value)
    finally:
        state.chmod(0o700)


def test_a_ledger_that_another_program_keeps_is_waited_for_and_then_refused(state, monkeypatch):
    client = a_client(sends=5)
    client.release_tokens(text(0))
    monkeypatch.setattr(ledger_file, "BUSY_SECONDS", 0.1)
    busy = sqlite3.connect(state / "ledger.sqlite", isolation_level=None)
    busy.execute("BEGIN IMMEDIATE")
    with pytest.raises(UserError, match="locked"):
        client.release_tokens(text(100))
    busy.execute("ROLLBACK")
    busy.close()
    client.release_tokens(text(100))


def test_a_full_disk_sends_nothing(state, monkeypatch):
    client = a_client(sends=1000)
    client.release_tokens(text(0))
    connect = sqlite3.connect

    def full(*arguments, **named):
        database = connect(*arguments, **named)
        database.execute(f"PRAGMA max_page_count = {database.execute('PRAGMA page_count').fetchone()[0]}")
        return database

    monkeypatch.setattr(ledger_file.sqlite3, "connect", full)
    sent = 0
    while allowed(client, text(4 * sent, 90)):
        sent += 1
    with pytest.raises(UserError, match="full"):
        client.release_tokens(text(4 * sent, 90))
    assert client.charged == 10 + 90 * sent


def test_the_files_are_the_users_alone_whatever_the_mask(state):
    before = os.umask(0)
    try:
        a_client(sends=1).release_tokens(text(0))
    finally:
        os.umask(before)
    assert sorted(path.name for path in state.iterdir()) == ["ledger.key", "ledger.sqlite"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in state.iterdir()} == {0o600}


def test_a_summary_makes_no_ledger(state):
    found = Ledger.of_user().summary(DAY)
    assert (found.spent, found.windows, found.sends) == ((), 0, 0)
    assert not list(state.iterdir())


def test_a_summary_says_what_was_spent(clock):
    start = datetime(2026, 1, 1, tzinfo=UTC)
    clock(start)
    a_client(deployment="a").release_tokens(text(0))
    clock(start + 40 * DAY)
    a_client(deployment="a").release_tokens(text(0, 12))
    a_client(deployment="b", tokenizer="u").release_tokens(text(0, 5))
    found = Ledger.of_user().summary(30 * DAY)
    rows = {one.deployment: (one.tokenizer, one.releases, one.recent, one.tokens) for one in found.spent}
    assert rows == {"a": ("t", 2, 12, 22), "b": ("u", 1, 5, 5)}
    assert (found.windows, found.sends) == (5, 2)
    assert found.spent[0].last == start + 40 * DAY


def test_the_state_folder_cannot_move_under_a_client(state, tmp_path, monkeypatch):
    monkeypatch.setenv("DEL_AUDIT_STATE", "state")
    monkeypatch.chdir(tmp_path)
    client = a_client(sends=1)
    client.release_tokens(text(0))
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert not allowed(client, text(0))
