"""One ExternalSecret, from what it asks for to its Secret. `plan` has the invariant that the order of steps keeps."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from lightkube import ApiError

from agent.controller.external_secrets import asked as asking_for
from agent.controller.external_secrets import plan, stores
from agent.controller.external_secrets.asked import Asked, Beside, Policy, StoreRef, Wrong, shown
from agent.controller.external_secrets.asking import MOST, Asking
from agent.controller.external_secrets.cluster import (
    FORBIDDEN,
    INVALID,
    Absent,
    Cluster,
    said,
    text_of,
)
from agent.controller.external_secrets.kinds import Key
from agent.controller.external_secrets.plan import Outcome, State
from agent.core.errors import Failure, ProjectionError
from agent.core.model import Call, ExternalSecretData, Place
from agent.core.value import Fetched, SecretValue
from agent.render import external_secret
from agent.render.input import Input
from agent.sinks.kubernetes_secret import secret as sink
from agent.sinks.kubernetes_secret.secret import Held
from agent.sources.aws.credentials import NoCredentials
from agent.sources.aws.identities import Identified, Keys, WebIdentity

MISSING_AGAIN = 20.0  # seconds between two looks for a Secret that somebody else must create

_TOKEN_WAITS = 5.0  # seconds for a token of a service account

_NAMED, _TEMPLATES = 50, 1 << 20  # stores and templates of one ExternalSecret; bytes of what its templates are in

_RENDERING = 4  # ExternalSecrets that are read or rendered at once

T = TypeVar("T")


class Refused(Exception):
    """This attempt ends here, with that outcome."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        super().__init__(outcome.message)


def failed(message: str, failure: str, *, event: str = "UpdateFailed") -> Outcome:
    """An attempt that left everything as it is."""
    return Outcome(ready=False, reason="SecretSyncedError", message=shown([message]), event=event, failure=failure)


