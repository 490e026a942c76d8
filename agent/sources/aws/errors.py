"""What an error from AWS, or from whatever answers in its place, means: a reason and a sentence.

AWS's own messages contain no value of a secret. They are cut to a limit, and quoted only when the answer really comes
from AWS. What a proxy or a foreign endpoint sends is described by its kind, never by its text.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any

import botocore.exceptions as aws
import botocore.utils
from botocore.parsers import ResponseParserError

from agent.core import network
from agent.core.errors import Failure, Reason
from agent.core.model import Operation, Place, Ref, Secret
from agent.core.record import Record

REASONS: dict[str, Reason] = {
    "AccessDenied": "access_denied",
    "AccessDeniedException": "access_denied",
    "UnauthorizedOperation": "access_denied",
    "403": "access_denied",
    "ResourceNotFoundException": "not_found",
    "ParameterNotFound": "not_found",
    "ParameterVersionNotFound": "not_found",
    "Throttling": "throttled",
    "ThrottlingException": "throttled",
    "ThrottledException": "throttled",
    "RequestThrottled": "throttled",
    "TooManyRequestsException": "throttled",
    "RequestLimitExceeded": "throttled",
    "LimitExceededException": "throttled",
    "SlowDown": "throttled",
    "RequestTimeout": "timeout",
    "ExpiredToken": "credentials",
    "ExpiredTokenException": "credentials",
    "InvalidClientTokenId": "credentials",
    "UnrecognizedClientException": "credentials",
    "InvalidSignatureException": "credentials",
    "SignatureDoesNotMatch": "credentials",
    "IncompleteSignature": "credentials",
    "MissingAuthenticationToken": "credentials",
    "RequestExpired": "credentials",
    "RequestTimeTooSkewed": "credentials",
    "InvalidIdentityToken": "credentials",
    "DecryptionFailure": "invalid",
    "InvalidKeyId": "invalid",
    "InvalidParameterException": "invalid",
    "InvalidRequestException": "invalid",
    "ValidationException": "invalid",
}

# Expressions are compiled at the first error, not at each start.
_CODE = r"[A-Za-z][\w.-]{0,63}|\d{3}"

CALLER = r"User: (arn:\S+)"

_ACTION = r"not authorized to perform: ([\w-]+:\w+)"

_KEY = r"arn:[\w-]+:kms:[^\s\"']+"

# The two phrases in which AWS means KMS without naming the action.
_KMS = r"(?i)Access to KMS is not allowed|The ciphertext refers to a customer master key"

# https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
_WHY = r"(?s)\b(?:with an explicit deny in|because no) (?:an? )?([\w -]+? (?:policy|boundary))\b.*"

_EXPLICIT = r"(?s)\bwith an explicit deny\b.*"

AGAIN = "the agent tries again after a backoff"  # for who has nobody that does, there is something else to say

_CANNOT_BE_UNDERSTOOD = "check that {endpoint} is {service}, and that no proxy or firewall answers instead"


def line(message: str) -> str:
    """AWS's message on one line of at most 300 characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in message).split())[:300]


def code_of(error: Exception) -> str:
    """AWS's code for an error, or a word for an error without one. Its form is limited, because it becomes a label."""
    if isinstance(error, aws.ClientError):
        return code_and_message(error)[0]
    if isinstance(error, (aws.ConnectTimeoutError, aws.ReadTimeoutError)):
        return "timeout"
    return type(error).__name__ if isinstance(error, (aws.BotoCoreError, OSError)) else "unknown"


def code_and_message(error: aws.ClientError) -> tuple[str, str]:
    """Code and message of an error response. The code is AWS's name, or else the status in digits, or "unknown"."""
    found: Any = error.response.get("Error")
    found = found if isinstance(found, dict) else {}
    code, message = found.get("Code"), found.get("Message")
    known = isinstance(code, str) and re.fullmatch(_CODE, code)
    return code if known else "unknown", message if isinstance(message, str) else ""


