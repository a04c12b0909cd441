#!/usr/bin/env python3
"""Writes vectors.json: requests of the kinds that AWS's public SigV4 suite has, signed by botocore (Debian: python3-botocore).

generate.py suite > vectors.json     the cases of the suite, header and pre-signed form, with canonical request and string to sign
generate.py random SEED COUNT        COUNT random signed requests, one JSON object a line, for tests/unit/sign/random_test.py
"""
import datetime
import json
import random
import sys
import urllib.parse

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
TOKEN = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGd"
WHEN = datetime.datetime(2015, 8, 30, 12, 36, 0)


class At(datetime.datetime):
    now_ = WHEN

    @classmethod
    def utcnow(cls):
        return cls.now_


botocore.auth.datetime.datetime = At
if hasattr(botocore.auth, "get_current_datetime"):  # newer botocore
    botocore.auth.get_current_datetime = lambda *a, **k: At.now_


def signer(base, s3):
    """A botocore signer that remembers what it hashed."""

    class Signer(base):
        def canonical_request(self, request):
            self.canonical = super().canonical_request(request)
            return self.canonical

        def string_to_sign(self, request, canonical_request):
            self.text = super().string_to_sign(request, canonical_request)
            return self.text

    return Signer


def wire(url):
    parts = urllib.parse.urlsplit(url)
    return parts.path, parts.query


def sign(case, presign):
    s3 = case.get("s3", False)
    base = {
        (False, False): botocore.auth.SigV4Auth,
        (False, True): botocore.auth.SigV4QueryAuth,
        (True, False): botocore.auth.S3SigV4Auth,
        (True, True): botocore.auth.S3SigV4QueryAuth,
    }[(s3, presign)]
    At.now_ = case.get("when", WHEN)
    token = TOKEN if case.get("token") else None
    kind = signer(base, s3)
    credentials = Credentials(case.get("key", KEY), case.get("secret", SECRET), token)
    region, service = case.get("region", "us-east-1"), case.get("service", "s3" if s3 else "service")
    auth = kind(credentials, service, region, case.get("expires", 3600)) if presign else kind(credentials, service, region)
    host = case.get("host", "example.amazonaws.com")
    body = "" if presign else case.get("body", "")  # botocore would move a form into the query
    request = AWSRequest(method=case["method"], url="https://" + host + case["target"], data=body.encode() or None)
    request.headers["Host"] = host
    for name, value in case.get("headers", []):
        request.headers[name] = value
    if s3:
        request.context["client_config"] = None
    auth.add_auth(request)
    path, query = wire(request.url)
    return {
        "name": case["name"] + ("-query" if presign else "-header"),
        "method": case["method"], "path": path or "/", "query": query, "s3": s3, "body": body,
        "region": region, "service": service, "key": credentials.access_key, "secret": credentials.secret_key, "token": token or "",
        "expires": case.get("expires", 3600) if presign else 0,
        "time": At.now_.strftime("%Y%m%dT%H%M%SZ"),
        "unsigned_query": "&".join(p for p in query.split("&") if p and not p.startswith("X-Amz-")),
        "headers": [[n, v] for n, v in request.headers.items() if n.lower() != "authorization"],
        "authorization": request.headers.get("Authorization", ""),
        "canonical": auth.canonical, "string_to_sign": auth.text,
    }


