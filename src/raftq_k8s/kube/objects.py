"""The few fields of Kubernetes objects that are read here. Everything else in an answer is skipped while decoding."""

from typing import TypeAlias

import msgspec

Uid: TypeAlias = str
"""One life of an object: whatever is created again under the same name has another."""

ResourceVersion: TypeAlias = str
"""One state of an object: every write that changes it gives it another."""


class OwnerReference(msgspec.Struct, frozen=True, rename="camel"):
    kind: str
    name: str
    controller: bool = False


class ObjectMeta(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    uid: Uid
    resource_version: ResourceVersion
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: tuple[OwnerReference, ...] = ()
    deletion_timestamp: str | None = None
    """Set once somebody deleted it: it is about to end."""


class PartialObjectMetadata(msgspec.Struct, frozen=True, rename="camel"):
    metadata: ObjectMeta


class PartialObjectMetadataList(msgspec.Struct, frozen=True, rename="camel"):
    items: tuple[PartialObjectMetadata, ...] = ()


class ConfigMap(msgspec.Struct, frozen=True, rename="camel"):
    metadata: ObjectMeta
    data: dict[str, str] | None = None


class Status(msgspec.Struct, frozen=True):
    """What the API answers instead of an object when it says no."""

    message: str = ""
    reason: str = ""


class AccessDecision(msgspec.Struct, frozen=True):
    allowed: bool = False


class AccessReview(msgspec.Struct, frozen=True):
    """What the API says to the question whether one may."""

    status: AccessDecision
