"""Roles that each method of a router requires, in one table. A method that is not listed is served to nobody."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cdp_router.rpc.principal import Role

# One person that the caller can name: keys with only the role query get it with personal values masked
# (`discretion.py`).
_MASKED: Final = (
    "ProfileService/BatchGetProfiles",
    "ProfileService/ListProfileEvents",
    "ProfileService/ListProfileIdentifiers",
    "ProofService/ExplainUser",
    "QueryService/GetProfile",
)
_BY_ROLE: Final[Mapping[Role, tuple[str, ...]]] = {
    Role.INGEST: ("IngestService/Ingest", "IngestService/IngestStream"),
    # Numbers about many: nothing that names or shows one person.
    Role.QUERY: (
        "AdminService/GetSchema",
        "PrivacyService/GetPrivacy",
        "QueryService/Query",
        "SchemaService/DiscoverSchema",
        "SchemaService/GetSchemaRules",
        "SegmentService/GetSegment",
        "SegmentService/ListSegments",
    ),
    # Everything about a person, or the names of many.
    Role.PROFILE_READ: (
        "ExportService/ExportRecords",
        "IdentityService/ExplainIdentity",
        "ProfileService/ExportProfile",
        "SchemaService/ListQuarantined",
        "QueryService/Members",
    ),
    Role.ADMIN: (
        "AdminService/CreateSnapshot",
        "AdminService/DrainShard",
        "AdminService/GetDigest",
        "AdminService/GetRetention",
        "AdminService/GetStatus",
        "AdminService/ListPlacements",
        "AdminService/MovePartition",
        "AdminService/RestoreCluster",
        "AdminService/SetRetention",
        "AdminService/StopMove",
        "AdminService/VerifySnapshots",
        "IdentityService/UnlinkIdentifier",
        "SchemaService/DropQuarantined",
        "SchemaService/ForgetEvents",
        "SchemaService/RedriveQuarantined",
        "PrivacyService/ChangePrivacy",
        "SchemaService/SetSchemaRules",
        "SegmentService/CreateSegment",
        "SegmentService/DeleteSegment",
    ),
    Role.ERASE: (
        "AdminService/EraseProfile",
        "AdminService/LiftSuppression",
        "AdminService/ListSuppressions",
        "AdminService/PurgeErased",
    ),
}
# The role that gives the whole answer of a method.
NEEDED: Final[Mapping[str, Role]] = {
    **{f"/cdp.v1.{method}": role for role, methods in _BY_ROLE.items() for method in methods},
    **{f"/cdp.v1.{method}": Role.PROFILE_READ for method in _MASKED},
}
# The roles that are admitted: any of them is enough.
LET_IN: Final[Mapping[str, frozenset[Role]]] = {
    **{path: frozenset({role}) for path, role in NEEDED.items()},
    **{f"/cdp.v1.{method}": frozenset({Role.PROFILE_READ, Role.QUERY}) for method in _MASKED},
}
