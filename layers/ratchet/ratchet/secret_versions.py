"""The versions of a secret and their staging labels, for those who change it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

CURRENT, PENDING = "AWSCURRENT", "AWSPENDING"
PUBLISHED_TAG = "ratchet:published-at"


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """A secret without its value. labels: staging labels by version id."""

    rotation_enabled: bool
    labels: Mapping[str, list[str]]
    published_at: int

    @property
    def current(self) -> str | None:
        return next((version for version, found in self.labels.items() if CURRENT in found), None)


class SecretVersions:
    """One secret. Every method raises botocore's errors."""

    def __init__(self, client: "Callable[[], SecretsManagerClient]", secret_id: str) -> None:
        self._client = client
        self.secret_id = secret_id

    def describe(self) -> Described:
        answer = self._client().describe_secret(SecretId=self.secret_id)
        labels = answer.get("VersionIdsToStages", {})
        tags = {tag["Key"]: tag["Value"] for tag in answer.get("Tags", ())}
        # A version may have been made long before it became the current one, so `promote` notes it.
        noted = tags.get(PUBLISHED_TAG, "")
        made = [
            int(version["CreatedDate"].timestamp())
            for version in self._client().list_secret_version_ids(SecretId=self.secret_id)[
                "Versions"
            ]
            if CURRENT in version.get("VersionStages", ())
        ]
        return Described(
            rotation_enabled=answer.get("RotationEnabled", False),
            labels=labels,
            published_at=max([int(noted) if noted.isdecimal() else 0, *made]),
        )

    def value(self, version: str | None = None) -> str:
        """The text of the current or of another version, "" when it has none yet."""
        client = self._client()
        try:
            if version is None:
                answer = client.get_secret_value(SecretId=self.secret_id)
            else:
                answer = client.get_secret_value(SecretId=self.secret_id, VersionId=version)
        except client.exceptions.ResourceNotFoundException:
            return ""
        return answer.get("SecretString") or ""

    def put(self, text: str, version: str, *, label: str = PENDING) -> None:
        """A new version with this id, which is not the current one yet."""
        self._client().put_secret_value(
            SecretId=self.secret_id,
            SecretString=text,
            ClientRequestToken=version,
            VersionStages=[label],
        )

    def promote(self, version: str, described: Described, now: int) -> None:
        """Makes a version the current one, if the current one is still the one described.

        The note comes first: killed in between, the next try notes a later instant, never an
        earlier one than the promotion.
        """
        self._client().tag_resource(
            SecretId=self.secret_id, Tags=[{"Key": PUBLISHED_TAG, "Value": str(now)}]
        )
        move = {"RemoveFromVersionId": described.current} if described.current else {}
        self._client().update_secret_version_stage(
            SecretId=self.secret_id, VersionStage=CURRENT, MoveToVersionId=version, **move
        )
        self.drop_pending(version)

    def drop_pending(self, version: str) -> None:
        """Takes the label of a rotation in progress away, which is what ends it."""
        if PENDING in self.describe().labels.get(version, ()):
            self._client().update_secret_version_stage(
                SecretId=self.secret_id, VersionStage=PENDING, RemoveFromVersionId=version
            )
