"""One route to an answer, measured in a process of its own: `routes.py ROUTE CASE`, the case and the result in JSON.

A case has `trials` N, `gain` = clip / scale = 2 p+ - 1 of one trial, the spec (`bits`, `dim`, `scale` at clip 1), `mu`,
`tokens` and `delta`. A route imports what it needs and answers from scratch, so that only its own library is loaded.
"""

import contextlib
import importlib
import json
import math
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

MEMORY_LIMIT = 8 << 30
ROUTES: dict[str, "Route"] = {}
Answer = float | str | list[Any]


class Case(NamedTuple):
    """One release to account for."""

    bits: int
    dim: int
    tokens: int
    scale: float
    mu: float
    delta: float
    trials: int
    gain: float
    alphas: Sequence[float] = ()

    @property
    def local_epsilon(self) -> float:
        """The log-odds of one trial."""
        return 2 * math.atanh(self.gain)


class Route(NamedTuple):
    """How to ask one library; `modules` are imported before the clock starts."""

    modules: tuple[str, ...]
    ask: Callable[..., Answer]


def route(name: str, *modules: str) -> Callable[[Callable[..., Answer]], Callable[..., Answer]]:
    """Returns a decorator that registers a function of the case and of the modules under this name."""

    def register(ask: Callable[..., Answer]) -> Callable[..., Answer]:
        ROUTES[name] = Route(modules, ask)
        return ask

    return register


@route("del-audit", "del_audit.accounting", "mechanisms.spec")
def del_audit(case: Case, accounting: Any, spec: Any, **options: bool) -> Answer:
    description = spec.QuantizerSpec(case.bits, case.dim, 1.0, case.scale)
    accountant = accounting.Accountant(description, exact_reals=True, **options)
    return accountant.epsilon(case.delta, "session", case.tokens).upper


@route("del-audit, proved", "del_audit.accounting", "mechanisms.spec", "del_audit.accounting.rigorous", "flint")
def del_audit_proved(case: Case, accounting: Any, spec: Any, rigorous: Any, _: Any) -> Answer:
    rigorous._tail.cache_clear()  # so that each call is from scratch
    return del_audit(case, accounting, spec, proved=True)


@route("mu-GDP without error term", "del_audit.accounting", "mechanisms.spec")
def gaussian_limit(case: Case, accounting: Any, spec: Any) -> Answer:
    description = spec.QuantizerSpec(case.bits, case.dim, 1.0, case.scale)
    return accounting.GaussianLimit.of(description, case.tokens).epsilon_ignoring_gamma(case.delta)


@route("scipy binom.sf, binom.logsf", "numpy", "scipy.stats")
def scipy_tails(case: Case, np: Any, stats: Any) -> Answer:
    counts = np.arange(-1, case.trials)
    left = stats.binom.sf(counts, case.trials, 0.5 + case.gain / 2) - case.delta
    null = stats.binom.logsf(counts[left > 0], case.trials, 0.5 - case.gain / 2)
    return float(np.max(np.log(left[left > 0]) - null))


@route("dp-accounting PLD, self_compose", "dp_accounting.pld.privacy_loss_distribution")
def pld(case: Case, pld: Any) -> Answer:
    return pld.from_randomized_response(1 - case.gain, 2).self_compose(case.trials).get_epsilon_for_delta(case.delta)


@route("dp-accounting PLD, two binomials", "dp_accounting.pld.privacy_loss_distribution", "numpy", "scipy.stats")
def pld_of_binomials(case: Case, pld: Any, np: Any, stats: Any) -> Answer:
    counts = np.arange(case.trials + 1)
    lower, upper = (
        dict(enumerate(stats.binom.logpmf(counts, case.trials, 0.5 + sign * case.gain / 2))) for sign in (-1, 1)
    )
    return pld.from_two_probability_mass_functions(lower, upper).get_epsilon_for_delta(case.delta)


@route("dp-accounting PLDAccountant, count", "dp_accounting", "dp_accounting.pld")
def pld_count(case: Case, dp: Any, pld: Any) -> Answer:
    accountant = pld.PLDAccountant(dp.NeighboringRelation.REPLACE_ONE)
    accountant.compose(dp.RandomizedResponseDpEvent(1 - case.gain, 2), case.trials)
    return accountant.get_epsilon(case.delta)