def is_foreign(code: str) -> bool:
    """Whether something else answered in AWS's place: AWS's own codes are names."""
    return code.isdigit() or code.lower() == "unknown"


def server(url: str) -> str:
    """Scheme, host and port of a URL."""
    return f"{url.partition('://')[0]}://{_host(url)}"


class Proxy(Record):
    """A proxy on the way to AWS. `url` holds no credentials; `shown` names host, port and the variable."""

    url: str
    shown: str
    variable: str


def proxy(url: str) -> Proxy | None:
    """The proxy that the environment sets for the URL, if any."""
    scheme = url.partition(":")[0]
    found = botocore.utils.get_environ_proxies(url).get(scheme)
    if not found:
        return None
    variable = next((name for name in (f"{scheme}_proxy", f"{scheme.upper()}_PROXY") if os.environ.get(name)), "proxy")
    host = _host(found)
    scheme = "https" if found.startswith("https:") else "http"
    return Proxy(f"{scheme}://{host}", f"the proxy {host} ({variable})", variable)


def _host(url: str) -> str:
    """Host and port of a URL, which may lack a scheme and may contain credentials."""
    return url.rpartition("://")[2].rpartition("@")[2].partition("/")[0]


def connection(error: Exception, url: str, bundle: str) -> tuple[Reason, str] | None:
    """Why there was no answer from the URL; None if the error is of another kind."""
    between = proxy(url)
    by = f" through {between.shown}" if between else ""
    otherwise = f"the connection failed; check that {between.variable} is a URL" if between else "the connection failed"
    if isinstance(error, aws.ProxyConnectionError):
        who = between.shown if between else f"the proxy {_host(str(error.kwargs.get('proxy_url')))}"
        return "timeout", f"{who} on the way to {url} cannot be used: {network.unreachable(error)}"
    if isinstance(error, aws.SSLError):
        chosen = " (AWS_CA_BUNDLE)" if os.environ.get("AWS_CA_BUNDLE") == bundle else ""
        return "other", f"TLS to {url}{by} failed: {network.tls(error, bundle + chosen, os.geteuid())}"
    if isinstance(error, (aws.ConnectTimeoutError, aws.ReadTimeoutError)):
        return "timeout", f"{url}{by} did not answer in time; check routes, or add a VPC endpoint"
    if isinstance(error, (aws.HTTPClientError, aws.ConnectionError, OSError)):
        return "timeout", f"no answer from {url}{by}: {network.unreachable(error, otherwise)}"
    return None


def no_client(error: Exception, place: Place) -> str:
    """Why no client could be created."""
    if isinstance(error, aws.NoRegionError):
        return (
            "no region is set; set `region:` in the config, AWS_REGION or AWS_DEFAULT_REGION, or use the secret's full "
            "ARN"
        )
    where = f"region {place.region or 'of the environment'}"
    if place.endpoint_url:
        where += f" at {place.endpoint_url}"
    known = isinstance(error, (aws.BotoCoreError, ValueError))
    return f"no client can be created for {where}: {line(str(error)) if known else 'check the AWS config files'}"


def kind(error: Exception) -> str:
    """What is wrong with an unreadable answer. Never its text, which may contain the secret."""
    if isinstance(error, UnicodeError):
        return "it is not UTF-8 text"
    if isinstance(error, json.JSONDecodeError):
        return "it is not JSON"
    if isinstance(error, ResponseParserError):
        return "it is not in AWS's format"
    return "a field is missing or does not have AWS's format"


def classify(
    error: Exception, secret: Secret, operation: Operation, *, of: str, region: str, endpoint: str, bundle: str
) -> Failure:
    """What an exception of a call means for the secret. Decided by AWS's code: botocore has no class for some. `of` is
    what was asked for."""
    what = f"{operation} of {of} in {region}"
    if isinstance(error, aws.ClientError):
        return _refusal(error, secret, operation, what, endpoint)
    if isinstance(error, aws.ParamValidationError):
        return Failure("invalid", f"{what}: the request is not valid: {line(str(error))}")
    if found := connection(error, endpoint, bundle):
        return Failure(found[0], f"{what}: {found[1]}")
    where = _CANNOT_BE_UNDERSTOOD.format(endpoint=endpoint, service=_SERVICES[_service(operation)])
    return Failure("other", f"{what}: the answer cannot be understood: {kind(error)}; {where}")


