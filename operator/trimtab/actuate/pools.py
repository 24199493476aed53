"""Writes AcceleratorPools that the nodes tell of, and the status of every pool."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from trimtab.actuate import figures
from trimtab.actuate.compare import first_difference
from trimtab.actuate.kinds import POOL, Document
from trimtab.actuate.manifests import digest
from trimtab.actuate.objects import ObjectWriter
from trimtab.actuate.ownership import without_foreign
from trimtab.actuate.status import differs, timestamp
from trimtab.api.acceleratorpool import AcceleratorPoolStatus, PoolPriceStatus
from trimtab.api.conditions import Condition, ConditionStatus, ConditionType, merge
from trimtab.api.naming import DISCOVERED_LABEL, HASH_ANNOTATION, MANAGED_BY_LABEL, MANAGER
from trimtab.models.capacity import Price


class Draft(Protocol):
    """A pool as the nodes say it should be."""

    @property
    def name(self) -> str:
        """Name of the AcceleratorPool."""

    @property
    def spec(self) -> Mapping[str, Any]:
        """As in the API, and only what the nodes tell."""


class Facts(Protocol):
    """What one pool has now."""

    @property
    def name(self) -> str:
        """Name of the AcceleratorPool."""

    @property
    def nodes(self) -> int:
        """Ready, schedulable nodes."""

    @property
    def devices(self) -> int:
        """Devices on them."""

    @property
    def promised(self) -> int:
        """Devices promised to replicas."""

    @property
    def price(self) -> Price | None:
        """The price in force."""

    @property
    def ready(self) -> bool:
        """Whether replicas can land there."""

    @property
    def reason(self) -> str:
        """Why, in one word."""

    @property
    def message(self) -> str:
        """Why, in a sentence."""

    @property
    def discovered(self) -> bool:
        """Whether Trimtab made it."""


@dataclass(slots=True, kw_only=True)
class PoolWriter:
    """Writes pools and their status, only where they differ."""

    objects: ObjectWriter

    def apply(self, drafts: Iterable[Draft], live: Mapping[str, Document]) -> None:
        """Write every draft, without the fields that somebody else owns.

        Args:
            drafts: The pools that the nodes tell of.
            live: All AcceleratorPools by name, with `metadata.managedFields`.

        Raises:
            LostLeadership: The lease is gone.
        """
        for draft in drafts:
            known = live.get(draft.name)
            document = _drafted(draft) if known is None else _shared(_drafted(draft), known)
            if known is None or first_difference(document, known) is not None:
                self.objects.write(document, known, status=False)

    def publish(self, facts: Iterable[Facts], live: Mapping[str, Document], now: float) -> None:
        """Write the status of every pool whose figures or condition changed.

        Args:
            facts: What the pools have.
            live: All AcceleratorPools by name.
            now: Unix seconds.

        Raises:
            LostLeadership: The lease is gone.
        """
        for item in facts:
            known = live.get(item.name)
            if known is None:
                continue
            old = known.get("status") or {}
            status = _status(item, known["metadata"].get("generation", 0), old, now)
            if differs(status, old):
                self.objects.write(_named(item.name) | {"status": status}, known, status=True)


def _named(name: str) -> Document:
    return {"apiVersion": POOL.api_version, "kind": POOL.kind, "metadata": {"name": name}}


def _drafted(draft: Draft) -> Document:
    labels = {DISCOVERED_LABEL: "true", MANAGED_BY_LABEL: MANAGER}
    document = _named(draft.name) | {"spec": dict(draft.spec)}
    return _stamped(document | {"metadata": {"name": draft.name, "labels": labels}})


def _shared(document: Document, live: Document) -> Document:
    return _stamped(without_foreign(document, live))


def _stamped(document: Document) -> Document:
    """Return `document` with a digest of itself, so that a field that it drops is noticed."""
    metadata = {**document["metadata"], "annotations": {}}
    metadata["annotations"][HASH_ANNOTATION] = digest(document | {"metadata": metadata})
    return document | {"metadata": metadata}


def _status(facts: Facts, generation: int, old: Document, now: float) -> dict[str, Any]:
    try:
        before = AcceleratorPoolStatus.model_validate(old).conditions
    except ValueError:
        before = []
    ready = Condition(
        type=ConditionType.READY,
        status=ConditionStatus.TRUE if facts.ready else ConditionStatus.FALSE,
        reason=facts.reason,
        message=facts.message[:1024],
        last_transition_time=timestamp(now),
        observed_generation=generation,
    )
    status = AcceleratorPoolStatus(
        observed_generation=generation,
        conditions=merge(before, [ready]),
        nodes=facts.nodes,
        devices=facts.devices,
        promised=facts.promised,
        price=_price(facts.price),
        discovered=facts.discovered,
    )
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)


def _price(price: Price | None) -> PoolPriceStatus | None:
    text = None if price is None else figures.money(price.usd_per_hour)
    if price is None or text is None:
        return None
    return PoolPriceStatus(per_device_hour=text, source=price.source[:64], as_of=price.as_of)
