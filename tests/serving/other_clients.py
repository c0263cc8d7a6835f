"""Run where LiteLLM and LangChain are: both ask the proxy, and a line of JSON says what they were told."""

import asyncio
import json
import sys

import litellm
from langchain_openai import ChatOpenAI

url, question = sys.argv[1:]
litellm.telemetry = False
asked = {"model": "openai/tiny", "api_base": url, "api_key": "none", "max_tokens": 5, "seed": 1}
messages = [{"role": "user", "content": question}]
whole = litellm.completion(messages=messages, **asked)
pieces = list(litellm.completion(messages=messages, stream=True, **asked))
model = ChatOpenAI(model="tiny", base_url=url, api_key="none", max_tokens=5, seed=1, max_retries=0)
chain = model.invoke(question)
streamed = list(model.stream(question))
together = asyncio.run(model.ainvoke(question))
print(
    json.dumps(
        {
            "litellm": whole.choices[0].message.content,
            "litellm streamed": "".join(piece.choices[0].delta.content or "" for piece in pieces),
            "litellm finished": [piece.choices[0].finish_reason for piece in pieces][-1],
            "langchain": chain.content,
            "langchain streamed": "".join(piece.content for piece in streamed),
            "langchain async": together.content,
            "tokens": chain.usage_metadata["output_tokens"],
        }
    )
)
