"""What `del-audit proxy` does: a client's folder in, OpenAI's API on this machine out. It needs no model, no torch."""

import asyncio
import hashlib
import re
import ssl
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2

from del_audit.client.certified import client_under, current_certificate
from del_audit.serving.conversations import Conversations
from del_audit.serving.keys import Keys, require_keys_for
from del_audit.serving.listening import Listening, run
from del_audit.serving.logs import log_to
from del_audit.serving.proxy_app import ProxyApp
from del_audit.serving.releasing import Releasing
from del_audit.serving.upstream import Upstream
from mechanisms.canonical_json import LARGEST
from mechanisms.client import Client
from mechanisms.client_bundle import CERTIFICATE, public_texts
from mechanisms.client_certificate import WHAT, date, require_in_date
from mechanisms.errors import UserError
from mechanisms.ledger import Account, Ledger
from mechanisms.small_file import read_small
from mechanisms.state_folder import state_folder


@dataclass(frozen=True, slots=True)
class Proxying:
    """How it runs. upstream: the server's URL. upstream_key: a file that holds the key for it. ca: of its TLS.

    keys: a file of API keys; None for whoever reaches this machine's port. Raises UserError for what cannot be.
    """

    listening: Listening
    upstream: str
    upstream_key: Path | None = None
    ca: Path | None = None
    keys: Path | None = None
    seconds: float = 600.0

    def __post_init__(self) -> None:
        if not re.fullmatch(r"https?://[^/\s]+", self.upstream.rstrip("/")):
            raise UserError(f"Expected --upstream to be http(s)://HOST:PORT, got {self.upstream!r}.")
        if self.ca is not None and not self.ca.is_file():
            raise UserError(f"Expected --upstream-ca to be a file, got {str(self.ca)!r}.")


@dataclass(slots=True)
class _Clients:
    """A client for each user: all of one half, each with a ledger of its own. first: the client of the folder."""

    first: Client
    account: Account
    _made: dict[str, Client] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, user: str) -> Client:
        """Returns the client of a user; the user without a name has the ledger that `send` has."""
        with self._lock:
            if user not in self._made:
                account = Account(Ledger.of_user(user), self.account.deployment, self.account.tokenizer)
                self._made[user] = self.first.charging(account)
            return self._made[user]


def proxy(
    bundle: Path,
    how: Proxying,
    certificate: Path | None = None,
    trust: Sequence[str] = (),
    accept_quick: bool = False,
) -> int:
    """Serves until it is told to stop, and returns 0; nothing is sent but releases under the certificate.

    bundle: the client's folder. certificate: its file; None for the one in the bundle. trust, accept_quick: as `send`.
    Raises UserError for a certificate that does not hold, a server that does not answer or runs under another one, and
    a port that is taken; then nothing is sent.
    """
    keys = Keys.read(how.keys)
    require_keys_for(how.listening.host, keys)
    client = client_under(bundle, certificate, trust, accept_quick)
    path = certificate if certificate is not None else bundle / CERTIFICATE
    data = read_small(path, LARGEST, WHAT)
    signed = current_certificate(bundle, certificate, trust)

    def check() -> None:
        if read_small(path, LARGEST, WHAT) != data:
            raise UserError(f"Expected {path} as it was at the start, got another certificate: start the proxy again.")
        require_in_date(current_certificate(bundle, certificate, trust).body, _now())

    upstream = Upstream(_connection(how), hashlib.sha256(data).digest())
    about = asyncio.run(_about(how, upstream.certificate))
    account = client.account
    assert account is not None
    conversations = Conversations(state_folder() / "conversations.sqlite")
    name = str(about["name"])
    app = ProxyApp(
        name,
        upstream,
        Releasing(conversations, public_texts(bundle)),
        conversations,
        _Clients(client, account).of,
        keys,
        date(signed.body["expires"], "expires"),
        check,
        local=how.listening.host in ("127.0.0.1", "localhost", "::1"),
        seconds=how.seconds,
    )
    print(
        f"OpenAI's API for model {name} on {how.listening.address}/v1, before {how.upstream}, under certificate "
        f"{upstream.certificate.hex()[:12]}",
        file=sys.stderr,
    )
    log_to()
    run(app.app(), how.listening)
    return 0


def _now() -> datetime:
    return datetime.now(UTC)


def _connection(how: Proxying) -> httpx2.AsyncClient:
    """Returns the connection to the server; nothing of the environment, such as a proxy's address, has a part in it."""
    headers = {"accept-encoding": "identity"}
    if how.upstream_key is not None:
        key = read_small(how.upstream_key, 1 << 12, "key's").decode("utf8", "replace").strip()
        headers["authorization"] = f"Bearer {key}"
    verify = True if how.ca is None else ssl.create_default_context(cafile=how.ca)
    timeout = httpx2.Timeout(how.seconds, connect=10.0)
    return httpx2.AsyncClient(
        base_url=how.upstream.rstrip("/"), headers=headers, verify=verify, timeout=timeout, trust_env=False
    )


async def _about(how: Proxying, certificate: bytes) -> dict[str, Any]:
    async with _connection(how) as connection:
        return await Upstream(connection, certificate).about()
