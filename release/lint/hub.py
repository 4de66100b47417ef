"""What only a Hub can tell about a card: its opinion, and which ids lead nowhere."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from release.errors import HubError, visible
from release.hub.client import HubConnection
from release.hub.opinion import ask_about_card
from release.hub.remote import has_repo
from release.lint.rules.fields import named_ids
from release.lint.subject import Subject

_IDS_MAX: Final = 32


def with_opinion(
    subject: Subject, connection: HubConnection, *, note: Callable[[str], None]
) -> Subject:
    """Return the subject with what the Hub says about its front matter.

    Args:
        subject: What is linted; its card is sent to the Hub.
        connection: Reads only.
        note: Told why where the Hub has no opinion, which is no error.
    """
    try:
        return replace(subject, remarks=ask_about_card(connection, subject.card.text))
    except HubError as error:
        note(f"no opinion of the Hub: {error}")
        return subject


def with_known_ids(
    subject: Subject, connection: HubConnection, *, note: Callable[[str], None]
) -> Subject:
    """Return the subject with the ids that its card names and the Hub does not have.

    Args:
        subject: What is linted.
        connection: Reads only.
        note: Told why where the Hub does not say it, which is no error.
    """
    absent = []
    for key, name in list(dict.fromkeys(named_ids(subject)))[:_IDS_MAX]:
        try:
            if not has_repo(connection, name, is_dataset=key == "datasets"):
                absent.append((key, name))
        except HubError as error:
            note(f"{key}: whether {visible(name)} is there is not known: {error}")
    return replace(subject, absent_ids=frozenset(absent))
