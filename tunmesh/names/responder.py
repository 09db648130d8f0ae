"""What becomes of a query: an answer from here, or a question for the name servers of this machine.

Every query has one outcome, which is counted:

    answered    a name of the mesh, with records
    nodata      one that exists, without a record of that type
    nxdomain    one that does not exist
    forwarded   another name, answered by a name server of this machine
    refused     another name: networking/dns/forward is false, there is no name server, the query
                was forwarded by this node and came back (a loop), or a class that is not served
    failed      this node is not in the mesh yet, no name server answered, or too many queries wait
    malformed   not a query
    dropped     more queries than are answered
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from typing import Any, NamedTuple

from tunmesh.names import codec
from tunmesh.names.answers import Answer, Code, Record
from tunmesh.names.codec import ANY_CLASS, IN, Codec, MessageError, Query
from tunmesh.names.directory import Directory
from tunmesh.names.zone import Zone

TTL = 5  # seconds: a node that restarts may have another address
NEGATIVE_TTL = 2  # seconds: the node may be about to come
_TRANSFERS = range(251, 255)  # IXFR, AXFR, MAILB, MAILA: for TCP, or obsolete


class Outcome(StrEnum):
    """How a query ended."""

    ANSWERED = "answered"
    NODATA = "nodata"
    NXDOMAIN = "nxdomain"
    FORWARDED = "forwarded"
    REFUSED = "refused"
    FAILED = "failed"
    MALFORMED = "malformed"
    DROPPED = "dropped"


_OUTCOMES = {
    Code.NO_SUCH_NAME: Outcome.NXDOMAIN,
    Code.FAILED: Outcome.FAILED,
    Code.REFUSED: Outcome.REFUSED,
}


class Reply(NamedTuple):
    """An answer; without a message: none is given."""

    outcome: Outcome
    message: bytes | None


class Responder:
    """Answers queries about one mesh. `directory()` is who there is now; `shuffle(records)` changes
    the order of a list in place; `forwards`: whether queries for other names are forwarded."""

    def __init__(
        self,
        zone: Zone,
        directory: Callable[[], Directory],
        shuffle: Callable[[list[Any]], None],
        forwards: bool,
    ) -> None:
        self._zone = zone
        self._directory = directory
        self._shuffle = shuffle
        self._forwards = forwards
        self._codec = Codec(zone.domain, forwards, TTL, NEGATIVE_TTL)

    def respond(self, message: bytes) -> Reply | Query:
        """The answer to a message, or the query that it is if it is to be forwarded."""
        try:
            query = codec.decode(message)
        except MessageError as error:
            return Reply(Outcome.MALFORMED, error.answer)
        if query.edns_version:
            return Reply(Outcome.MALFORMED, self._codec.refusal(query, Code.OK))
        answer = self._answer(query)
        if answer is not None:
            return self._reply(query, answer)
        return query if self._forwards else self.refuse(query)

    def refuse(self, query: Query) -> Reply:
        """A query that is neither answered here nor forwarded."""
        return Reply(Outcome.REFUSED, self._codec.refusal(query, Code.REFUSED))

    def fail(self, query: Query) -> Reply:
        """No name server has answered it."""
        return Reply(Outcome.FAILED, self._codec.refusal(query, Code.FAILED))

    def _answer(self, query: Query) -> Answer | None:
        """None: it is not about this mesh."""
        answer = self._zone.answer(query.name, query.kind, self._directory())
        if answer is None:
            return None
        if query.kind_class not in (IN, ANY_CLASS) or query.kind in _TRANSFERS:
            return Answer(Code.REFUSED)
        return answer

    def _reply(self, query: Query, answer: Answer) -> Reply:
        records: list[Record] = list(answer.records)
        self._shuffle(records)
        message = self._codec.encode(query, replace(answer, records=records))
        if answer.code == Code.OK:
            return Reply(Outcome.ANSWERED if records else Outcome.NODATA, message)
        return Reply(_OUTCOMES[answer.code], message)
