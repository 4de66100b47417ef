"""What a Hub says about a card's front matter, by rules of its own."""

from dataclasses import dataclass
from typing import Any, Final

from release.hub.client import HubConnection

_REMARKS_MAX: Final = 20
_TEXT_LENGTH: Final = 400


@dataclass(frozen=True, slots=True)
class HubRemark:
    """One thing that a Hub says of a card; `is_error` is what it would refuse."""

    text: str
    is_error: bool


def ask_about_card(connection: HubConnection, card: str) -> tuple[HubRemark, ...]:
    """Return what a Hub says about a card; its first 20 errors and warnings.

    Args:
        connection: Where to ask; the card is sent there, and nothing is kept of it.
        card: The text of README.md.

    Raises:
        HubError: It cannot be reached, or does not answer this.

    Source:
        huggingface_hub 2.4.0, `ModelCard.validate`: POST /api/validate-yaml.
    """
    answer = connection.once(
        "ask for an opinion on the card",
        lambda: connection.ask(
            "/api/validate-yaml", {"content": card, "repoType": "model"}
        ),
    )
    found = [
        HubRemark(text, is_error)
        for key, is_error in (("errors", True), ("warnings", False))
        for text in _texts(answer, key)
    ]
    return tuple(found[:_REMARKS_MAX])


def _texts(answer: Any, key: str) -> list[str]:  # JSON is any
    listed = answer.get(key) if isinstance(answer, dict) else None
    remarks = listed if isinstance(listed, list) else ()
    said = [each.get("message") for each in remarks if isinstance(each, dict)]
    return [text[:_TEXT_LENGTH] for text in said if isinstance(text, str) and text]