_SERVICES = {"secretsmanager": "AWS Secrets Manager", "ssm": "AWS Systems Manager"}


def _service(operation: Operation) -> str:
    """The service that an operation is one of, as IAM names it."""
    return "ssm" if "Parameter" in operation or operation == "ListTagsForResource" else "secretsmanager"


def no_parameter(name: str, ref: Ref, *, followed: str | None) -> Failure:
    """AWS has no parameter of that name, with a version or a label behind it. `followed`: the version that another
    answer named just before."""
    where = f"in {ref.place.region}" if ref.place.region else "there"
    if ref.version_id or followed:
        advice = "; check `parameterVersion`, name, region and account"
    elif ref.version_stage != "AWSCURRENT":
        advice = "; check `parameterLabel`, name, region and account"
    else:
        advice = "; check name, region and account"
    return Failure("not_found", f"GetParameters: no parameter {name} is {where}{advice}")


def of_caller(error: Exception, bundle: str) -> Failure:
    """Why STS did not say who the caller is."""
    if isinstance(error, aws.ClientError):
        code, message = code_and_message(error)
        if is_foreign(code):
            return Failure("other", f"something else answers in place of STS ({code}); check proxies and firewalls")
        return Failure(REASONS.get(code, "other"), f"{code}. AWS: {line(message) or 'no reason given'}")
    url = getattr(error, "kwargs", {}).get("endpoint_url")
    if found := connection(error, server(str(url)) if url else "STS", bundle):
        return Failure(*found)
    return Failure("other", f"the answer cannot be understood: {kind(error)}; check whether a proxy answers instead")


def _refusal(error: aws.ClientError, secret: Secret, operation: Operation, what: str, endpoint: str) -> Failure:
    """What an error response means for the secret."""
    (code, message), status = code_and_message(error), status_of(error)
    said = f"AWS: {line(message)}" if message else "AWS gives no reason"
    reason = REASONS.get(code, "other")
    if is_foreign(code):
        sentence = f"{what}: {foreign(status, endpoint)}"
        if reason == "access_denied":
            sentence += f"; or this agent's role lacks {_service(operation)}:{operation} on {secret.ref.id}"
        return Failure(reason, sentence)
    if (reason == "invalid" and "deletion" in message.lower()) or "marked deleted" in message.lower():
        return Failure("deleted", f"{what}: scheduled for deletion; restore-secret cancels that. {said}")
    if reason == "access_denied":
        return Failure(reason, f"{denied(secret, operation, message)} ({code})")
    if reason == "not_found" or (reason == "invalid" and "not associated" in message):
        return Failure("not_found", f"{what}: {_absent(secret, message)}. {said}")
    if reason == "credentials":
        advice = (
            "this node's clock is wrong; check its time service"
            if of_clock(error)
            else "the credentials are not accepted; the next attempt searches for others"
        )
        return Failure(reason, f"{what}: {code}: {advice}. {said}")
    if reason == "throttled":
        return Failure(
            reason,
            f"{what}: {code}: the account's calls per second are used up; {AGAIN}. {said}",
        )
    if code == "DecryptionFailure":
        return Failure(
            reason, f"{what}: {code}: KMS cannot decrypt it; check that the secret's key exists and is enabled. {said}"
        )
    if status >= 500 and reason == "other":
        return Failure(reason, f"{what}: AWS answered {status} {code}; {AGAIN}")
    return Failure(reason, f"{what}: {code}. {said}")


