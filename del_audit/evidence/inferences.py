"""What releases of whole prompts tell of the attribute and the task that a configuration names."""

import sys
from collections.abc import Sequence

from tqdm import tqdm

from attacks.attribute import Viewer, bounded_rows
from attacks.side_channel import side_channels
from del_audit.configuration.configuration import Configuration
from del_audit.evidence.inference import Inference, Sample, infer
from del_audit.service.assets import Assets, at_sends, client_of, public_of
from del_audit.service.pipelines import AnyPipeline
from del_audit.service.private_text import LabelledRows, classes_of, labelled_rows


def inferences_of(
    configuration: Configuration, assets: Assets, pipeline: AnyPipeline
) -> tuple[Inference | None, Inference | None]:
    """Returns what the strongest probes tell of the attribute, and what cheap ones tell of the task."""
    about = (configuration, assets, pipeline)
    return attribute_inference(*about), task_inference(*about)


def attribute_inference(configuration: Configuration, assets: Assets, pipeline: AnyPipeline) -> Inference | None:
    """Returns what the strongest probes tell of the attribute; None where the configuration names none."""
    attribute = configuration.attribute
    if attribute is None:
        return None
    attacked, classes = at_sends(pipeline, configuration.policy.sends), classes_of(attribute, assets)
    return _inference(configuration, assets, attacked, attribute.column, classes, strongest=True)


def task_inference(configuration: Configuration, assets: Assets, pipeline: AnyPipeline) -> Inference | None:
    """Returns what cheap probes tell of the task; None where the configuration names none."""
    task = configuration.task
    if task is None:
        return None
    return _inference(configuration, assets, pipeline, task.column, None, strongest=False)


def _inference(
    configuration: Configuration,
    assets: Assets,
    pipeline: AnyPipeline,
    column: str,
    classes: Sequence[str] | None,
    strongest: bool,
) -> Inference:
    """Returns the probes of one column; fitted on releases of public documents, scored once on the private ones.

    classes: documents of other ones are left out; None takes every document that has a label. The private sample has
    one document of each group, its first, so that its intervals are exact; public documents of a group stay together.
    Of more than evaluation.probe_rows public documents so many are drawn, which standard error says.
    """
    plan = configuration.evaluation
    viewer = Viewer(public_of(assets, pipeline, assets.seed), tokenizer=assets.language.tokenizer)
    samples = []
    of_public, of_private = labelled_rows(assets, column, classes)
    learnt = _bounded(of_public, assets, plan.probe_rows)
    if len(learnt) < len(of_public.rows):
        print(f"del-audit: {rows_used(column, len(learnt), len(of_public.rows))}", file=sys.stderr)
    for part, documents, labelled, rows, groups, releases in (
        ("public", assets.public, of_public, learnt, assets.public_groups, plan.probe_releases),
        ("private", assets.private, of_private, of_private.rows, assets.private_groups, 1),
    ):
        chosen = rows * releases
        texts = [documents[i][: plan.probe_tokens] for i in chosen]
        client = client_of(assets, pipeline, assets.seed, f"{part} probes of {column}")
        with tqdm(texts, desc=f"{part} releases for {column}", unit="prompt") as bar:
            messages = [client.release_tokens(text) for text in bar]
        if strongest:
            released = viewer.released(messages, texts if part == "public" else None).rows
            clean = viewer.clean(texts).rows
        else:
            released, clean = viewer.plain(messages).rows, viewer.plain_clean(texts).rows
        samples.append(
            Sample(
                released,
                clean,
                tuple(labelled.labels[i] for i in chosen),
                tuple(groups[i] for i in chosen),
                {"sizes": side_channels(pipeline, messages).features},
            )
        )
    public, private = samples
    return infer(column, public, private, assets.seed)


def rows_used(column: str, used: int, there: int) -> str:
    """Returns the sentence that says how many of the public rows with a label the probes learn from."""
    return f"The probes of {column!r} learn from {used:,} of {there:,} public rows (evaluation.probe_rows)."


def _bounded(public: LabelledRows, assets: Assets, most: int) -> list[int]:
    """Returns the public rows that probes are fitted on: all of them, or so many, drawn by the run's seed."""
    groups, labels = ([of_each[row] for row in public.rows] for of_each in (assets.public_groups, public.labels))
    return [public.rows[place] for place in bounded_rows(groups, labels, most, assets.seed)]