@route("dp-accounting PLDAccountant, loop", "dp_accounting", "dp_accounting.pld")
def pld_loop(case: Case, dp: Any, pld: Any) -> Answer:
    accountant = pld.PLDAccountant(dp.NeighboringRelation.REPLACE_ONE)
    for _ in range(case.trials):
        accountant.compose(dp.RandomizedResponseDpEvent(1 - case.gain, 2))
    return accountant.get_epsilon(case.delta)


@route("dp-accounting RDP", "dp_accounting", "dp_accounting.rdp")
def rdp(case: Case, dp: Any, rdp: Any) -> Answer:
    accountant = rdp.RdpAccountant(neighboring_relation=dp.NeighboringRelation.REPLACE_ONE)
    accountant.compose(dp.RandomizedResponseDpEvent(1 - case.gain, 2), case.trials)
    return accountant.get_epsilon(case.delta)


@route("prv-accountant, pure DP", "prv_accountant")
def prv(case: Case, prv: Any) -> Answer:
    return _prv_upper(case, prv, prv.PureDPMechanism(case.local_epsilon))


@route("prv-accountant, pure DP, eps_max", "prv_accountant")
def prv_safe_domain(case: Case, prv: Any) -> Answer:
    return _prv_upper(
        case, prv, prv.PureDPMechanism(case.local_epsilon), eps_max=float(case.trials * case.local_epsilon)
    )


@route("prv-accountant, exact Renyi given", "prv_accountant", "numpy")
def prv_with_renyi(case: Case, prv: Any, np: Any) -> Answer:
    class RandomizedResponse(prv.PureDPMechanism):  # type: ignore[misc]
        def rdp(self, alpha: float) -> float:
            p, q = math.log(0.5 + case.gain / 2), math.log(0.5 - case.gain / 2)
            return float(np.logaddexp(alpha * p + (1 - alpha) * q, alpha * q + (1 - alpha) * p)) / (alpha - 1)

    return _prv_upper(case, prv, RandomizedResponse(case.local_epsilon))


def _prv_upper(case: Case, prv: Any, variable: Any, **options: float) -> Answer:
    """Returns the upper end at the errors that prv-accountant's own documentation calls typical."""
    accountant = prv.PRVAccountant(
        prvs=variable, eps_error=0.1, delta_error=case.delta / 1000, max_self_compositions=case.trials, **options
    )
    return accountant.compute_epsilon(case.delta, [case.trials])[2]


@route("autodp RDP", "autodp.mechanism_zoo", "autodp.transformer_zoo")
def autodp_rdp(case: Case, mechanisms: Any, transformers: Any) -> Answer:
    trial = mechanisms.RandresponseMechanism(p=0.5 + case.gain / 2)
    return transformers.Composition()([trial], [case.trials]).get_approxDP(case.delta)


@route("autodp phi-function", "autodp.mechanism_zoo", "autodp.transformer_zoo")
def autodp_phi(case: Case, mechanisms: Any, transformers: Any) -> Answer:
    trial = mechanisms.RandresponseMechanism(p=0.5 + case.gain / 2, RDP_off=True, phi_off=False)
    return transformers.ComposeAFA()([trial], [case.trials]).get_approxDP(case.delta)


@route("opendp, pure DP", "opendp.prelude")
def opendp_pure(case: Case, dp: Any) -> Answer:
    return _opendp_release(case, dp, _opendp_trial(case, dp)).map(1)


@route("opendp, zCDP", "opendp.prelude")
def opendp_concentrated(case: Case, dp: Any) -> Answer:
    release = _opendp_release(case, dp, dp.c.make_pureDP_to_zCDP(_opendp_trial(case, dp)))
    return dp.c.make_zCDP_to_approxDP(release).map(1).epsilon(case.delta)


def _opendp_trial(case: Case, dp: Any) -> Any:
    dp.enable_features("contrib")
    return dp.m.make_randomized_response_bool(prob=0.5 + case.gain / 2)