def of_clock(error: Exception) -> bool:
    """Whether a signature was refused because of its time. Then this node's clock is wrong, not the credentials."""
    code, message = code_and_message(error) if isinstance(error, aws.ClientError) else ("", "")
    expired = "expired" in message.lower() and "signature" in message.lower()
    return expired or code in ("RequestTimeTooSkewed", "RequestExpired")


def status_of(error: aws.ClientError) -> int:
    """The HTTP status of an error response; 0 if it is unknown."""
    found: Any = error.response.get("ResponseMetadata")
    status = found.get("HTTPStatusCode") if isinstance(found, dict) else None
    return status if isinstance(status, int) else 0


def _absent(secret: Secret, message: str) -> str:
    """What was not found: the secret, its version, or one with the stage."""
    if secret.ref.version_id:
        return f"version {secret.ref.version_id} was not found; check `versionId`, name, region and account"
    if "staging label" in message or "not associated" in message:
        return f"no version has the stage {secret.ref.version_stage}, or it has just moved; check `versionStage`"
    stage = "" if secret.ref.version_stage == "AWSCURRENT" else f", and `versionStage` {secret.ref.version_stage}"
    return f"not found; check name, region and account{stage}"


def foreign(status: int, url: str) -> str:
    """The sentence for an error response without one of AWS's codes."""
    between = proxy(url)
    by = f" through {between.shown}" if between else ""
    answered = f"{url}{by} answered {status}, but not as AWS does"
    if 300 <= status < 400:
        return f"{answered}: a redirect, perhaps to a login page; AWS sends none, so let {url} through unchanged"
    if status == 407:
        return f"{answered}: a proxy requires authentication; put user:password@ in its URL"
    if status >= 500:
        return f"{answered}: a proxy, a load balancer or AWS itself has a problem; {AGAIN}"
    return f"{answered}: check whether a proxy, a firewall or another server answers instead"


def denied(secret: Secret, operation: Operation, message: str) -> str:
    """Who was denied what, by which kind of policy, and what would allow it. `message` is AWS's, in full."""
    caller, asked, why = re.search(CALLER, message), re.search(_ACTION, message), re.search(_WHY, message)
    who = caller[1] if caller else "this agent's role"
    action = asked[1] if asked else "kms:Decrypt" if re.search(_KMS, message) else f"{_service(operation)}:{operation}"
    of_kms = action.startswith("kms:")
    key = re.search(_KEY, message)
    resources = (key[0].rstrip(".,") if key else "the key's ARN",) if of_kms else _resources(secret, action)
    resource = resources[0] if len(resources) == 1 else resources
    statement = json.dumps({"Effect": "Allow", "Action": action, "Resource": resource})
    explicit = re.search(_EXPLICIT, message)
    reason = why or explicit
    said = f"AWS: {line(reason[0] if reason else message)}" if message else "AWS gives no reason"
    may_not = f"{who} may not {action} on {secret.ref.id}"
    policy = why[1].lower() if why else "policy"
    if explicit:
        return f"{may_not}: an explicit deny in a {policy} overrides every allow; that policy must change. {said}"
    owner = "key" if of_kms else "parameter" if action.startswith("ssm:") else "secret"
    advice = {
        "permissions boundary": f"the role's permissions boundary must allow it as well: {statement}",
        "service control policy": f"the organization's service control policies must allow it: {statement}",
        "resource control policy": f"the organization's resource control policies must allow it: {statement}",
        "session policy": f"the session policy that the role was assumed with must allow it: {statement}",
        "vpc endpoint policy": f"the policy of the VPC endpoint must allow it: {statement}",
        "resource-based policy": f"the {owner}'s own policy must allow {who}, and so must the role's: {statement}",
    }.get(policy, f"add {statement}")
    return f"{may_not}; {advice}. {said}"


def _resources(secret: Secret, action: str) -> tuple[str, ...]:
    """What a statement that allows the action names. Two actions do not support single secrets."""
    if action in ("secretsmanager:ListSecrets", "secretsmanager:BatchGetSecretValue"):
        return ("*",)
    return secret.ref.resources
