"""The one prompt that a report may show: a public one."""

from del_audit.service.assets import Assets, client_of
from del_audit.service.pipelines import AnyPipeline
from del_audit.service.releases import Releases

SHOWN_TOKENS = 40
"""Tokens of the public prompt that the report shows."""


def prompt_to_show(assets: Assets, attacked: AnyPipeline) -> Releases:
    """Returns a public prompt as the client sends it: what it says may stand in a report."""
    documents = [document for document in assets.public if document]
    prompt = next((d for d in documents if len(d) >= SHOWN_TOKENS), documents[0])[:SHOWN_TOKENS]
    message = client_of(assets, attacked, assets.seed, "prompt to show").release_tokens(prompt)
    return Releases([message], [prompt], ["public"])
