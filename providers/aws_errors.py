"""What an error of the AWS SDK means to the broker. The only place that knows AWS's error codes.

Definite refusals are an allow-list. Whatever is not in it - time-outs, cut replies, replies that
do not parse, 5xx, throttling, codes we have never seen - may have happened: UnknownOutcomeError,
and the caller asks again with the same token. A throttled launch surely did not happen, but the
remedy is the same: the same offer, the same token, later.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from broker.errors import (
    AuthError,
    BrokerError,
    CapacityError,
    NotFoundError,
    QuotaError,
    RequestError,
    UnknownOutcomeError,
)

WORDS_MAX = 600  # an authorization failure carries kilobytes of encoded text

CODES: Final[dict[str, type[BrokerError]]] = {
    # sold out here: the next offer may do
    "InsufficientInstanceCapacity": CapacityError,
    "InsufficientCapacity": CapacityError,
    "InsufficientHostCapacity": CapacityError,
    "ReservationCapacityExceeded": CapacityError,
    "InsufficientReservedInstanceCapacity": CapacityError,
    "InsufficientFreeAddressesInSubnet": CapacityError,
    "UnfulfillableCapacity": CapacityError,
    "SpotMaxPriceTooLow": CapacityError,
    "Unsupported": CapacityError,  # "not supported in your requested Availability Zone"
    # the account's limit
    "VcpuLimitExceeded": QuotaError,
    "InstanceLimitExceeded": QuotaError,
    "MaxSpotInstanceCountExceeded": QuotaError,
    "VolumeLimitExceeded": QuotaError,
    "MaxIOPSLimitExceeded": QuotaError,
    "NetworkInterfaceLimitExceeded": QuotaError,
    # who we are
    "AuthFailure": AuthError,
    "UnauthorizedOperation": AuthError,
    "AccessDenied": AuthError,
    "AccessDeniedException": AuthError,
    "Blocked": AuthError,
    "PendingVerification": AuthError,
    "OptInRequired": AuthError,
    "InvalidClientTokenId": AuthError,
    "UnrecognizedClientException": AuthError,
    "MissingAuthenticationToken": AuthError,
    "IncompleteSignature": AuthError,
    "SignatureDoesNotMatch": AuthError,
    "InvalidSignatureException": AuthError,
    "ExpiredToken": AuthError,
    "ExpiredTokenException": AuthError,
    "RequestExpired": AuthError,
    # the request itself
    "InvalidParameter": RequestError,
    "InvalidParameterValue": RequestError,
    "InvalidParameterCombination": RequestError,
    "InvalidParameterDependency": RequestError,
    "MissingParameter": RequestError,
    "UnknownParameter": RequestError,
    "ValidationError": RequestError,
    "ValidationException": RequestError,
    "MalformedQueryString": RequestError,
    "InvalidInput": RequestError,
    "MissingInput": RequestError,
    "InvalidRequest": RequestError,
    "InvalidAction": RequestError,
    "UnsupportedOperation": RequestError,
    "OperationNotPermitted": RequestError,
    "InvalidInstanceType": RequestError,
    "InvalidInstanceType.NotFound": RequestError,
    "InvalidAvailabilityZone": RequestError,
    "InvalidZone.NotFound": RequestError,
    "InvalidAMIID.NotFound": RequestError,
    "InvalidAMIID.Malformed": RequestError,
    "InvalidAMIID.Unavailable": RequestError,
    "InvalidSubnetID.NotFound": RequestError,
    "InvalidGroup.NotFound": RequestError,
    "InvalidKeyPair.NotFound": RequestError,
    "InvalidUserData.Malformed": RequestError,
    "InvalidBlockDeviceMapping": RequestError,
    "VPCIdNotSpecified": RequestError,
    "TagPolicyViolation": RequestError,
    "ParameterNotFound": RequestError,
    # not there
    "InvalidInstanceID.NotFound": NotFoundError,
    "InvalidInstanceID.Malformed": NotFoundError,
    "InvalidInstanceId": NotFoundError,
    # later, with the same token
    "RequestLimitExceeded": UnknownOutcomeError,
    "Throttling": UnknownOutcomeError,
    "ThrottlingException": UnknownOutcomeError,
    "TooManyRequestsException": UnknownOutcomeError,
    "Client.RequestLimitExceeded": UnknownOutcomeError,
    # A machine has this token, from another request. To call that a refusal would lose it.
    "IdempotentParameterMismatch": UnknownOutcomeError,
}

# Raised by the SDK before anything is sent, by class name so that nothing is imported for it.
UNSENT: Final[dict[str, type[BrokerError]]] = {
    "NoCredentialsError": AuthError,
    "PartialCredentialsError": AuthError,
    "CredentialRetrievalError": AuthError,
    "ProfileNotFound": AuthError,
    "TokenRetrievalError": AuthError,
    "NoAuthTokenError": AuthError,
    "SSOError": AuthError,  # and everything below it: no session, an expired session
    "ParamValidationError": RequestError,
    "NoRegionError": RequestError,
    "InvalidRegionError": RequestError,
    "UnknownServiceError": RequestError,
    "EndpointProviderError": RequestError,
}

HINTS: Final[dict[type[BrokerError], str]] = {
    AuthError: "check the profile and its permissions: `aws sts get-caller-identity`",
    QuotaError: "raise the quota in the Service Quotas console, or allow other regions",
}


def translate(exc: Exception, doing: str) -> BrokerError:
    """The error of our tree, with AWS's own words; `doing` says who wanted what."""
    code, words = _said(exc)
    kind = CODES.get(code) or _unsent(exc) or UnknownOutcomeError
    said = f"{code}: {words}" if code else f"{type(exc).__name__}: {exc}"
    return kind(f"{doing}: {said[:WORDS_MAX]}", hint=HINTS.get(kind))


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Whatever the SDK raises within leaves as an error of our tree."""
    try:
        yield
    except BrokerError:
        raise
    except Exception as exc:
        raise translate(exc, doing) from exc


def _said(exc: Exception) -> tuple[str, str]:
    response = getattr(exc, "response", None) or {}  # some of the SDK's errors carry None
    error = response.get("Error") or {}
    return str(error.get("Code") or ""), str(error.get("Message") or "")


def _unsent(exc: Exception) -> type[BrokerError] | None:
    names = (UNSENT.get(kind.__name__) for kind in type(exc).__mro__)
    return next((found for found in names if found), None)
