"""One entry point for every mechanism: each figure beside its controls, each value kept."""

import hashlib
import json

import numpy as np
import pytest

from del_audit.evidence.evaluation import (
    ANSWERS,
    LOSSES,
    NGRAMS,
    REFERENCE,
    compare_evaluations,
    evaluate,
)
from del_audit.evidence.records import read_rows, to_rows, write_rows
from del_audit.evidence.utility import (
    ALONE,
    CLEAN,
    COPY,
    NOBODY,
    OTHER,
    OTHER_CLEAN,
    RELEASED,
    UNRELATED,
    measure_coherence,
    measure_prediction,
)
from del_audit.service.prompts import Prompts, strangers
from mechanisms.errors import UserError
from mechanisms.models import load_causal_lm
from mechanisms.private_folders import private_folders
from mechanisms.randomness import simulation_generator

COUNT = 12
SCORED = {RELEASED, OTHER, ALONE, NOBODY, CLEAN, OTHER_CLEAN}
WRITTEN = {RELEASED, OTHER, ALONE, NOBODY, CLEAN, COPY, UNRELATED}


class Bar:
    done = 0

    def update(self, count):
        self.done += count


class Sentences:
    """Embeds a text by its hash: equal texts have cosine 1, others any."""

    def embed(self, texts):
        rows = [np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8) - 127.5 for text in texts]
        return np.array([row / np.linalg.norm(row) for row in rows], dtype=np.float32)


class Server:
    """Knows the response of each message: 1 nat, and `noise` more from prompt to prompt; 3 nats on every other."""

    def __init__(self, prompts, answers, noise=0.0):
        self._known = dict(zip(prompts.messages, prompts.responses, strict=True))
        self._answers = dict(zip(prompts.messages, answers, strict=True))
        self._noise = noise

    def losses(self, messages, responses, progress=None):
        if progress is not None:
            progress.update(len(messages))
        losses = [1.0 if self._known.get(m) == r else 3.0 for m, r in zip(messages, responses, strict=True)]
        return np.array(losses) + self._noise * (np.arange(len(messages)) % COUNT)

    def answer(self, messages, new_tokens, seed):
        return [self._answers.get(message, "nothing") for message in messages]


@pytest.fixture(scope="module")
def language(tiny_lm_folder):
    return load_causal_lm(str(tiny_lm_folder))


@pytest.fixture(scope="module")
def prompts():
    tokens = simulation_generator(0, "prompts").integers(1, 384, (COUNT, 20)).tolist()
    documents = [f"speech {i // 2}" for i in range(COUNT)]
    return Prompts(
        [bytes([i]) for i in range(COUNT)], [row[:12] for row in tokens], [row[12:] for row in tokens], documents, 2
    )


@pytest.fixture(scope="module")
def evaluation(language, prompts):
    truth = [language.tokenizer.decode(row, skip_special_tokens=True) for row in prompts.responses]
    bar = Bar()
    server = Server(prompts, truth)
    found = evaluate("DEL", language, server, prompts, seed=3, progress=bar, sentences=Sentences(), new_tokens=5)
    assert bar.done == (LOSSES + ANSWERS) * COUNT
    return found


def test_every_control_of_theorem_12_stands_beside_the_figure(evaluation):
    assert set(evaluation.losses) == set(evaluation.perplexities) == SCORED
    assert set(evaluation.cosines) == set(evaluation.coherence) == set(evaluation.mauve) == WRITTEN
    assert set(evaluation.distinct) == WRITTEN | {REFERENCE}
    assert all(len(figures) == len(NGRAMS) for figures in evaluation.distinct.values())


