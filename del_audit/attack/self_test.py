"""`del-audit attack --self-test`: every attack at the two references, before its failure counts as privacy."""

from attacks.registry import attack_names
from del_audit.attack.asked_ladder import named_ladder
from del_audit.attack.scene import Scene
from del_audit.attack.tables import print_self_tests
from del_audit.configuration.changed_file import ConfigurationFile
from del_audit.configuration.configuration import Configuration, load_configuration
from del_audit.evidence.inversion.readers import self_tests
from del_audit.evidence.readiness import require_attacks
from del_audit.process.exit_codes import REFUSED

UNUSABLE = REFUSED
PACKAGED = {
    "name": "self-test",
    "model": "package:smollm2-135m-instruct",
    "mechanism": {"bits": 4, "dim": 18, "mu": 8.0},
    "data": {"corpus": "package:drug-reviews"},
    "policy": {"attack_success_at_most": 0.9},
}
"""What is tested without a configuration. The mechanism plays no part: the references have their own."""


def run_self_tests(
    config: ConfigurationFile | None, names: tuple[str, ...] | None, masked_lm: str | None = None
) -> int:
    """Tests every attack, or those of the names, on a configuration's model and public text, and prints a table.

    Returns 0 where all pass, 1 where one is unusable. Raises UserError for what a user can mend.
    """
    ladder = named_ladder(attack_names() if names is None else names, masked_lm)
    configuration = Configuration.model_validate(PACKAGED) if config is None else load_configuration(config)
    scene = Scene.of(configuration)
    require_attacks(ladder, scene.assets, configuration.policy.prompt_tokens)
    tests = self_tests(ladder, scene.public, scene.seed)
    print_self_tests(tests)
    return 0 if all(test.passed for test in tests.values()) else UNUSABLE
