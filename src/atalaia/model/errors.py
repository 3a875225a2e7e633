"""Errors say whose fault it was; the class docstring is the default message."""

import math
from collections.abc import Sequence

import attrs

from atalaia.model.standing import BucketName


class AtalaiaError(Exception):
    """Something went wrong."""

    code = "internal_error"

    def __init__(self, detail: str | None = None, *, code: str | None = None) -> None:
        self.detail = detail or " ".join((type(self).__doc__ or "").split())
        if code is not None:
            self.code = code
        super().__init__(self.detail)


@attrs.frozen
class FieldProblem:
    """One thing wrong with a body: a JSON pointer or line, and what to do about it."""

    where: str
    detail: str


class Invalid(AtalaiaError):
    """The request cannot be understood."""

    code = "invalid"

    def __init__(
        self,
        detail: str | None = None,
        *,
        code: str | None = None,
        problems: Sequence[FieldProblem] = (),
    ) -> None:
        super().__init__(detail, code=code)
        self.problems = tuple(problems)


class RuleInvalid(Invalid):
    """The rule cannot be understood.

    line and column count from 1; caret is the offending line with a `^` under the column.
    """

    code = "invalid_rule"

    def __init__(self, detail: str, *, line: int, column: int, caret: str) -> None:
        super().__init__(detail)
        self.line = line
        self.column = column
        self.caret = caret


@attrs.frozen
class RuleFileProblem:
    """One thing wrong with a file of rules; rule is None where it concerns the file."""

    rule: str | None
    line: int
    column: int
    detail: str


class RuleFileInvalid(Invalid):
    """The file of rules cannot be understood. Holds every problem that was found, never none."""

    code = "invalid_rule_file"

    def __init__(self, faults: Sequence[RuleFileProblem]) -> None:
        first = faults[0]
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        super().__init__(f"Line {first.line}: {first.detail}{more}")
        self.faults = tuple(faults)


class TooLarge(AtalaiaError):
    """The body is larger than this server accepts."""

    code = "too_large"


class TinyChunks(Invalid):
    """The body comes in very many chunks that hold next to nothing: send larger ones."""

    code = "tiny_chunks"


class TooSlow(AtalaiaError):
    """The body arrived too slowly."""

    code = "timeout"


class UnsupportedEncoding(AtalaiaError):
    """Only gzip, deflate and identity bodies are accepted."""

    code = "unsupported_encoding"


class Unauthenticated(AtalaiaError):
    """Send a valid API key in X-API-Key or Authorization: Bearer."""

    code = "unauthenticated"


class Forbidden(AtalaiaError):
    """This credential may not do that."""

    code = "forbidden"


class Suspended(Forbidden):
    """This tenant is suspended: nothing is taken and nothing is shown until it is resumed."""

    code = "tenant_suspended"


class TenantErased(Suspended):
    """This tenant is being erased, or was: nothing is taken of it, and nothing is kept."""

    code = "tenant_erased"


class HttpsRequired(Forbidden):
    """This came in clear, and whatever was in it may have been read: use https."""

    code = "https_required"


class ForeignOrigin(Forbidden):
    """Pages of this origin may not listen or send here; the service lists those that may."""

    code = "foreign_origin"


class NotFound(AtalaiaError):
    """There is no such thing here."""

    code = "not_found"


class Conflict(AtalaiaError):
    """The request contradicts what is stored."""

    code = "conflict"


class PreconditionFailed(AtalaiaError):
    """It was changed by somebody meanwhile: look at it again (GET), and then decide."""

    code = "precondition_failed"


class KeyReused(AtalaiaError):
    """This Idempotency-Key was sent with another request; take a new one for each."""

    code = "idempotency_key_reused"


class Overloaded(AtalaiaError):
    """The tenant sends more than its share is processed; try again after the delay."""

    code = "overloaded"

    def __init__(
        self,
        detail: str | None = None,
        *,
        code: str | None = None,
        retry_after_s: int = 1,
        bucket: BucketName | None = None,
    ) -> None:
        super().__init__(detail, code=code)
        self.retry_after_s = retry_after_s
        self.bucket = bucket
        """Which of those that are counted is empty."""


class InProgress(Overloaded):
    """The request with this Idempotency-Key is being carried out, or nobody knows yet what has come
    of it; ask again after the delay."""

    code = "idempotency_in_progress"


class QuotaUsedUp(Overloaded):
    """The quota is used up; try again after the delay."""

    def __init__(
        self, detail: str, *, code: str, wait_s: float, bucket: BucketName | None = None
    ) -> None:
        super().__init__(detail, code=code, retry_after_s=math.ceil(wait_s), bucket=bucket)
        self.wait_s = wait_s


class TooManyRequests(Overloaded):
    """Requests come faster than they may; try again after the delay."""

    code = "too_many_requests"


class Busy(Overloaded):
    """As many of these run already as may; try again after the delay."""

    code = "busy"


class Throttled(Overloaded):
    """Too many attempts; try again after the delay."""

    code = "too_many_attempts"


class Unavailable(AtalaiaError):
    """The service cannot do this now; the batch may or may not be stored: send it again."""

    code = "unavailable"

    def __init__(
        self, detail: str | None = None, *, code: str | None = None, retry_after_s: int = 2
    ) -> None:
        super().__init__(detail, code=code)
        self.retry_after_s = retry_after_s


class Closing(Unavailable):
    """The service is shutting down; send the batch again."""

    code = "closing"


class NotInstalled(AtalaiaError):
    """This needs a part that is not installed here."""

    code = "not_installed"


class StartupRefused(AtalaiaError):
    """The service refuses to start in this environment."""

    code = "startup_refused"
