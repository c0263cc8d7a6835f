"""What `del-audit serve` does: a configuration and its certificate in, a running server out."""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from del_audit.configuration.changed_file import ConfigurationFile
from del_audit.configuration.configuration import load_configuration
from del_audit.process.quiet import silence_libraries
from del_audit.serving.deployed import Deployed
from del_audit.serving.engine import Engine
from del_audit.serving.gate import Certified, Gate, certified
from del_audit.serving.keys import Keys, require_keys_for
from del_audit.serving.listening import Listening, run
from del_audit.serving.logs import log_to
from del_audit.serving.prefixes import Prefixes
from del_audit.serving.server_app import Limits, ServerApp
from del_audit.serving.transformers_engine import TransformersEngine
from del_audit.serving.vllm_check import VllmServer, probes_of
from del_audit.serving.vllm_engine import VllmEngine, connection
from mechanisms.errors import UserError


@dataclass(frozen=True, slots=True)
class Serving:
    """How it is served. keys: a file; None for no keys. padded: answers in padded, timed events.

    engine: the URL of a vLLM server that writes; None for the model in this process. Raises UserError for another URL.
    """

    listening: Listening
    limits: Limits
    keys: Path | None = None
    padded: bool = True
    engine: str | None = None

    def __post_init__(self) -> None:
        if self.engine is not None and not re.fullmatch(r"https?://[^/\s]+/?", self.engine):
            raise UserError(f"Expected --engine to be http(s)://HOST:PORT of a vLLM server, got {self.engine!r}.")


def serve(
    config: ConfigurationFile, certificate: Path, how: Serving, trust: Sequence[str] = (), accept_quick: bool = False
) -> int:
    """Serves until it is told to stop, and returns 0; nothing is served that the certificate does not name.

    certificate: its file, read again every minute. trust: public keys that may have signed it. accept_quick: whether
    one of the assurance quick will do. Raises UserError for a certificate that does not hold, for what it does not
    name, for a vLLM server that may not write, and as load_configuration and Deployed.of do.
    """
    configuration, keys = load_configuration(config), Keys.read(how.keys)
    require_keys_for(how.listening.host, keys)
    certified(certificate, trust, accept_quick)  # now, not after the seconds that a model takes
    silence_libraries()
    beside = None if how.engine is None else VllmServer.at(how.engine)
    deployed = Deployed.of(configuration)
    language = deployed.language
    probes = probes_of(language, beside.context) if beside else []

    def check() -> Certified:
        found = certified(certificate, trust, accept_quick)
        deployed.require_named_by(found.body)
        if beside is not None:
            beside.require_still(probes)
        return found

    gate = Gate(check)
    engine: Engine
    if beside is None:
        engine, context = TransformersEngine(language.model, language.tokenizer), language.context_tokens
    else:
        engine = VllmEngine(connection(beside.url), beside.name, language)
        context = min(beside.context, language.context_tokens)
    served = ServerApp(
        configuration.name,
        gate,
        Prefixes(language, deployed.pipeline, deployed.soft_prompt),
        engine,
        context,
        keys,
        how.limits,
        frame=256 if how.padded else 1,
        tick=0.05 if how.padded else 0.005,
    )
    current = gate.require()
    print(
        f"Serving {configuration.name} under certificate {current.sha256.hex()[:12]} until {current.until:%Y-%m-%d} on "
        f"{how.listening.address}",
        file=sys.stderr,
    )
    log_to()
    run(served.app(), how.listening)
    return 0