class Reconciler:
    """What all reconciles share."""

    def __init__(
        self,
        cluster: Cluster,
        asking: Asking,
        source: Identified,
        *,
        store: Callable[[StoreRef, str], Mapping[str, Any] | None],
        labels: Callable[[str], Mapping[str, str]],
        service_account_tokens: bool,
    ) -> None:
        """`store` finds a store for a namespace, `labels` are those of a namespace."""
        self._cluster, self._asking, self._source = cluster, asking, source
        self._store, self._labels = store, labels
        self._tokens = service_account_tokens
        self._threads = ThreadPoolExecutor(_RENDERING, "render")
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def bring_up_to_date(
        self, found: Mapping[str, Any], policy: Policy, state: State, held: Held | None
    ) -> tuple[Outcome, dict[str, Any] | None]:
        """Make the Secret what the ExternalSecret asks for. Returns how that ended, and the Secret's metadata if it was
        written. `held` is the Secret as it is.

        1. Whose Secret is it, and may it be made at all?
        2. Read what is asked for: the object, its stores, what its templates are in.
        3. Observe which versions are wanted now, unless the values must be fetched anyway.
        4. Decide whether they must.
        5. Fetch all of them, or none.
        6. Render.
        7. Write, in one step.

        Raises NotLeader, and what the API server answers when it is not about this object.
        """
        try:
            return await self._steps(found, policy, held)
        except Refused as refused:
            return refused.outcome, None
        except (Wrong, stores.Unfit) as wrong:
            return failed(str(wrong), "invalid"), None
        except Absent as absent:
            return failed(str(absent), "not_found"), None
        except ProjectionError as error:
            return failed(str(error), "projection"), None
        except ApiError as error:
            if error.status.code in (FORBIDDEN, INVALID, 400):
                return failed(f"Secret {asking_for.target(found)}: {said(error)}", "kubernetes"), None
            raise

    async def _steps(
        self, found: Mapping[str, Any], policy: Policy, held: Held | None
    ) -> tuple[Outcome, dict[str, Any] | None]:
        metadata = found["metadata"]
        namespace, uid, target = str(metadata["namespace"]), str(metadata["uid"]), asking_for.target(found)
        # 1.
        if policy.creation == "None":
            return Outcome(ready=True, reason="SecretSynced", message=plan.SYNCED), None
        if policy.creation == "Merge" and held is None:
            return (
                Outcome(ready=True, reason="SecretMissing", message=plan.MISSING, again=MISSING_AGAIN),
                None,
            )
        if (why := plan.refusal(policy, held, uid)) is not None:
            return failed(why, "conflict"), None
        fixed = policy.immutable and held is not None and held.marked
        # 2.
        wanted = await self._read(found, namespace)
        # 3. and 4.
        if held is not None and plan.stands(policy, held) and held.asked == wanted.asked:
            observed = await self._asking.observe(wanted.secrets, namespace)
            self._refuse(wanted, observed)
            if not plan.moved(wanted.asked, wanted.secrets, held, observed):
                return Outcome(ready=True, reason="SecretSynced", message=plan.SYNCED, bound=True), None
        if fixed:
            return Outcome(ready=True, reason="SecretSynced", message=plan.BEHIND, bound=True), None
        # 5.
        fetched = await self._asking.fetch(wanted.secrets, namespace)
        self._refuse(wanted, fetched)
        values = {name: answer for name, answer in fetched.items() if isinstance(answer, Fetched)}
        if (size := sum(len(each.value) for each in values.values())) > MOST:
            return failed(f"its secrets have {size} bytes in all, more than {MOST}; divide it", "projection"), None
        # 6.
        made = await self._made(wanted, values, target)
        if made is None:
            return await self._nothing(policy, held, uid, (namespace, target))
        # 7.
        shared = plan.shares(policy)
        by = uid if shared else None
        typed = not shared or (policy.creation == "CreateOrMerge" and (held is None or held.typed))
        writing = sink.Writing(
            namespace=namespace,
            name=target,
            type=made.type if typed else None,
            values=sink.Values(made.data),
            labels=made.labels,
            annotations=made.annotations,
            versions={s.name: values[s.name].version_id if s.name in values else "" for s in wanted.secrets},
            asked=wanted.asked,
            owner=sink.Owner(str(found["apiVersion"]), str(metadata["name"]), uid)
            if policy.creation == "Owner"
            else None,
            immutable=policy.immutable and not shared,
            by=by,
        )
        return await self._write(writing, held, policy)

    async def _write(self, writing: sink.Writing, held: Held | None, policy: Policy) -> tuple[Outcome, dict[str, Any]]:
        """1. Everything that is ours, in one step. 2. What others added, if nothing of theirs belongs there."""
        at = writing.namespace, writing.name
        # 1.
        written = await self._cluster.apply(at, sink.applied(writing, held), sink.manager(writing.by))
        now = sink.read_back(written["metadata"], writing.by)
        # 2.
        if now.others and not plan.shares(policy):
            written = await self._cluster.remove_keys(at, sink.without(now, now.others))
        event = "Created" if held is None else "Updated"
        outcome = Outcome(ready=True, reason="SecretSynced", message=plan.SYNCED, event=event, bound=True)
        return outcome, written

    async def _nothing(
        self, policy: Policy, held: Held | None, uid: str, at: Key
    ) -> tuple[Outcome, dict[str, Any] | None]:
        """AWS holds nothing for it."""
        if policy.deletion == "Delete" and policy.creation != "Owner" and held is not None:
            why = (
                f"AWS has none of its secrets, but Secret {at[1]} is nobody's (creationPolicy {policy.creation}), so it"
            )
            return failed(f"{why} stays; delete it, or set creationPolicy Owner", "conflict"), None
        if policy.deletion == "Delete":
            if held is not None and await self._cluster.delete(at, uid):
                return Outcome(ready=True, reason="SecretDeleted", message=plan.DELETED, event="Deleted"), None
            return Outcome(ready=True, reason="SecretDeleted", message=plan.DELETED), None
        return Outcome(ready=True, reason="SecretSynced", message=plan.RETAINED, bound=held is not None), None

    def _refuse(self, wanted: Asked, answers: Mapping[str, object]) -> None:
        """End the attempt if an answer is a failure, unless it says what may be: that a secret does not exist."""
        failures = [
            answer
            for secret in wanted.secrets
            if isinstance(answer := answers.get(secret.name), Failure) and not plan.absent(secret, answer)
        ]
        if failures:
            raise Refused(failed(shown([each.message for each in failures]), failures[0].reason))

    # -- what is asked for

    async def _read(self, found: Mapping[str, Any], namespace: str) -> Asked:
        of = asking_for.templates(found)
        named = {ref: self._store(ref, namespace) for ref in asking_for.stores(found)}
        if max(len(of), len(named)) > _NAMED:
            raise Wrong(
                f"it names {len(named)} stores, and {len(of)} objects with templates, more than {_NAMED}; divide it"
            )
        for (kind, name), store in named.items():
            if store is None:
                where = f" in namespace {namespace}" if kind == "SecretStore" else ""
                raise Wrong(f"{kind} {name} does not exist{where}; create it, or name another")
        known = {ref: store for ref, store in named.items() if store is not None}
        templates: dict[tuple[str, str], Mapping[str, Any]] = {}
        left = _TEMPLATES
        for kind, name in of:
            templates[kind, name] = held = await self._cluster.values(kind, (namespace, name))
            left -= sum(len(text) for part in ("data", "binaryData") for text in (held.get(part) or {}).values())
            if left < 0:
                raise Wrong(f"what its templates are in has more than {_TEMPLATES >> 10} KiB; use smaller ones")
        identities = {ref: await self._identity(store, namespace) for ref, store in known.items()}
        beside = Beside(
            known, templates, self._labels(namespace), {ref: name for ref, name in identities.items() if name}
        )
        return await self._in_thread(namespace, partial(asking_for.read, found, beside))

    async def examine(self, store: Mapping[str, Any]) -> stores.Verdict:
        """Whether a store can be used: how it is written, and whether it gives credentials. No secret is asked for.

        Raises what the API server answers when it is not about this store.
        """
        namespace = str(store["metadata"].get("namespace") or "")
        try:
            await self._in_thread(namespace, partial(asking_for.place, store, None))
            if stores.of_each_namespace(store):
                return stores.VALID_IN_PART
            place = asking_for.place(store, await self._identity(store, namespace))
            await self._asking.beside(place, namespace, partial(self._credentials, place))
        except (Wrong, stores.Unfit, Absent, NoCredentials) as error:
            return stores.invalid(shown([str(error)]))
        except TimeoutError:
            return stores.invalid("no credentials within the time of one call; tried again when the backoff is due")
        except ApiError as error:
            if error.status.code == FORBIDDEN:
                return stores.invalid(said(error))
            raise
        return stores.VALID

    def _credentials(self, place: Place) -> tuple[Call, ...]:
        self._source.credentials_of(place).get_frozen_credentials()
        return self._source.sts_calls()

    async def _identity(self, store: Mapping[str, Any], namespace: str) -> str | None:
        """The name of the credentials that a store gives, which the source knows by then; None: the controller's."""
        match stores.auth(store, namespace):
            case stores.AccessKey() as key:
                return await self._of_key(key)
            case stores.Account() as account:
                return await self._of_account(account, stores.region(store), str(store["metadata"]["name"]))
        return None

    async def _of_key(self, key: stores.AccessKey) -> str:
        read: dict[Key, dict[str, Any]] = {}
        for part in key.parts:
            if (part.namespace, part.name) not in read:
                at = part.namespace, part.name
                read[at] = await self._cluster.values("Secret", at)
        values = [text_of(read[part.namespace, part.name], part.key) for part in key.parts]
        of = f"the access key in Secret {key.id.namespace}/{key.id.name}"
        name = " ".join(
            f"{part.namespace}/{part.name}/{part.key}/{read[part.namespace, part.name]['metadata']['uid']}"
            f"/{read[part.namespace, part.name]['metadata']['resourceVersion']}"
            for part in key.parts
        )
        self._source.use(f"key {name}", Keys(of, values[0], values[1], values[2] if len(values) > 2 else None))
        return f"key {name}"

    async def _of_account(self, account: stores.Account, region: str, store: str) -> str:
        if not self._tokens:
            raise stores.Unfit(
                f"store {store}: auth.jwt is off, since it lets the controller be any service account; start it with "
                "--service-account-tokens, or use roles"
            )
        at = account.namespace, account.name
        metadata = (await self._cluster.account(at))["metadata"]
        annotations = metadata.get("annotations") or {}
        role = str(annotations.get("eks.amazonaws.com/role-arn") or "")
        of = f"service account {account.namespace}/{account.name}"
        if not role:
            raise stores.Unfit(
                f"{of} has no annotation eks.amazonaws.com/role-arn; add it with the role that it may use"
            )
        audiences = stores.audiences(account, annotations)
        loop = asyncio.get_running_loop()

        def token() -> SecretValue:
            asked = asyncio.run_coroutine_threadsafe(self._cluster.token(at, audiences), loop)
            try:
                return asked.result(_TOKEN_WAITS)
            except ApiError as error:
                why = said(error)
            except Exception as error:
                why = said(error)
            raise NoCredentials(f"{of}: no token: {why}")

        name = f"{of} {metadata['uid']} {role} {region} {' '.join(audiences)}"
        self._source.use(name, WebIdentity(of, role, region, token))
        return name

    # -- rendering

    async def _made(self, wanted: Asked, values: Mapping[str, Fetched], target: str) -> external_secret.Made | None:
        call = partial(_render, wanted.how, values, f"Secret {target}")
        try:
            return await self._in_thread(wanted.how.namespace, call)
        except ProjectionError as error:
            problems = tuple(wanted.places.placed(problem) for problem in error.problems)
        raise ProjectionError(*problems)

    async def _in_thread(self, namespace: str, call: Callable[[], T]) -> T:
        """What a call returns that a tenant may have made long. Each namespace has one at a time."""
        turn = self._turns.setdefault(namespace, asyncio.Lock())
        async with turn:
            return await asyncio.get_running_loop().run_in_executor(self._threads, call)


def _render(how: ExternalSecretData, values: Mapping[str, Fetched], where: str) -> external_secret.Made | None:
    return external_secret.made(how, {name: Input(fetched.value) for name, fetched in values.items()}, where)


def state_of(found: Mapping[str, Any]) -> State:
    """What the status of an ExternalSecret says."""
    status = found.get("status") or {}
    ready: Mapping[str, Any] = next(
        (each for each in status.get("conditions") or () if each.get("type") == "Ready"), {}
    )
    return State(
        refreshed_at=_epoch(status.get("refreshTime")),
        version=str(status.get("syncedResourceVersion") or ""),
        ready={"True": True, "False": False}.get(str(ready.get("status"))),
        reason=str(ready.get("reason") or ""),
        message=str(ready.get("message") or ""),
        since=str(ready.get("lastTransitionTime") or ""),
        binding=str((status.get("binding") or {}).get("name") or ""),
    )


def _epoch(text: str | None) -> float | None:
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() if text else None
    except ValueError:
        return None


def stamp(now: float | None = None) -> str:
    """A time as Kubernetes writes it."""
    return datetime.fromtimestamp(time.time() if now is None else now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
