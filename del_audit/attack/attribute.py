"""`del-audit attack attribute`: what whole releases, and their sizes, tell of a column of the private documents."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from tqdm import tqdm

from attacks.attribute import QuantileClasses, Viewer, bounded_rows
from attacks.side_channel import SideChannels, side_channels
from del_audit.attack.scene import Scene, finished
from del_audit.attack.tables import print_attribute
from del_audit.configuration.changed_file import ConfigurationFile
from del_audit.configuration.configuration import Configuration, load_configuration
from del_audit.configuration.written import Attribute
from del_audit.evidence.inference import Inference, ProbeFigures, Sample, infer
from del_audit.evidence.readiness import require_classes
from del_audit.evidence.side_channel import mutual_information
from del_audit.runs import Run
from del_audit.service.splits import grouped_by
from mechanisms.canonical_json import Json
from mechanisms.errors import UserError
from mechanisms.splits import first_of_each
from mechanisms.validation import at_least

LENGTHS = "sizes of the message"


@dataclass(frozen=True, slots=True)
class Part:
    """Labelled documents of one split: tokens of each, its class, and its author or document."""

    texts: list[list[int]]
    labels: list[str]
    groups: list[str]

    def only(self, rows: Sequence[int]) -> "Part":
        """Returns the rows chosen."""
        return Part([self.texts[i] for i in rows], [self.labels[i] for i in rows], [self.groups[i] for i in rows])

    def one_of_each(self) -> "Part":
        """Returns each author's first row: rows of one author are not independent."""
        return self.only(first_of_each(self.groups))

    def first(self, name: str, count: int | None) -> "Part":
        """Returns the first rows, all of them without a count; raises UserError for a count below 1, under its name."""
        return self if count is None else self.only(range(min(len(self.texts), at_least(name, count, 1))))


def attack_attribute(
    config: ConfigurationFile,
    out: Path,
    *,
    seed: int | None = None,
    column: str | None = None,
    classes: int | None = None,
    bins: int | None = None,
    group: str | None = None,
    prompts: int | None = None,
    documents: int | None = None,
    prompt_tokens: int | None = None,
    releases: int | None = None,
) -> int:
    """Infers a column from private releases, writes out/result.json, prints a table, and returns 0.

    Nothing is fitted on a private author's documents, the mechanism included. One private document of each author is
    attacked, so that intervals are exact. group: the author's column, instead of data.group_column; document_id where
    neither is given. The arguments are the command's options. Raises UserError for what a user can mend.
    """
    if bins is not None and classes is not None:
        raise UserError(f"Expected one of --classes and --bins, got classes={classes} and bins={bins}.")
    configuration = load_configuration(config)
    author = group or configuration.data.group_column or "document_id"
    configuration = grouped_by(configuration, author)
    asked = _column(configuration, column)
    plan = configuration.evaluation
    tokens = at_least("prompt-tokens", plan.probe_tokens if prompt_tokens is None else prompt_tokens, 1)
    times = at_least("releases", plan.probe_releases if releases is None else releases, 1)
    count = at_least("classes", _classes(configuration, asked) if classes is None else classes, 2)
    scene = Scene.of(configuration, seed)
    public, private = labelled(scene, asked, bins, count, tokens)
    kept, private = public.first("documents", documents), private.one_of_each().first("prompts", prompts)
    require_classes(asked, kept.labels, kept.groups, private.labels)
    there = len(kept.texts)
    kept = kept.only(bounded_rows(kept.groups, kept.labels, plan.probe_rows, scene.seed).tolist())
    settings: dict[str, Json] = {
        "command": "attribute",
        "column": asked,
        "classes": count,
        "bins": bins,
        "group": author,
        "public_documents": len(kept.texts),
        "prompts": len(private.texts),
        "prompt_tokens": tokens,
        "releases": times,
    }
    run = Run(out, {**settings, **scene.identity})
    measured = run.part("inference", lambda: _measured(scene, asked, kept, private, times))
    document = {
        **scene.document(settings),
        "unit": "prompt",
        "column": asked,
        "public_rows": len(kept.texts) * times,
        "private_rows": len(private.texts),
        "labelled_public_documents": there,
        "left_out_rows": scene.assets.removed,
        **measured,
    }
    return finished(run, document, print_attribute)


