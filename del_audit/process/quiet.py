"""Keeps what libraries say of themselves out of what the audit says."""

import logging
import warnings

from transformers.utils import logging as transformers_logging


def silence_libraries() -> None:
    """Silences libraries' notices, which say nothing of the certificate; errors still come through."""
    for name in ("transformers", "peft", "datasets", "huggingface_hub"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()  # it counts tensors; the audit's own bars count texts and prompts
