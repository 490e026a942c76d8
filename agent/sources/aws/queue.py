"""A queue of SQS: receive messages by long polls, and delete them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from agent.core.model import Place
from agent.core.record import Record
from agent.sources.aws import errors
from agent.sources.aws.clients import Clients

_REGION = re.compile(r"https?://sqs\.([a-z0-9-]+)\.")  # of a queue's URL at AWS

WAIT = 20  # seconds of one long poll, AWS's limit

HIDDEN = 60  # seconds for which a message that was received is given to nobody else

AT_ONCE = 10  # messages of one call, AWS's limit


class QueueAway(Exception):
    """The queue cannot be read now; says why, for a person."""


class Message(Record):
    """A message: its text, and what it is deleted by."""

    body: str
    handle: str


class Queue(Clients):
    """One queue, with the identity of this process. Its methods block."""

    def __init__(self, url: str) -> None:
        found = _REGION.match(url)
        self._url, self._place = url, Place(found[1] if found else None, None)
        super().__init__(read_timeout=WAIT + 10.0, attempts=1)

    def receive(self) -> list[Message]:
        """The next messages, once there are any; none after `WAIT` seconds. Raises QueueAway."""
        answer = self._ask(
            "ReceiveMessage", MaxNumberOfMessages=AT_ONCE, WaitTimeSeconds=WAIT, VisibilityTimeout=HIDDEN
        )
        return [Message(str(each.get("Body")), str(each["ReceiptHandle"])) for each in answer.get("Messages") or ()]

    def delete(self, messages: Sequence[Message]) -> None:
        """Let nobody get these messages again. Raises QueueAway; one that stays comes again, which does no harm."""
        entries = [{"Id": str(number), "ReceiptHandle": each.handle} for number, each in enumerate(messages)]
        self._ask("DeleteMessageBatch", Entries=entries)

    def _ask(self, operation: str, **fields: Any) -> Any:
        why = ""
        try:
            client = self._client(self._place, "sqs")
            method = client.receive_message if operation == "ReceiveMessage" else client.delete_message_batch
            return method(QueueUrl=self._url, **fields)
        except Exception as error:  # whatever it is, it is the queue's alone
            why = f"{operation} of {self._url}: {errors.code_of(error)}"
        raise QueueAway(why)
