"""Whether several secrets stand as they stood, by one call: an own look at the floor, made by a list.

ListSecrets may lack the changes of the last five minutes, says AWS, and DescribeSecret is what it names for more recent
ones: https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_ListSecrets.html. So a list confirms a version
that is known, and says nothing else: whatever it does not confirm has to be described.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agent.core import arn
from agent.core.errors import Failure
from agent.core.model import Answers, Observation, Request
from agent.core.record import replace
from agent.core.value import Fetched
from agent.sources.aws import secrets_manager
from agent.sources.aws.clients import Clients

AT_ONCE = 10  # values of one filter, AWS's limit

_UNSAID = Failure("other", "the list does not show the known version")


class Looks:
    """Requests with a known version."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def batches(self, requests: Sequence[Request]) -> list[tuple[Request, ...]]:
        """Up to ten of one place. One alone is left out, since to describe it costs the same, and so is one that no
        filter can name: AWS takes a `!` in front for a negation."""
        named = [r for r in requests if not arn.beginning_of_name(r.secret.ref.id).startswith("!")]
        places = list(dict.fromkeys(request.secret.ref.place for request in named))
        made = []
        for place in places:
            here = [request for request in named if request.secret.ref.place == place]
            made += [tuple(here[start : start + AT_ONCE]) for start in range(0, len(here), AT_ONCE)]
        return [batch for batch in made if len(batch) > 1]

    def observe(self, batch: tuple[Request, ...]) -> Answers[Observation]:
        """Of each secret the known version, if the first page of one list shows that it holds the wanted stage;
        otherwise a failure."""
        names = list(dict.fromkeys(arn.beginning_of_name(request.secret.ref.id) for request in batch))
        filters = [{"Key": "name", "Values": names}]  # each the beginning of names, in their case

        def ask(client: Any) -> dict[str, Observation | Failure]:
            page = client.list_secrets(Filters=filters, MaxResults=100)["SecretList"]
            return {request.secret.name: _known(request, page) for request in batch}

        # Its permission is on all secrets, and so is what messages say.
        about = replace(batch[0].secret, ref=replace(batch[0].secret.ref, id="*"))
        answer = self._clients.ask("ListSecrets", about, ask)
        found = answer.result
        if isinstance(found, Failure):
            found = dict.fromkeys((request.secret.name for request in batch), found)
        return Answers(found, (answer.call,))

    def fetch(self, batch: tuple[Request, ...]) -> Answers[Fetched]:
        """Nothing: a list has no values."""
        return Answers({})


def _known(request: Request, page: list[Any]) -> Observation | Failure:
    """What the entry of the secret says, if that is the known version."""
    ref = request.secret.ref
    for entry in page:
        if arn.is_of(ref.id, str(entry.get("ARN")), str(entry.get("Name"))):
            described = {**entry, "VersionIdsToStages": entry.get("SecretVersionsToStages")}
            found = secrets_manager.observation(request.secret, described)
            if isinstance(found, Observation) and found.version_id == request.known:
                return found
    return _UNSAID
