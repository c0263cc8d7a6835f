"""`del-audit attack inversion`: the ladder on private prompts, every figure beside the baseline's, as one result."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from attacks.outcome import Outcome
from attacks.registry import AttackName
from attacks.self_test import SelfTest
from del_audit.attack.asked_ladder import asked_ladder, described, require_usable
from del_audit.attack.scene import Scene, finished
from del_audit.attack.tables import print_inversion
from del_audit.configuration.changed_file import ConfigurationFile
from del_audit.configuration.configuration import Configuration, load_configuration
from del_audit.evidence.inversion.leakage import AttackFigures, Leakage, measure_leakage
from del_audit.evidence.inversion.meaning import Meaning
from del_audit.evidence.inversion.metrics import KS, Metric, text_metrics, token_metrics
from del_audit.evidence.inversion.planted import identifier_figures, planted_slice
from del_audit.evidence.inversion.readers import BASELINE, AttackReader, Ladder
from del_audit.evidence.inversion.readers import self_tests as test_each
from del_audit.evidence.inversion.selection import FEWEST_DOCUMENTS, strongest
from del_audit.evidence.inversion.slices import Slice, SliceFigure, frequency_slices, measure_slice, text_slices
from del_audit.evidence.readiness import require_attacks
from del_audit.runs import Run
from del_audit.service.releases import PrivatePrompts
from del_audit.statistics.contradiction import FALSE_ALARMS
from del_audit.workers.filling import Workers, filling
from del_audit.workers.work import Part, Work
from mechanisms.canonical_json import Json

RELEASE = "attack inversion"
"""Names the draws of the releases."""


def attack_inversion(
    config: ConfigurationFile,
    out: Path,
    *,
    seed: int | None = None,
    attacks: tuple[str, ...] | None = None,
    prompts: int | None = None,
    prompt_tokens: int | None = None,
    masked_lm: str | None = None,
    plant: bool = False,
    text_metrics: bool = True,
    self_tests: bool = True,
    workers: Workers | None = None,
) -> int:
    """Attacks a configuration's private prompts, writes out/result.json and out/outcomes, and prints a table.

    Returns 0, or 1 where an attack reads more than the guarantee allows. The arguments are the command's options.
    Raises UserError for what a user can mend.
    """
    configuration = load_configuration(config)
    plan = configuration.evaluation
    ladder = asked_ladder(plan, attacks, masked_lm)
    scene = Scene.of(configuration, seed)
    sent = scene.prompts(prompts, prompt_tokens, plant)
    require_attacks(ladder, scene.assets, sent.prompt_tokens)
    settings: dict[str, Json] = {
        "command": "inversion",
        "attacks": described(ladder),
        "prompts": len(sent),
        "prompt_tokens": prompt_tokens or plan.context_tokens,
        "planted": plant,
        "self_tests": self_tests,
    }
    run = Run(out, {**settings, **scene.identity})
    released = sent.released(scene.client(RELEASE).release_tokens)
    asked = InversionWork(configuration, scene.seed, ladder, prompts, prompt_tokens, plant, self_tests)
    with filling(workers or Workers(), Work("del_audit.attack.inversion:bench_in", asked), run) as others:
        readers = {key: AttackReader(attack, scene.public) for key, attack in ladder.items()}
        missing = [key for key, reader in readers.items() if not reader.is_kept(released, run, key)]
        others.fill([Part(key, key) for key in missing], "attack")
    tests = test_each(ladder, scene.public, scene.seed, run) if self_tests else {}
    kept = require_usable(ladder, tests)
    with tqdm(total=len(kept) * len(released), desc="attacks", unit="prompt") as bar:
        outcomes = {
            key: AttackReader(attack, scene.public).read_in_parts(released, run, key, bar)
            for key, attack in kept.items()
        }
    for key, outcome in outcomes.items():
        run.keep(key, outcome)
    document = inversion_document(scene, settings, kept, outcomes, sent, tests, text_metrics)
    return finished(run, document, lambda found: print_inversion(found, tests.values()))


@dataclass(frozen=True, slots=True)
class InversionWork:
    """What a worker's attacks are made of; fields as of attack_inversion. seed: the scene's."""

    configuration: Configuration
    seed: int
    ladder: Ladder
    prompts: int | None
    prompt_tokens: int | None
    plant: bool
    self_tests: bool


@dataclass(frozen=True, slots=True)
class InversionBench:
    """A worker's attacks: each is self-tested, and reads all prompts if it passed. run: the worker's own."""

    run: Run
    about: InversionWork
    scene: Scene
    sent: PrivatePrompts

    def make(self, asked: object) -> None:
        """Makes one attack's self-test and outcomes; asked: its key."""
        ((key, attack),) = ((key, attack) for key, attack in self.about.ladder.items() if key == asked)
        alone: Ladder = {key: attack}
        tests = test_each(alone, self.scene.public, self.scene.seed, self.run) if self.about.self_tests else {}
        if key not in tests or tests[key].passed:
            released = self.sent.released(self.scene.client(RELEASE).release_tokens)
            with tqdm(disable=True) as bar:
                AttackReader(attack, self.scene.public).read_in_parts(released, self.run, key, bar)