def suite():
    long_text = "".join(chr(c) for c in range(0x21, 0x7f) if chr(c) not in "#&?%=+\"'<>\\^`{|}")
    form = [["Content-Type", "application/x-www-form-urlencoded"]]
    return [
        {"name": "get-vanilla", "method": "GET", "target": "/"},
        {"name": "get-vanilla-with-session-token", "method": "GET", "target": "/", "token": True},
        {"name": "get-vanilla-query", "method": "GET", "target": "/"},
        {"name": "get-vanilla-empty-query-key", "method": "GET", "target": "/?Param1=value1"},
        {"name": "get-vanilla-query-order-key", "method": "GET", "target": "/?Param1=value2&Param1=Value1"},
        {"name": "get-vanilla-query-order-key-case", "method": "GET", "target": "/?Param2=value2&Param1=value1"},
        {"name": "get-vanilla-query-order-value", "method": "GET", "target": "/?Param1=value2&Param1=value1"},
        {"name": "get-vanilla-query-order-encoded", "method": "GET", "target": "/?Param-3=Value3&Param=Value2&%E1%88%B4=Value1"},
        {"name": "get-vanilla-query-unreserved", "method": "GET",
         "target": "/?-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz=-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"},
        {"name": "get-vanilla-utf8-query", "method": "GET", "target": "/?%E1%88%B4=bar"},
        {"name": "get-query-empty-value", "method": "GET", "target": "/?a=&b="},
        {"name": "get-unreserved", "method": "GET", "target": "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"},
        {"name": "get-utf8", "method": "GET", "target": "/%E1%88%B4"},
        {"name": "get-relative-normalized", "method": "GET", "target": "/example/.."},
        {"name": "get-relative-relative-normalized", "method": "GET", "target": "/example1/example2/../.."},
        {"name": "get-slash-normalized", "method": "GET", "target": "//"},
        {"name": "get-slash-dot-slash-normalized", "method": "GET", "target": "/./"},
        {"name": "get-slash-pointless-dot-normalized", "method": "GET", "target": "/./example"},
        {"name": "get-slashes-normalized", "method": "GET", "target": "//example//"},
        {"name": "get-space-normalized", "method": "GET", "target": "/example%20space/"},
        {"name": "get-relative-unnormalized", "method": "GET", "target": "/example/..", "s3": True},
        {"name": "get-relative-relative-unnormalized", "method": "GET", "target": "/example1/example2/../..", "s3": True},
        {"name": "get-slash-unnormalized", "method": "GET", "target": "//", "s3": True},
        {"name": "get-slash-dot-slash-unnormalized", "method": "GET", "target": "/./", "s3": True},
        {"name": "get-slash-pointless-dot-unnormalized", "method": "GET", "target": "/./example", "s3": True},
        {"name": "get-slashes-unnormalized", "method": "GET", "target": "//example//", "s3": True},
        {"name": "get-space-unnormalized", "method": "GET", "target": "/example%20space/", "s3": True},
        {"name": "get-header-key-duplicate", "method": "GET", "target": "/",
         "headers": [["My-Header1", "value2"], ["My-Header1", "value2"], ["My-Header1", "value1"]]},
        {"name": "get-header-value-order", "method": "GET", "target": "/",
         "headers": [["My-Header1", "value4"], ["My-Header1", "value1"], ["My-Header1", "value3"], ["My-Header1", "value2"]]},
        {"name": "get-header-value-trim", "method": "GET", "target": "/", "headers": [["My-Header1", " value1"], ["My-Header2", ' "a   b   c" ']]},
        {"name": "get-header-value-multiline", "method": "GET", "target": "/", "headers": [["My-Header1", "value1\n  value2\n     value3"]]},
        {"name": "post-vanilla", "method": "POST", "target": "/"},
        {"name": "post-vanilla-query", "method": "POST", "target": "/?Param1=value1"},
        {"name": "post-header-key-case", "method": "POST", "target": "/"},
        {"name": "post-header-key-sort", "method": "POST", "target": "/", "headers": [["My-Header1", "value1"]]},
        {"name": "post-header-value-case", "method": "POST", "target": "/", "headers": [["My-Header1", "VALUE1"]]},
        {"name": "post-sts-header-before", "method": "POST", "target": "/", "token": True},
        {"name": "post-x-www-form-urlencoded", "method": "POST", "target": "/", "headers": form, "body": "Param1=value1"},
        {"name": "post-x-www-form-urlencoded-parameters", "method": "POST", "target": "/",
         "headers": [["Content-Type", "application/x-www-form-urlencoded; charset=utf8"]], "body": "Param1=value1"},
        {"name": "post-empty-query-form", "method": "POST", "target": "/", "headers": form, "body": ""},
        {"name": "put-s3-object", "method": "PUT", "target": "/bucket/" + urllib.parse.quote(long_text, safe="/~"), "s3": True, "body": "x" * 1000},
        {"name": "get-s3-list", "method": "GET", "target": "/bucket?list-type=2&prefix=a%2Fb%20c&continuation-token=1%2F%2B%3D%3D&encoding-type=url", "s3": True},
    ]


def rnd_text(r, n, alphabet):
    return "".join(r.choice(alphabet) for _ in range(r.randrange(n)))


def rnd(r, i):
    alphabet = "abzAZ09-._~ /+=&%?;:@!$'()*,\"<>[]{}|\\^`\u00e9\u1234\U0001f600"
    s3 = r.random() < 0.5
    part = lambda n: urllib.parse.quote(rnd_text(r, n, alphabet), safe="~")
    path = "/" + "/".join(part(8) for _ in range(r.randrange(5)))
    if r.random() < 0.2:
        path += r.choice(["/..", "/.", "//", "/./x", "/../y/"])
    query = "&".join(part(6) + "=" + part(10) for _ in range(r.randrange(5)))
    headers = [["X-Amz-Meta-%d" % j, rnd_text(r, 20, "ab  c,;=\"")] for j in range(r.randrange(4))]
    if r.random() < 0.5:
        headers.append(["Content-Type", r.choice(["application/x-protobuf", "text/plain; charset=utf-8"])])
    return {
        "name": "random-%d" % i, "method": r.choice(["GET", "PUT", "POST", "DELETE", "HEAD"]), "target": path + ("?" + query if query else ""), "s3": s3,
        "headers": headers, "body": rnd_text(r, 60, "abcdefgh\n\u00e9") if r.random() < 0.6 else "", "token": r.random() < 0.3,
        "host": r.choice(["b.s3.eu-central-1.amazonaws.com", "localhost:9000", "aps-workspaces.us-east-1.amazonaws.com"]),
        "region": r.choice(["us-east-1", "eu-central-1", "ap-northeast-2"]), "key": "AKID" + rnd_text(r, 16, "ABCDEF0123") + "X",
        "secret": rnd_text(r, 40, "abcXYZ/+0123") + "s", "expires": r.randrange(60, 604800),
        "when": datetime.datetime(2024, 1, 1) + datetime.timedelta(seconds=r.randrange(40000000)),
    }


def main():
    if sys.argv[1] == "suite":
        print("[" + ",\n".join(json.dumps(sign(c, p)) for c in suite() for p in (False, True)) + "]")
        return
    r = random.Random(int(sys.argv[2]))
    for i in range(int(sys.argv[3])):
        print(json.dumps(sign(rnd(r, i), r.random() < 0.4)))


main()
