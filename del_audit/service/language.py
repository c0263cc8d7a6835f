"""The language model of a configuration, on the device and in the number format that it names."""

from del_audit.configuration.configuration import Configuration
from mechanisms.models import LanguageModel, load_causal_lm


def language_of(configuration: Configuration) -> LanguageModel:
    """Returns the language model; raises UserError as load_causal_lm does."""
    return load_causal_lm(
        configuration.model,
        device=configuration.device,
        dtype=configuration.dtype,
        device_map=configuration.device_map,
        max_memory=configuration.max_memory,
    )
