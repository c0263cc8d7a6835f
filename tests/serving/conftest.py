"""A tiny certified service, whole: its server and its proxy in this process, and what crossed the wire between them."""

import asyncio
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import httpx2
import openai
import pytest
from tiny_service import SYSTEM, certified_service

from del_audit.configuration.configuration import load_configuration
from del_audit.serving.conversations import Conversations
from del_audit.serving.deployed import Deployed
from del_audit.serving.gate import Certified, Gate, certified
from del_audit.serving.keys import Keys
from del_audit.serving.prefixes import Prefixes
from del_audit.serving.protocol import Request, read_request
from del_audit.serving.proxy_app import ProxyApp
from del_audit.serving.releasing import Releasing
from del_audit.serving.server_app import Limits, ServerApp
from del_audit.serving.transformers_engine import TransformersEngine
from del_audit.serving.upstream import Upstream
from mechanisms.client_bundle import load_client, public_texts
from mechanisms.ledger import Account, Ledger

SENDS = 3


@pytest.fixture(scope="session")
def deployment(tiny_lm_folder, tiny_bert_folder, tmp_path_factory):
    """Returns a certificate of quick assurance and the client's folder, of a model with a chat template."""
    with pytest.MonkeyPatch.context() as patched:
        return certified_service(
            tmp_path_factory.mktemp("service"), tiny_lm_folder, tiny_bert_folder, patched.setenv, sends=SENDS
        )


@pytest.fixture
def own_state(deployment, monkeypatch, tmp_path):
    """The key that signed, and records of this test alone."""
    monkeypatch.setenv("DEL_AUDIT_CONFIG", deployment.state["DEL_AUDIT_CONFIG"])
    monkeypatch.setenv("DEL_AUDIT_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture(scope="session")
def deployed(deployment):
    return Deployed.of(load_configuration(deployment.config))


@dataclass
class Service:
    """Both applications, and a recording wire between them."""

    server: ServerApp
    proxy: ProxyApp
    ledger: Ledger
    wire: list[Request] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    system: str = SYSTEM
    sends: int = SENDS

    def openai(self, **options) -> openai.AsyncOpenAI:
        """Returns the real client, before the proxy."""
        transport = httpx2.ASGITransport(app=self.proxy.app())
        options = {"api_key": "not asked for", "max_retries": 0, **options}
        connection = httpx2.AsyncClient(transport=transport)
        return openai.AsyncOpenAI(base_url="http://localhost:8701/v1", http_client=connection, **options)

    def post(self, path, content, headers=None) -> httpx2.Response:
        """Returns the proxy's answer to a body, whatever it is."""

        async def posted() -> httpx2.Response:
            transport = httpx2.ASGITransport(app=self.proxy.app())
            async with httpx2.AsyncClient(transport=transport, base_url="http://localhost:8701") as connection:
                body = content if isinstance(content, bytes) else json.dumps(content).encode()
                return await connection.post(
                    path, content=body, headers={"content-type": "application/json", **(headers or {})}
                )

        return asyncio.run(posted())

    def chat(self, *said, **options):
        """Returns the answer to a chat of (role, text) pairs, or texts of the user alone."""
        messages = [
            {"role": role, "content": text}
            for role, text in (("user", one) if isinstance(one, str) else one for one in said)
        ]
        given = {"model": "tiny", "max_tokens": 6, "seed": 1, "messages": messages, **options}
        extra = given.pop("headers", None)

        async def asked():
            async with self.openai() as client:
                return await client.chat.completions.create(**given, extra_headers=extra)

        return asyncio.run(asked())

    @property
    def spent(self) -> int:
        """Tokens in the ledger."""
        return sum(each.tokens for each in self.ledger.summary(timedelta(days=30)).spent)


@pytest.fixture
def service(deployment, deployed, own_state):
    """Returns the service, its answers unpadded and without ticks that a test would wait for."""
    language = deployed.language

    def check() -> Certified:
        found = certified(deployment.certificate, (), accept_quick=True)
        deployed.require_named_by(found.body)
        return found

    gate = Gate(check)
    prefixes = Prefixes(language, deployed.pipeline, deployed.soft_prompt)
    engine = TransformersEngine(language.model, language.tokenizer)
    server = ServerApp(
        "tiny", gate, prefixes, engine, language.context_tokens, Keys({}), Limits(new_tokens=64), frame=1, tick=0.002
    )
    bodies, wire = [], []

    async def record(request) -> None:
        if content := await request.aread():
            bodies.append(content)
            wire.append(read_request(content))

    connection = httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=server.app()),
        base_url="http://server",
        event_hooks={"request": [record]},
    )
    client = load_client(deployment.bundle, accept_quick=True)
    ledger = client.account.ledger
    conversations = Conversations(own_state / "conversations.sqlite")
    ledgers = {}

    def client_of(user):
        if not user:
            return client
        at = ledgers.setdefault(user, Ledger(own_state / f"ledger-{user}.sqlite"))
        return client.charging(Account(at, client.account.deployment, client.account.tokenizer))

    proxy = ProxyApp(
        "tiny",
        Upstream(connection, gate.require().sha256),
        Releasing(conversations, public_texts(deployment.bundle)),
        conversations,
        client_of,
        Keys({}),
        datetime.now(UTC) + timedelta(days=1),
        lambda: None,
    )
    yield Service(server, proxy, ledger, wire, bodies)
    asyncio.run(engine.close())
    conversations.close()
