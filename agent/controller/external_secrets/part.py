"""`--external-secrets`: keeps a Secret for each ExternalSecret. Watches, decides when, and reports.

Of what is watched it remembers only what can be read back: status and metadata tell a new leader all that it needs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Mapping
from typing import Any

import httpx2
from lightkube import ApiError

from agent.controller import jitter
from agent.controller.door import Serve
from agent.controller.external_secrets import asked, cluster, kinds, plan, stores
from agent.controller.external_secrets.asked import Policy, StoreRef
from agent.controller.external_secrets.asking import Asking
from agent.controller.external_secrets.checks import Checks
from agent.controller.external_secrets.cluster import CONFLICT, NOT_FOUND, Cluster
from agent.controller.external_secrets.informer import Informer
from agent.controller.external_secrets.kinds import Key
from agent.controller.external_secrets.metrics import Metrics
from agent.controller.external_secrets.plan import Outcome, State
from agent.controller.external_secrets.queue import Groups, Queue
from agent.controller.external_secrets.reconcile import MISSING_AGAIN, Reconciler, failed, stamp, state_of
from agent.controller.leader import Leader, NotLeader
from agent.controller.options import ExternalSecretsOptions
from agent.controller.part import Registry
from agent.core.ports import Log
from agent.core.record import replace
from agent.sinks.kubernetes_secret import secret as sink
from agent.sinks.kubernetes_secret.secret import Held
from agent.sources.aws.identities import Identified

_TURN = 5.0  # seconds of one turn of the loop at most

_STALLED = 20.0  # seconds without a turn, after which the process should be restarted: two periods of its probe

_ATTEMPT = 600.0  # seconds of one attempt, with its turns; AWS's and the API server's own limits are far shorter

_SOONEST, _LATEST = 2.0, 300.0  # seconds until a failed attempt is repeated

_PATIENT = 10.0  # seconds between two attempts that fail, however short the interval is

_REPAIRS = 600.0  # seconds after which a repair counts as the first one

_THEIRS, _HUGE = "statusOfAnother", "huge"  # keys of the cache's own

_LARGEST = 256 << 10  # characters of the spec of an ExternalSecret, as JSON

_READ_BACK = ("name", "namespace", "uid", "resourceVersion", "ownerReferences", "managedFields", "deletionTimestamp")

_PREFIX = "freshmount.dev/"  # of the labels and annotations that are read back

_STORES_COME = 2.0  # seconds until a store that was not seen yet is taken for missing

_STORE_KINDS = {"SecretStore": kinds.secret_store, "ClusterSecretStore": kinds.cluster_secret_store}

_NAMESPACE_SHARE = 2  # how many times as many as of one store are worked on of one namespace


class ExternalSecrets:
    """The part. See `agent.controller.part.Part`."""

    name = "external-secrets"

    def __init__(self, options: ExternalSecretsOptions, registry: Registry, log: Log) -> None:
        """Raises StartError where no API server is known."""
        self._options, self._log = options, log
        self._plain, self._only_metadata = cluster.clients()
        self._metrics = Metrics(registry, self._states)
        self._queue: Queue[Key] = Queue(self._groups)
        self._source = Identified()
        self._leader = Leader(
            self._plain if options.leader_election else None,
            namespace=options.lease_namespace,
            name=options.lease_name,
            identity=options.identity,
            log=log,
            changed=self._leads,
        )
        self._cluster = Cluster(self._plain, self._only_metadata, self._leader.check)
        self._reconciler = Reconciler(
            self._cluster,
            Asking(self._source, self._metrics.called),
            self._source,
            store=self._store,
            labels=self._labels,
            service_account_tokens=options.service_account_tokens,
        )
        self._checks = Checks(
            self._cluster,
            self._reconciler.examine,
            store=self._own_store,
            kind=lambda kind: _STORE_KINDS[kind](self._version),
            stamp=stamp,
            log=log,
        )
        self._version = kinds.VERSIONS[0]
        self._found: dict[str, list[Informer[Any]]] = {}
        self._targets: dict[Key, set[Key]] = {}  # the ExternalSecrets of each Secret
        self._owned: dict[str, set[Key]] = {}  # the Secrets of each owner, by uid
        self._failures: dict[Key, int] = {}
        self._repairs: dict[Key, tuple[int, float]] = {}
        self._doubted: set[Key] = set()  # the ExternalSecrets of whose Secret more is there than is known
        self._waited: set[Key] = set()  # those that were given time for their stores to come
        self._mine: set[Key] = set()  # the ExternalSecrets whose store is this controller's
        self._tasks: set[asyncio.Task[None]] = set()
        self._turned = time.monotonic()

    # -- the part

    def serves(self) -> Mapping[str, Serve]:
        """Nothing."""
        return {}

    def stalled(self) -> str | None:
        """Whether the loop turns, and each attempt ends."""
        now = time.monotonic()
        if now - self._turned > _STALLED:
            return f"external-secrets: the loop has not turned for {now - self._turned:.0f} s"
        longest = max((now - since for since in self._queue.running.values()), default=0.0)
        return f"external-secrets: an attempt takes {longest:.0f} s" if longest > 2 * _ATTEMPT else None

    def unready(self) -> str | None:
        """Which kinds were not listed yet. A replica that waits for the Lease is ready."""
        missing = sorted({each.name for of_kind in self._found.values() for each in of_kind if not each.synced})
        if not self._found:
            return "external-secrets: the API server has not answered yet"
        return f"external-secrets: not listed yet: {', '.join(missing)}" if missing else None

    async def run(self) -> None:
        """1. Watch. 2. Hold the Lease. 3. Work on what is due, while it is held. 4. At the end, give it up."""
        try:
            # 1.
            await self._served()
            self._watched()
            running = [each.run() for of_kind in self._found.values() for each in of_kind]
            async with asyncio.TaskGroup() as group:
                for each in running:
                    group.create_task(each)
                # 2.
                group.create_task(self._leader.run())
                # 3.
                group.create_task(self._work())
                group.create_task(self._checks.run(self._works))
        finally:
            # 4.
            self._stop()
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=1.0)
            await self._leader.release()

    async def _served(self) -> None:
        """Find out which version of the API the cluster has."""
        while True:
            self._turned = time.monotonic()
            for version in kinds.VERSIONS:
                try:
                    namespace = self._options.namespaces[0] if self._options.namespaces else "*"
                    listing = self._plain.list(kinds.external_secret(version), namespace=namespace, chunk_size=1)
                    async with asyncio.timeout(2 * _TURN):
                        async for _ in listing:
                            break
                except ApiError as error:
                    if error.status.code != NOT_FOUND:
                        self._log.warning("cannot list ExternalSecrets", error=cluster.said(error))
                        break
                except (httpx2.HTTPError, OSError, ValueError, LookupError) as error:
                    self._log.warning("cannot list ExternalSecrets", error=cluster.said(error))
                    break
                else:
                    self._version = version
                    return
            else:
                self._log.warning("the cluster has no ExternalSecrets; install the CRDs", group=kinds.GROUP)
            await asyncio.sleep(jitter.between(2.0, 4.0))

    def _watched(self) -> None:
        namespaces = self._options.namespaces or ("*",)
        of: dict[str, list[Informer[Any]]] = {}
        of["ExternalSecret"] = [
            Informer(
                "ExternalSecret",
                self._plain,
                kinds.external_secret(self._version),
                keep=_plain,
                changed=self._external_secret_changed,
                log=self._log,
                namespace=each,
            )
            for each in namespaces
        ]
        of["SecretStore"] = [
            Informer(
                "SecretStore",
                self._plain,
                kinds.secret_store(self._version),
                keep=_plain,
                changed=self._store_changed,
                log=self._log,
                namespace=each,
            )
            for each in namespaces
        ]
        of["Secret"] = [
            Informer(
                "Secret",
                self._only_metadata,
                kinds.Secret,
                keep=_metadata,
                changed=self._secret_changed,
                log=self._log,
                namespace=each,
                labels={sink.MANAGED: "true"},
            )
            for each in namespaces
        ]
        if not self._options.namespaces:
            of["ClusterSecretStore"] = [
                Informer(
                    "ClusterSecretStore",
                    self._plain,
                    kinds.cluster_secret_store(self._version),
                    keep=_plain,
                    changed=self._store_changed,
                    log=self._log,
                    namespace=None,
                )
            ]
            of["Namespace"] = [
                Informer(
                    "Namespace",
                    self._only_metadata,
                    kinds.Namespace,
                    keep=lambda found: dict(found["metadata"].get("labels") or {}),
                    changed=lambda *_: None,
                    log=self._log,
                    namespace=None,
                )
            ]
        self._found = of

    # -- what is known

    def _get(self, kind: str, at: Key) -> Any:
        return next((found for each in self._found.get(kind, ()) if (found := each.get(at)) is not None), None)

    def _store(self, ref: StoreRef, namespace: str) -> Mapping[str, Any] | None:
        kind, name = ref
        if kind == "ClusterSecretStore" and self._options.namespaces:
            raise stores.Unfit(
                f"ClusterSecretStore {name}: this controller works in given namespaces, and reads only their "
                "SecretStores; use one of them"
            )
        found: Mapping[str, Any] | None = self._get(kind, ("" if kind == "ClusterSecretStore" else namespace, name))
        return found

    def _own_store(self, kind: str, at: Key) -> Mapping[str, Any] | None:
        """A store, if it is this controller's."""
        found: Mapping[str, Any] | None = self._get(kind, at)
        return found if found is not None and stores.ours(found, self._options.controller_class) else None

    def _labels(self, namespace: str) -> Mapping[str, str]:
        return self._get("Namespace", ("", namespace)) or {}

    def _is_mine(self, found: Mapping[str, Any]) -> bool:
        """Whether none of its stores is another controller's. One without a store has only generators, and one whose
        stores are missing is another's if that has written its status: beside another controller it is left alone."""
        if not self._options.controller_class:
            return True
        namespace, named = found["metadata"]["namespace"], asked.stores(found)
        known = [
            store
            for kind, name in named
            if (store := self._get(kind, ("" if kind == "ClusterSecretStore" else namespace, name))) is not None
        ]
        if not all(stores.ours(store, self._options.controller_class) for store in known):
            return False
        return bool(known) or (bool(named) and not found[_THEIRS])

    def _knows_stores(self, found: Mapping[str, Any]) -> bool:
        """Whether its stores are there. What was created together may be seen in any order."""
        namespace = found["metadata"]["namespace"]
        named = asked.stores(found)
        return all(
            self._get(kind, ("" if kind == "ClusterSecretStore" else namespace, name)) is not None
            for kind, name in named
        )

    def _states(self) -> dict[Key, State]:
        found = {at: self._get("ExternalSecret", at) for at in self._mine}
        return {at: state_of(each) for at, each in found.items() if each is not None}

    def _target(self, at: Key, found: Mapping[str, Any]) -> Key:
        return at[0], asked.target(found)

    def _groups(self, at: Key) -> Groups:
        found = self._get("ExternalSecret", at)
        most = self._options.concurrency
        groups: dict[Any, int] = {("namespace", at[0]): _NAMESPACE_SHARE * most}
        if found is not None:
            groups["target", self._target(at, found)] = 1
            groups |= {("store", at[0], *ref): most for ref in asked.stores(found)}
        return groups

    # -- what changes

    def _external_secret_changed(self, at: Key, before: Any, now: Any) -> None:
        for each, add in ((before, False), (now, True)):
            if each is not None:
                _keep(self._targets, self._target(at, each), at, add=add)
        if now is None:
            self._queue.drop(at)
            self._failures.pop(at, None)
            self._repairs.pop(at, None)
            self._mine.discard(at)
            self._doubted.discard(at)
            self._waited.discard(at)
            if before is not None:
                self._deleted(before)
        elif before is None or asked.version(before) != asked.version(now) or _uid(before) != _uid(now):
            self._failures.pop(at, None)
            self._queue.add(at)

    def _deleted(self, before: Mapping[str, Any]) -> None:
        """An ExternalSecret has gone. Kubernetes collects what it owned; with deletionPolicy Delete that is not waited
        for."""
        policy = asked.policy(before)
        if policy.deletion == "Delete" and policy.creation == "Owner":
            for at in list(self._owned.get(_uid(before), ())):
                self._spawn(self._collect(at, _uid(before)))

    async def _collect(self, at: Key, uid: str) -> None:
        with contextlib.suppress(NotLeader, httpx2.HTTPError, OSError):
            await self._cluster.delete(at, uid)

    def _store_changed(self, at: Key, before: Any, now: Any) -> None:
        """It is looked at, and each ExternalSecret that failed or waits for a store is tried again."""
        same = before is not None and now is not None and before.get("spec") == now.get("spec")
        if not same and now is not None:
            self._checks.add("SecretStore" if at[0] else "ClusterSecretStore", at)
        if same and (_usable(before) or not _usable(now)):
            return
        for each in self._found.get("ExternalSecret", ()):
            for key in each:
                if at[0] not in ("", key[0]):
                    continue
                found = each.get(key)
                if found is None or state_of(found).ready is True:
                    continue
                if at[1] in {name for _, name in asked.stores(found)}:
                    self._failures.pop(key, None)
                    self._queue.add(key)

    def _secret_changed(self, at: Key, before: Any, now: Any) -> None:
        for each, add in ((before, False), (now, True)):
            for uid in cluster.owners(each) if each is not None else ():
                _keep(self._owned, uid, at, add=add)
        for key in self._targets.get(at, ()):
            found = self._get("ExternalSecret", key)
            if found is not None and self._is_wrong(found, now):
                self._queue.add(key, self._before_repair(key))

    def _is_wrong(self, found: Mapping[str, Any], metadata: Any) -> bool:
        policy = asked.policy(found)
        return metadata is None or not plan.stands(policy, sink.read_back(metadata, _by(policy, found)))

    def _before_repair(self, at: Key) -> float:
        """Seconds until a Secret is put right. Where another puts it wrong again and again, it is not fought about."""
        count, last = self._repairs.get(at, (0, 0.0))
        if count < 3 or time.monotonic() - last > _REPAIRS:
            return 0.0
        return float(min(_LATEST, 2.0**count)) * jitter.between(0.5, 1.0)

    # -- work

    def _leads(self, leads: bool) -> None:
        self._metrics.leads(leads=leads)
        if not leads:
            self._stop()
            return
        for each in self._found.get("ExternalSecret", ()):
            for at in each:
                self._queue.add(at)
        for kind in _STORE_KINDS:
            for stored in self._found.get(kind, ()):
                for at in stored:
                    self._checks.add(kind, at)

    def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _works(self) -> bool:
        """Whether this process leads, and knows what there is."""
        return self._leader.leads and not self.unready()

    async def _work(self) -> None:
        while True:
            self._turned = time.monotonic()
            if not self._works():
                await asyncio.sleep(0.1)
                continue
            at = await self._queue.next(_TURN)
            if at is not None:
                self._spawn(self._one(at))

    async def _one(self, at: Key) -> None:
        """One attempt, whatever becomes of it."""
        delay: float | None = None
        try:
            async with asyncio.timeout(_ATTEMPT):
                delay = await self._attempt(at)
        except NotLeader:
            pass
        except asyncio.CancelledError:
            if self._leader.leads:
                raise
        except ApiError as error:
            if error.status.code == CONFLICT:
                self._doubted.add(at)
                delay = jitter.between(0.1, 0.5)
            elif error.status.code != NOT_FOUND:
                delay = self._backoff(at)
                self._metrics.failed("kubernetes")
                self._log.warning("cannot write", namespace=at[0], name=at[1], error=cluster.said(error))
        except (httpx2.HTTPError, OSError, TimeoutError) as error:
            delay = self._backoff(at)
            self._metrics.failed("kubernetes")
            self._log.warning("cannot write", namespace=at[0], name=at[1], error=cluster.said(error))
        except Exception as error:
            delay = self._backoff(at)
            self._metrics.failed("other")
            self._log.error("an attempt failed by a bug", namespace=at[0], name=at[1], exc_info=error)
        finally:
            self._queue.done(at)
        if delay is not None and self._get("ExternalSecret", at) is not None:
            self._queue.add(at, delay)

    async def _attempt(self, at: Key) -> float | None:
        """Look at one ExternalSecret, and do what it needs. Returns in how many seconds it is looked at again.

        1. Is it ours?
        2. Look at its Secret.
        3. Is anything due?
        4. Bring the Secret up to date.
        5. Say how that ended.
        """
        # 1.
        found = self._get("ExternalSecret", at)
        if found is None or found["metadata"].get("deletionTimestamp"):
            return None
        if not self._is_mine(found):
            self._mine.discard(at)
            return None
        if at not in self._mine and not self._knows_stores(found) and at not in self._waited:
            self._waited.add(at)
            return _STORES_COME
        self._waited.discard(at)
        self._mine.add(at)
        # 2.
        policy, state, version = asked.policy(found), state_of(found), asked.version(found)
        if found[_HUGE]:
            said = f"it is larger than {_LARGEST >> 10} KiB; divide it"
            await self._tell(at, found, state, failed(said, "invalid"), version)
            return self._backoff(at)
        try:
            held = await self._held(at, found, policy)
        except cluster.Absent as absent:
            await self._tell(at, found, state, failed(str(absent), "invalid"), version)
            return self._backoff(at)
        # 3.
        look = plan.look(policy, state, held, version, time.time())
        if not look.ask:
            return MISSING_AGAIN if state.message == plan.MISSING else _until(look.until)
        # 4.
        if held is not None and not plan.stands(policy, held) and state.ready:
            count, last = self._repairs.get(at, (0, 0.0))
            recent = time.monotonic() - last < _REPAIRS
            self._repairs[at] = (count + 1 if recent else 1), time.monotonic()
        outcome, written = await self._reconciler.bring_up_to_date(found, policy, state, held)
        outcome = self._with_stores(found, outcome)
        target = self._target(at, found)
        if written is not None:
            self._keep_secret(target, written)
        # 5. Last, so that what a death left undone is done again.
        if outcome.ready:
            await self._tidy(found, policy, target)
        await self._tell(at, found, state, outcome, version)
        if outcome.ready:
            self._failures.pop(at, None)
            if outcome.again is not None:
                return outcome.again
            return _until(time.time() + policy.interval if policy.interval is not None else None)
        return self._backoff(at, policy)

    def _with_stores(self, found: Mapping[str, Any], outcome: Outcome) -> Outcome:
        """The outcome, which says so if a store is not ready. A store whose status it contradicts is looked at."""
        unready = []
        for ref in asked.stores(found):
            kind, at = self._checks.of(ref, found["metadata"]["namespace"])
            store = self._own_store(kind, at)
            said = stores.verdict(store) if store is not None else None
            if said is not None and not said.ready:
                unready.append(f"{kind} {at[1]} is not ready")
            if said is not None and said.ready is not outcome.ready and (outcome.ready or _of_store(outcome)):
                self._checks.add(kind, at)
        if outcome.ready or not unready:
            return outcome
        return replace(outcome, message=asked.shown([*unready, outcome.message]))

    async def _held(self, at: Key, found: Mapping[str, Any], policy: Policy) -> Held | None:
        """The Secret of an ExternalSecret, by its metadata. One that does not carry our label is not in the cache, and
        one that others write to as well may be there in an older version: then the API server is asked."""
        target = self._target(at, found)
        metadata = None if at in self._doubted else self._get("Secret", target)
        if metadata is None:
            answered = await self._cluster.secret(target)
            if answered is None:
                return None
            metadata = _metadata(answered)
            self._doubted.discard(at)
        return sink.read_back(metadata, _by(policy, found))

    def _keep_secret(self, at: Key, written: dict[str, Any]) -> None:
        of = self._found["Secret"]
        namespaces = self._options.namespaces
        (of[namespaces.index(at[0])] if namespaces else of[0]).put(written)

    async def _tidy(self, found: Mapping[str, Any], policy: Policy, target: Key) -> None:
        """Delete what an ExternalSecret owned under another name."""
        if policy.creation == "Owner":
            for at in self._owned.get(_uid(found), set()) - {target}:
                await self._collect(at, _uid(found))

    async def _tell(self, at: Key, found: Mapping[str, Any], state: State, outcome: Outcome, version: str) -> None:
        """Metrics, log, event, status."""
        news = state.ready is not outcome.ready or state.message != outcome.message
        if not outcome.ready:
            self._metrics.failed(outcome.failure)
            if news:
                self._log.warning("failed", namespace=at[0], name=at[1], reason=outcome.failure, error=outcome.message)
        elif outcome.event:
            self._metrics.wrote(outcome.event.lower())
            self._log.info(outcome.event.lower(), namespace=at[0], name=at[1], secret=asked.target(found))
        if outcome.event and (outcome.ready or news):
            said = f"secret {outcome.event.lower()}" if outcome.ready else outcome.message
            await self._cluster.event(found, outcome.event, said, warning=not outcome.ready)
        if outcome.ready or news:
            status = plan.status(outcome, state, version=version, binding=asked.target(found), now=stamp())
            kind = kinds.external_secret(self._version)
            written = await self._cluster.status(kind, at, _uid(found), status)
            if written is not None:
                of = self._found["ExternalSecret"]
                namespaces = self._options.namespaces
                (of[namespaces.index(at[0])] if namespaces else of[0]).put(written)

    def _backoff(self, at: Key, policy: Policy | None = None) -> float:
        """Seconds until a failed attempt is repeated: no later than one that succeeds would be."""
        count = self._failures[at] = self._failures.get(at, 0) + 1
        interval = policy.interval if policy and policy.interval else _LATEST
        longest = min(_LATEST, max(interval, _PATIENT))
        return float(min(longest, _SOONEST * 2.0 ** min(count - 1, 20)) * jitter.between(0.5, 1.0))