def test_the_headline_is_the_paired_gain_over_another_documents_prompt(evaluation, prompts):
    assert evaluation.gains.tolist() == [2.0] * COUNT
    gain = evaluation.prediction.gain
    assert gain.value == pytest.approx(2.0)
    assert 0 < gain.lower < 2.0 < gain.upper  # one unseen document could have gained less, or more
    assert (gain.unit, gain.sample, gain.documents, gain.seed) == ("nats per token", COUNT, COUNT // 2, 3)
    other = strangers(prompts.documents)
    assert all(prompts.documents[a] != prompts.documents[b] for a, b in enumerate(other))


def test_the_true_response_is_coherent_with_itself_and_another_documents_is_not(evaluation):
    assert evaluation.coherence[RELEASED].value == pytest.approx(1.0, abs=1e-6)
    assert evaluation.mauve[RELEASED].plain.value == pytest.approx(1.0)
    assert evaluation.coherence[OTHER].upper < 0.9
    assert -1 < evaluation.coherence_gain.lower < evaluation.coherence_gain.value < 2
    assert evaluation.coherence_gain.value > 0.9
    assert np.allclose(evaluation.cosines[UNRELATED], evaluation.cosines[OTHER])
    assert evaluation.texts[RELEASED] == evaluation.texts[REFERENCE]


def test_perplexity_weighs_tokens(language, prompts):
    responses = [row[: 1 + index % 3] for index, row in enumerate(prompts.responses)]
    uneven = Prompts(prompts.messages, prompts.clean, responses, prompts.documents, 2)
    server = Server(uneven, ["x"] * COUNT, noise=0.1)
    found = evaluate("DEL", language, server, uneven, seed=0, progress=Bar(), metrics=["prediction"])
    lengths = np.array([len(row) for row in responses])
    expected = np.exp((found.losses[RELEASED] * lengths).sum() / lengths.sum())
    assert found.perplexities[RELEASED].value == pytest.approx(expected, rel=1e-12)
    assert found.perplexities[RELEASED].unit == "perplexity a token"


def test_the_certificates_figures_are_the_same(language, prompts, evaluation):
    server = Server(prompts, evaluation.texts[REFERENCE])
    assert measure_prediction(language, server, prompts, 3, Bar()) == evaluation.prediction
    assert measure_coherence(language, server, Sentences(), prompts, 5, 3, Bar()) == evaluation.coherence


def test_mechanisms_are_compared_on_the_same_prompts_only(language, prompts, evaluation):
    rival = Prompts(
        [b"x" + message for message in prompts.messages], prompts.clean, prompts.responses, prompts.documents, 2
    )
    texts, bar = ["x"] * COUNT, Bar()
    worse = evaluate(
        "rival", language, Server(rival, texts, noise=0.1), rival, seed=0, progress=bar, metrics=["prediction"]
    )
    table = compare_evaluations([evaluation, worse], seed=0, of="losses")
    assert table.differences[0].mean.value == pytest.approx(-0.1 * np.arange(COUNT).mean())
    assert table.documents == COUNT // 2
    assert compare_evaluations([evaluation, worse], seed=0).differences[0].mean.value == pytest.approx(0.0)
    fewer = prompts.first(10)
    other = evaluate("other", language, Server(fewer, texts[:10]), fewer, seed=0, progress=bar, metrics=["prediction"])
    with pytest.raises(UserError, match="same prompts"):
        compare_evaluations([evaluation, other], seed=0)
    texts_only = evaluate("t", language, Server(prompts, texts), prompts, seed=0, progress=bar, metrics=["distinct"])
    with pytest.raises(UserError, match="without it"):
        compare_evaluations([evaluation, texts_only], seed=0, of="losses")
    with pytest.raises(UserError, match="name of its own"):
        compare_evaluations([evaluation, evaluation], seed=0)
    with pytest.raises(UserError, match="two runs"):
        compare_evaluations([], seed=0)


def test_records_give_back_every_value(evaluation, tmp_path):
    path = tmp_path / "rows.jsonl"
    write_rows(evaluation, path)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert rows == to_rows(evaluation)
    assert len(rows) == COUNT
    assert rows[3]["document"] == 1
    assert rows[3]["loss_nats_a_token"][RELEASED] == 1.0
    assert "text" not in rows[0]
    assert [file.name for file in tmp_path.iterdir()] == ["rows.jsonl"]
    again = read_rows(path)
    assert again.prediction == evaluation.prediction
    assert again.coherence == evaluation.coherence
    assert again.sample == evaluation.sample
    with pytest.raises(UserError, match="'distinct'"):
        _ = again.distinct
    with pytest.raises(UserError, match="it holds something else"):
        write_rows(evaluation, path, with_texts=True)
    path = tmp_path / "texts" / "rows.jsonl"
    write_rows(evaluation, path, with_texts=True)
    assert read_rows(path).distinct == evaluation.distinct
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert path.parent in [found.path for found in private_folders()]


def test_records_refuse(evaluation, tmp_path):
    with pytest.raises(UserError, match="can be written"):
        write_rows(evaluation, tmp_path / "missing" / "rows.jsonl")
    path = tmp_path / "rows.jsonl"
    for content in ("", "{}", "no json", "[]"):
        path.write_text(content)
        with pytest.raises(UserError, match="rows of one evaluation"):
            read_rows(path)
    first, second = to_rows(evaluation)[:2]
    path.write_text(f"{json.dumps(first)}\n{json.dumps({**second, 'mechanism': 'rival'})}\n")
    with pytest.raises(UserError, match="several evaluations"):
        read_rows(path)


def test_a_summary_is_plain_json_without_a_prompts_text(evaluation):
    summary = json.dumps(evaluation.to_dict(), allow_nan=False)
    assert json.loads(summary)["prediction"]["gain"]["value"] == pytest.approx(2.0)
    assert json.loads(summary)["documents"] == COUNT // 2
    assert not any(text and text in summary for text in evaluation.texts[COPY])


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"metrics": ["bleu"]}, "bleu"),
        ({"metrics": []}, "none"),
        ({"metrics": ["coherence"]}, "sentences=None"),
        ({"metrics": ["mauve", "prediction"]}, "sentences=None"),
    ],
)
def test_evaluate_refuses(language, prompts, options, named):
    with pytest.raises(UserError, match=named):
        evaluate("DEL", language, Server(prompts, ["x"] * COUNT, COUNT), prompts, seed=0, progress=Bar(), **options)


def test_prompts_of_one_document_have_no_stranger(language, prompts):
    one = Prompts(prompts.messages, prompts.clean, prompts.responses, ["x"] * COUNT, COUNT)
    with pytest.raises(UserError, match="more than half"):
        evaluate(
            "DEL", language, Server(one, ["x"] * COUNT, COUNT), one, seed=0, progress=Bar(), metrics=["prediction"]
        )
