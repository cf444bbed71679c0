"""One table says what AWS's words mean. Every row of it is a test; what is not in it is unknown."""

from __future__ import annotations

import botocore.exceptions as sdk
import pytest
from botocore.parsers import ResponseParserError

from broker.errors import (
    AuthError,
    BrokerError,
    CapacityError,
    NotFoundError,
    QuotaError,
    RequestError,
    UnknownOutcomeError,
)
from providers.aws_errors import CODES, UNSENT, WORDS_MAX, translate, translated

EXPECTED = {
    CapacityError: """InsufficientInstanceCapacity InsufficientCapacity InsufficientHostCapacity
        ReservationCapacityExceeded
        InsufficientReservedInstanceCapacity InsufficientFreeAddressesInSubnet
        UnfulfillableCapacity SpotMaxPriceTooLow Unsupported""",
    QuotaError: """VcpuLimitExceeded InstanceLimitExceeded MaxSpotInstanceCountExceeded
        VolumeLimitExceeded MaxIOPSLimitExceeded NetworkInterfaceLimitExceeded""",
    AuthError: """AuthFailure UnauthorizedOperation AccessDenied AccessDeniedException Blocked
        PendingVerification OptInRequired InvalidClientTokenId UnrecognizedClientException
        MissingAuthenticationToken IncompleteSignature SignatureDoesNotMatch
        InvalidSignatureException ExpiredToken ExpiredTokenException RequestExpired""",
    RequestError: """InvalidParameter InvalidParameterValue InvalidParameterCombination
        InvalidParameterDependency MissingParameter UnknownParameter ValidationError
        ValidationException MalformedQueryString InvalidInput MissingInput InvalidRequest
        InvalidAction UnsupportedOperation OperationNotPermitted InvalidInstanceType
        InvalidInstanceType.NotFound InvalidAvailabilityZone InvalidZone.NotFound
        InvalidAMIID.NotFound InvalidAMIID.Malformed InvalidAMIID.Unavailable
        InvalidSubnetID.NotFound InvalidGroup.NotFound InvalidKeyPair.NotFound
        InvalidUserData.Malformed InvalidBlockDeviceMapping VPCIdNotSpecified TagPolicyViolation
        ParameterNotFound""",
    NotFoundError: "InvalidInstanceID.NotFound InvalidInstanceID.Malformed InvalidInstanceId",
    UnknownOutcomeError: """RequestLimitExceeded Throttling ThrottlingException
        TooManyRequestsException Client.RequestLimitExceeded IdempotentParameterMismatch""",
}
ROWS = [(code, kind) for kind, codes in EXPECTED.items() for code in codes.split()]


def said(code: str, status: int = 400, message: str = "its words") -> sdk.ClientError:
    response = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return sdk.ClientError(response, "RunInstances")  # type: ignore[arg-type]


@pytest.mark.parametrize(("code", "kind"), ROWS)
def test_a_code_means_what_the_table_says(code: str, kind: type[BrokerError]) -> None:
    error = translate(said(code), "launch")
    assert type(error) is kind
    assert error.message == f"launch: {code}: its words"


def test_every_row_of_the_table_is_tested() -> None:
    assert {code for code, _ in ROWS} == set(CODES)
    assert len(ROWS) == len(CODES)


@pytest.mark.parametrize(
    "exc",
    [
        said("InternalError", 500),
        said("ServiceUnavailable", 503),
        said("Unavailable", 503),
        said("SomethingNew", 400),
        said("", 502),
        sdk.ReadTimeoutError(endpoint_url="http://x"),
        sdk.ConnectTimeoutError(endpoint_url="http://x"),
        sdk.EndpointConnectionError(endpoint_url="http://x"),
        sdk.ConnectionClosedError(endpoint_url="http://x"),
        sdk.IncompleteReadError(actual_bytes=1, expected_bytes=2),
        sdk.HTTPClientError(error="cut"),
        ResponseParserError("not XML"),
        KeyError("Instances"),
        OSError("broken pipe"),
    ],
    ids=lambda exc: type(exc).__name__ + str(getattr(exc, "response", None) or ""),
)
def test_whatever_is_not_in_the_table_may_have_happened(exc: Exception) -> None:
    assert type(translate(exc, "launch")) is UnknownOutcomeError


def test_an_error_whose_response_is_none_is_translated_too() -> None:
    exc = ResponseParserError("no reply")
    exc.response = None  # type: ignore[attr-defined]
    assert type(translate(exc, "launch")) is UnknownOutcomeError


@pytest.mark.parametrize(
    ("exc", "kind"),
    [
        (sdk.NoCredentialsError(), AuthError),
        (sdk.PartialCredentialsError(provider="env", cred_var="key"), AuthError),
        (sdk.CredentialRetrievalError(provider="x", error_msg="y"), AuthError),
        (sdk.ProfileNotFound(profile="p"), AuthError),
        (sdk.TokenRetrievalError(provider="sso", error_msg="y"), AuthError),
        (sdk.NoAuthTokenError(), AuthError),
        (sdk.UnauthorizedSSOTokenError(), AuthError),
        (sdk.SSOTokenLoadError(error_msg="y"), AuthError),
        (sdk.ParamValidationError(report="bad"), RequestError),
        (sdk.NoRegionError(), RequestError),
        (sdk.InvalidRegionError(region_name="-"), RequestError),
        (sdk.UnknownServiceError(service_name="x", known_service_names="y"), RequestError),
        (sdk.EndpointProviderError(msg="x"), RequestError),
    ],
    ids=lambda item: type(item).__name__ if isinstance(item, Exception) else "",
)
def test_what_fails_before_anything_is_sent_is_definite(
    exc: Exception, kind: type[BrokerError]
) -> None:
    assert type(translate(exc, "launch")) is kind


def test_every_unsent_error_is_one_that_the_sdk_still_has() -> None:
    assert [name for name in UNSENT if not hasattr(sdk, name)] == []


def test_long_words_are_cut_and_help_is_given() -> None:
    error = translate(said("UnauthorizedOperation", message="x" * 5000), "launch")
    assert len(error.message) < WORDS_MAX + 20
    assert error.hint
    assert "get-caller-identity" in error.hint


def test_an_error_of_our_own_passes_unchanged_and_the_cause_is_kept() -> None:
    ours = CapacityError("ours")
    with pytest.raises(CapacityError) as passed, translated("launch"):
        raise ours
    assert passed.value is ours
    theirs = said("AuthFailure")
    with pytest.raises(AuthError) as turned, translated("launch"):
        raise theirs
    assert turned.value.__cause__ is theirs