def _opendp_release(case: Case, dp: Any, trial: Any) -> Any:
    """Returns the composition token by token: one list of all trials would not fit into memory."""
    token = dp.c.make_composition([trial] * (case.trials // case.tokens))
    return dp.c.make_composition([token] * case.tokens)


@route("opacus GDP accountant", "opacus.accountants")
def opacus_gdp(case: Case, accountants: Any) -> Answer:
    return _opacus(case, accountants.GaussianAccountant())


@route("opacus GDP, its inversion at mu", "opacus.accountants.analysis.gdp")
def opacus_inversion(case: Case, gdp: Any) -> Answer:
    return gdp.eps_from_mu(mu=case.mu * math.sqrt(case.tokens), delta=case.delta)


@route("opacus RDP accountant", "opacus.accountants")
def opacus_rdp(case: Case, accountants: Any) -> Answer:
    return _opacus(case, accountants.RDPAccountant())


@route("opacus PRV accountant", "opacus.accountants")
def opacus_prv(case: Case, accountants: Any) -> Answer:
    return _opacus(case, accountants.PRVAccountant())


def _opacus(case: Case, accountant: Any) -> Answer:
    """Returns epsilon of the Gaussian mechanism of the same mu: opacus has no other mechanism to ask about."""
    for _ in range(case.tokens):
        accountant.step(noise_multiplier=1 / case.mu, sample_rate=1.0)
    return float(accountant.get_epsilon(case.delta))


@route("riskcal beta", "riskcal.analysis", "dp_accounting.pld.privacy_loss_distribution", "numpy")
def riskcal_beta(case: Case, analysis: Any, pld: Any, np: Any) -> Answer:
    release = pld.from_randomized_response(1 - case.gain, 2).self_compose(case.trials)
    return [float(beta) for beta in analysis.get_beta_from_pld(release, np.array(case.alphas))]


@route("del-audit beta", "del_audit.accounting")
def del_audit_beta(case: Case, accounting: Any) -> Answer:
    return [float(beta) for beta in accounting.TradeOff.of_vertices(case.trials, case.gain / 2).beta(case.alphas)]


@route("del-audit total variation", "del_audit.accounting")
def del_audit_total_variation(case: Case, accounting: Any) -> Answer:
    return accounting.TradeOff.of_vertices(case.trials, case.gain / 2).total_variation


@route("exact epsilon", "mpmath", "exact_sums")
def exact_epsilon(case: Case, mpmath: Any, exact_sums: Any) -> Answer:
    return mpmath.nstr(exact_sums.epsilon(case.delta, case.trials, case.scale), 40)


@route("exact beta", "mpmath", "exact_sums")
def exact_beta(case: Case, mpmath: Any, exact_sums: Any) -> Answer:
    return [mpmath.nstr(exact_sums.beta(alpha, case.trials, case.scale), 25) for alpha in case.alphas]


def measure(name: str, case: Case) -> dict[str, Any]:
    """Returns the answer, its time in seconds (median of up to 50 calls) and peak memory."""
    modules = [importlib.import_module(module) for module in ROUTES[name].modules]
    taken: list[float] = []
    peak = 0
    while not taken or (sum(taken) < 0.3 and len(taken) < 50):
        start = time.perf_counter()
        answer = ROUTES[name].ask(case, *modules)
        taken.append(time.perf_counter() - start)
        peak = peak or peak_memory()
    return {"answer": answer, "seconds": statistics.median(taken[1:] or taken), "peak": peak}


def peak_memory() -> int:
    """Returns the most memory in bytes that this process held; the kernel's ru_maxrss would count the parent's, too."""
    with contextlib.suppress(OSError), open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << (0 if sys.platform == "darwin" else 10)


def main() -> None:
    """Prints the measurement, or the exact words of the refusal, as one line of JSON."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            result = measure(sys.argv[1], Case(**json.loads(sys.argv[2])))
    except Exception as error:  # whatever a library raises is what the table shows
        result = {"refusal": f"{type(error).__name__}: {error}"}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