def bench_in(folder: Path, about: InversionWork) -> InversionBench:
    """Returns a worker's bench, which keeps what it makes in a folder of its own; loads the scene."""
    scene = Scene.of(about.configuration, about.seed)
    sent = scene.prompts(about.prompts, about.prompt_tokens, about.plant)
    return InversionBench(Run(folder / "run", {"command": "inversion"}), about, scene, sent)


def inversion_document(
    scene: Scene,
    settings: dict[str, Json],
    ladder: Ladder,
    outcomes: Mapping[AttackName, Outcome],
    sent: PrivatePrompts,
    tests: Mapping[AttackName, SelfTest],
    texts: bool,
) -> dict[str, Json]:
    """Returns the whole result as JSON values: every figure states its unit, interval, method, kind and seed."""
    failed = [test for test in tests.values() if not test.passed]
    ran = {key: (ladder[key], outcome) for key, outcome in outcomes.items()}
    pipeline, meaning = scene.pipeline, Meaning(scene.public.table, scene.assets.language.tokenizer)
    leakage = measure_leakage(
        ran, pipeline.spec, pipeline.prior, scene.seed, failed, longest=sent.longest, meaning=meaning
    )
    rows, slices = [], _slices(scene, outcomes[BASELINE], sent)
    with tqdm(leakage.attacks, desc="figures", unit="attack") as bar:
        for figures in bar:
            attack = ladder[figures.key]
            about = {"key": figures.key, "context_free": attack.context_free, "note": getattr(attack, "note", "")}
            rows.append({**about, **_figures(scene, figures, outcomes[BASELINE], sent, slices, texts)})
    return {
        **scene.document(settings),
        "unit": "token",
        "prompts": len(sent),
        "documents": len(set(sent.units)),
        "tokens": sent.tokens,
        "attacks": rows,
        "strongest": _strongest(outcomes, scene.seed, sent.longest),
        "allowed": _allowed(leakage, scene.theorem),
        "broken": list(leakage.broken),
        "self_tests": {key: test.to_dict() for key, test in tests.items()},
        "unusable": [test.to_dict() for test in failed],
    }


def _slices(scene: Scene, outcome: Outcome, sent: PrivatePrompts) -> list[Slice]:
    """Returns the slices of the attacked tokens, which are the same for every attack."""
    slices = frequency_slices(outcome.truth, scene.public.prior)
    slices += text_slices(outcome, scene.assets.language.tokenizer, scene.assets.public_corpus.texts)
    return slices if sent.planted is None else [*slices, planted_slice(outcome, sent.planted)]


def _figures(
    scene: Scene, found: AttackFigures, baseline: Outcome, sent: PrivatePrompts, slices: Sequence[Slice], texts: bool
) -> dict[str, Json]:
    """Returns one attack's figures, each metric and slice beside the baseline's."""
    outcome, seed = found.outcome, scene.seed
    language, depth = scene.assets.language, min(found.outcome.depth, baseline.depth)
    metrics = token_metrics(outcome, baseline, seed, [k for k in KS if k <= depth], longest=sent.longest)
    if texts:
        metrics += text_metrics(
            outcome,
            baseline,
            language.tokenizer,
            seed,
            scene.assets.sentences,
            scene.public.table,
            prompt_tokens=sent.prompt_tokens,
            prompts_each=sent.prompts_each,
        )
    planted: list[SliceFigure] = []
    if sent.planted is not None:  # one identifier in each prompt
        planted = identifier_figures(
            outcome, baseline, sent.planted, language.tokenizer, seed, longest=sent.prompts_each
        )
    measured = [measure_slice(part, outcome, baseline, seed, longest=sent.longest) for part in slices]
    return {
        "name": found.name,
        "version": found.version,
        "success": found.success.to_dict(),
        "meaning": found.meaning.to_dict() if found.meaning else None,
        "rare": found.rare.to_dict() if found.rare else None,
        "worst_prompt": found.worst.to_dict(),
        "broken_below": found.broken_below,
        "metrics": {metric.name: _metric(metric) for metric in metrics},
        "slices": {part.name: asdict(part) for part in measured},
        "identifiers": {part.name: asdict(part) for part in planted},
    }


def _metric(metric: Metric) -> dict[str, Json]:
    return {name: getattr(metric, name).to_dict() for name in ("attack", "baseline", "difference")}


def _strongest(outcomes: Mapping[AttackName, Outcome], seed: int, longest: int) -> dict[str, Json]:
    """Returns the strongest, picked on half of the documents and reported on the others, or why there is none."""
    attacks = [outcome for key, outcome in outcomes.items() if key != BASELINE]
    documents = len(set(attacks[0].documents))
    if documents < FEWEST_DOCUMENTS:
        return {"figure": None, "why": f"too few documents to split: {documents}, where {FEWEST_DOCUMENTS} are needed"}
    return {**asdict(strongest(attacks, seed, "holdout", outcomes[BASELINE], longest=longest)), "why": ""}


def _allowed(leakage: Leakage, theorem: int) -> dict[str, Json] | None:
    """Returns the theorem's bound: what no attack that takes tokens one by one may beat; None where none is proved."""
    if leakage.allowed is None:
        return None
    return {
        "kappa": leakage.kappa,
        **asdict(leakage.allowed),
        "unit": "share of tokens read, attacks that take them one by one",
        "source": f"theorem {theorem}, at the upper limit of the commonest word's share",
        "false_alarm_rate": FALSE_ALARMS,
    }