def _keep(index: dict[Any, set[Key]], name: Any, at: Key, *, add: bool) -> None:
    """Add to an index, or remove from it."""
    named = index.setdefault(name, set())
    named.add(at) if add else named.discard(at)
    if not named:
        del index[name]


def _usable(store: Mapping[str, Any] | None) -> bool:
    """Whether its status says that it can be used."""
    found = stores.verdict(store) if store is not None else None
    return found is not None and found.ready


def _of_store(outcome: Outcome) -> bool:
    """Whether an attempt may have failed by its store."""
    return outcome.failure in ("credentials", "invalid")


def _until(due: float | None) -> float | None:
    """Seconds until then, and a little more, so that not all come at once."""
    if due is None:
        return None
    left = max(0.0, due - time.time())
    return left + jitter.between(0.0, min(30.0, 0.1 * left))


def _by(policy: Policy, found: Mapping[str, Any]) -> str | None:
    return _uid(found) if plan.shares(policy) else None


def _uid(found: Mapping[str, Any]) -> str:
    return str(found["metadata"]["uid"])


def _plain(found: dict[str, Any]) -> dict[str, Any]:
    """An object without what nobody reads of it, and whether another has written its status. Of a huge one only whose
    it is: tenants write them, and all are kept in memory."""
    metadata, spec = dict(found["metadata"]), found.get("spec") or {}
    writers = metadata.pop("managedFields", None) or ()
    theirs = any(each.get("subresource") == "status" and each.get("manager") != sink.MANAGER for each in writers)
    if annotations := metadata.get("annotations"):
        metadata["annotations"] = {name: text for name, text in annotations.items() if name != asked.LAST_APPLIED}
    huge = len(json.dumps(spec)) > _LARGEST
    if huge:
        spec = {name: spec[name] for name in ("secretStoreRef", "controller") if name in spec}
    return {**found, "metadata": metadata, "spec": spec, _THEIRS: theirs, _HUGE: huge}


def _metadata(found: dict[str, Any]) -> dict[str, Any]:
    """What is read back of the metadata of a Secret. Beside it others may have written a lot."""
    metadata: dict[str, Any] = found["metadata"]
    kept = {name: metadata[name] for name in _READ_BACK if name in metadata}
    for name in ("labels", "annotations"):
        kept[name] = {key: text for key, text in (metadata.get(name) or {}).items() if key.startswith(_PREFIX)}
    return kept