def labelled(scene: Scene, column: str, bins: int | None, classes: int, tokens: int) -> tuple[Part, Part]:
    """Returns both splits' documents of the classes, the commonest of the public split, cut to so many tokens.

    bins: for numbers; the classes' edges are the public split's. Raises UserError for a missing column and one class.
    """
    assets = scene.assets
    public, private = assets.public_corpus, assets.private_corpus
    if bins is None:
        labels = [public.labels(column), private.labels(column)]
        common = {name for name, _ in Counter(filter(None, labels[0])).most_common(classes)}
    else:
        fitted = QuantileClasses.fit(public.names(column), bins)
        labels = [fitted.labels(corpus.names(column)) for corpus in (public, private)]
        common = set(fitted.names)
    parts = [
        _part(assets.public, labels[0], assets.public_groups, common, tokens),
        _part(assets.private, labels[1], assets.private_groups, common, tokens),
    ]
    return parts[0], parts[1]


def _part(
    documents: Sequence[Sequence[int]],
    labels: Sequence[str | None],
    groups: Sequence[str],
    common: set[str],
    tokens: int,
) -> Part:
    part = Part([], [], [])
    for document, label, author in zip(documents, labels, groups, strict=True):
        if label not in common or not document:
            continue
        part.texts.append(list(document[:tokens]))
        part.labels.append(str(label))
        part.groups.append(author)
    return part


def _column(configuration: Configuration, asked: str | None) -> str:
    own = configuration.attribute
    if asked is None and own is None:
        raise UserError("Expected --column, since the configuration names no attribute, got none.")
    return asked if asked is not None else own.column if own else ""


def _classes(configuration: Configuration, column: str) -> int:
    own = configuration.attribute
    return own.classes if own is not None and own.column == column else int(Attribute(column=column).classes)


def _measured(scene: Scene, column: str, public: Part, private: Part, times: int) -> dict[str, Json]:
    """Returns the probes' figures, those of the sizes, and what was left out, as JSON values."""
    viewer = Viewer(scene.public, None, scene.assets.language.tokenizer, scene.assets.sentences)
    with tqdm(total=4, desc="public releases", unit="step") as bar:
        train, _, missing = _sample(scene, viewer, public, times, "public")
        _next(bar, "private releases")
        test, sizes, _ = _sample(scene, viewer, private, 1, "private")
        _next(bar, "probes")
        found = infer(column, train, test, scene.seed)
        _next(bar, "sizes")
        measured = _sizes(sizes, private, scene.seed)
        bar.update()
    return {"inference": _inference(found), "sizes": measured, "views_left_out": missing}


def _next(bar: "tqdm[NoReturn]", name: str) -> None:
    bar.update()
    bar.set_description(name)


def _sample(
    scene: Scene, viewer: Viewer, part: Part, times: int, name: str
) -> tuple[Sample, SideChannels, dict[str, str]]:
    """Returns views of a part's releases and clean text, a row a release; probes see the text of public ones only."""
    place = np.tile(np.arange(len(part.texts)), times)
    client = scene.client(f"attack attribute, {name}")
    messages = [client.release_tokens(part.texts[i]) for i in place]
    texts = [part.texts[i] for i in place] if name == "public" else None
    views, clean = viewer.released(messages, texts), viewer.clean(part.texts)
    sizes = side_channels(scene.pipeline, messages)
    sample = Sample(
        views.rows,
        {kind: rows[place] for kind, rows in clean.rows.items()},
        tuple(part.labels[i] for i in place),
        tuple(part.groups[i] for i in place),
        {LENGTHS: sizes.features},
    )
    return sample, sizes, views.left_out


def _sizes(sizes: SideChannels, private: Part, seed: int) -> dict[str, Json]:
    """Returns what each size of the private messages tells of the class, bits; and why one is missing."""
    figures: dict[str, Json] = {}
    left_out = dict(sizes.left_out)
    for name, values in sizes.sizes.items():
        try:
            figures[name] = asdict(mutual_information(values, private.labels, seed, private.groups))
        except UserError as error:  # authors of several classes, for one: shuffles would have to split them
            left_out[name] = str(error)
    return {"figures": figures, "left_out": left_out}


def _inference(found: Inference) -> dict[str, Json]:
    return {
        "classes": list(found.probe.classes),
        "chance": found.chance,
        "released": _probe(found.figures),
        "clean": _probe(found.clean_figures),
        "lengths": _probe(found.length_figures) if found.length_figures else None,
        "other_users_release": found.other.to_dict(),
        "majority_accuracy": found.majority.to_dict(),
        "recalls": {name: figure.to_dict() for name, figure in found.recalls.items()},
    }


def _probe(figures: ProbeFigures) -> dict[str, Json]:
    result = figures.result
    return {
        "features": result.features,
        "classifier": result.classifier,
        "validation_balanced_accuracy": result.validation,
        "balanced_accuracy": figures.balanced.to_dict(),
        "accuracy": figures.accuracy.to_dict(),
        "auc": figures.auc.to_dict(),
        "weighted_accuracy": figures.weighted_accuracy.to_dict(),
        "over_majority": figures.over_majority.to_dict(),
        "advantage": figures.advantage.to_dict(),
    }
