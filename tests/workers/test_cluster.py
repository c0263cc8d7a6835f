"""Workers on a real Ray cluster of this machine: two nodes, of which one is lost; and what is refused."""

import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from del_audit.runs import Run
from del_audit.workers import cluster
from del_audit.workers.filling import Workers, filling, keep
from del_audit.workers.hands import TRIES, results
from del_audit.workers.work import Part, Work
from mechanisms.errors import UserError
from mechanisms.private_folders import private_folders

TOY = str(Path(__file__).parent)


def workers_folders():
    return {each.path for each in private_folders() if each.path.parent.name.startswith("worker-")}


@pytest.fixture
def nodes(monkeypatch):
    """Returns a cluster with two nodes of one CPU each, the second of which can be lost."""
    import ray
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", f"{TOY}:{Path(TOY).parents[1]}")
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    made.second = made.add_node(num_cpus=1)
    made.wait_for_nodes()
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.mark.slow
def test_the_parts_of_a_node_that_is_lost_are_made_on_the_other(nodes, tmp_path):
    about = tmp_path / "about"
    about.mkdir()
    run, work = Run(tmp_path / "out", {}), Work("toy_work:ToyBench", str(about))
    asked = [Part(f"part {number}", (f"p{number}", 0, "")) for number in range(40)]
    with filling(Workers(ray=nodes.address), work, run) as others:
        assert others._hands.count == 2
        for done, (_, files) in enumerate(results(others._hands, asked)):
            keep(run, files)
            if done == 3:
                nodes.remove_node(nodes.second)
    assert {path.stem for path in (run.folder / "parts").iterdir()} == {f"p{number}" for number in range(40)}
    for number in range(40):
        assert (run.folder / "trained" / f"p{number}" / "weights").read_bytes() == b"\x00\xff"


@pytest.mark.slow
def test_what_a_user_can_mend_comes_through_and_a_part_that_always_breaks_is_named(nodes, tmp_path):
    about = tmp_path / "about"
    about.mkdir()
    work, before = Work("toy_work:ToyBench", str(about)), workers_folders()
    for kind, said in (("user", "part a cannot be made"), ("broken", "part a, got 3 failures.*part a broke")):
        run = Run(tmp_path / kind, {})
        with (
            filling(Workers(1, nodes.address), work, run) as others,
            pytest.raises(UserError, match=said),
        ):
            others.fill([Part("part a", ("a", 99, kind))], "part")
    assert workers_folders() == before


@pytest.mark.slow
def test_another_version_there_is_refused(nodes, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "commit", lambda: "another")
    with (
        pytest.raises(UserError, match=r"commit \w+.* there and another here. Install the same everywhere"),
        filling(Workers(1, nodes.address), Work("toy_work:ToyBench", str(tmp_path)), Run(tmp_path / "out", {})),
    ):
        pass


@pytest.mark.slow
def test_more_workers_than_the_cluster_has_room_for(nodes, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "START", 5.0)
    work, run = Work("toy_work:ToyBench", str(tmp_path)), Run(tmp_path / "out", {})
    with pytest.raises(UserError, match="Expected 3 workers to start"), filling(Workers(3, nodes.address), work, run):
        pass
    with pytest.raises(UserError, match="1 GPU or more"), filling(Workers(1, nodes.address, 1.0), work, run):
        pass


def opened(address, tmp_path):
    with filling(Workers(1, address), Work("a:b", None), Run(tmp_path / "out", {})):
        pass


@pytest.mark.parametrize("address", ["nowhere", "host:", "127.0.0.1:port"])
def test_an_address_is_a_host_and_a_port(address, tmp_path):
    with (
        pytest.raises(UserError, match="host:port"),
        filling(Workers(1, address), Work("a:b", None), Run(tmp_path / "out", {})),
    ):
        pass


def test_an_address_that_does_not_answer_is_said_at_once(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
    start = time.monotonic()
    with (
        pytest.raises(UserError, match=f"at --ray {address}"),
        filling(Workers(1, address), Work("a:b", None), Run(tmp_path / "out", {})),
    ):
        pass
    assert time.monotonic() - start < cluster.ANSWER + 2


def test_a_port_that_takes_the_connection_and_says_nothing_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "ANSWER", 3.0)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(UserError, match="did not answer in 3 s"):
            opened(f"127.0.0.1:{silent.getsockname()[1]}", tmp_path)


def test_no_cluster_of_this_machine_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with pytest.raises(UserError, match="Expected a Ray cluster at --ray auto"):
        opened("auto", tmp_path)


class FakeRay:
    """Ray with actors that are lost whenever they are asked anything."""

    class exceptions:  # as Ray names it
        class RayError(Exception):
            pass

        class RayTaskError(Exception):
            pass

    def __init__(self, about):
        self.about, self.waited = about, 0

    def wait(self, due, num_returns, timeout):
        self.waited += 1
        return due[:1], due[1:]

    def get(self, ref):
        if self.about is None:
            raise self.exceptions.RayError("lost")
        return self.about


def lost(about):
    ray = FakeRay(about)
    actor = SimpleNamespace(
        make=SimpleNamespace(remote=lambda _: object()), about=SimpleNamespace(remote=lambda: object())
    )
    hands = cluster.RayHands(ray, lambda: actor, 1)
    hands.send(Part("a", "a"))
    hands._replace(0)
    hands._flying.clear()
    return hands, ray


def test_a_worker_that_never_starts_again_is_given_up():
    hands, ray = lost(None)
    for _ in range(TRIES):
        assert hands.wait() is None
    with pytest.raises(UserError, match="after all were lost, got none"):
        hands.wait()
    assert ray.waited == TRIES
    assert hands.idle == 0


def test_a_worker_that_is_there_again_in_another_version_is_refused():
    hands, _ = lost({**cluster._about(), "torch": "0.1"})
    with pytest.raises(UserError, match=r"torch 0.1 there and"):
        hands.wait()
    hands, _ = lost(cluster._about())
    assert hands.wait() is None
    assert hands.idle == 1


def test_without_ray_the_extra_is_named(tmp_path):
    program = (
        "import sys; sys.modules['ray'] = None\n"
        "from del_audit.workers.cluster import _connected\n"
        "from mechanisms.errors import UserError\n"
        "try: _connected('auto')\n"
        "except UserError as error: print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert "del-audit[ray]" in said
