"""Which hosts a setting can list, and which addresses a name may stand for."""

import pytest

from eye_dx_core.inference.sources.allowed import BucketPrefix, WebHost, is_indoors, is_public, parse_bucket, parse_web_host

PUBLIC = ("8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808")
INDOORS = (
    "127.0.0.1",
    "127.9.9.9",
    "::1",
    "10.0.0.5",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "fd00::1",
    "::ffff:10.0.0.5",
    "64:ff9b::a00:5",
)
NEITHER = (
    *(
        "0.0.0.0",
        "169.254.169.254",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "172.32.0.0.1",
        "::",
        "fe80::1",
        "fe80::1%eth0",
    ),
    *("ff02::1", "2002:7f00:1::", "2001:0:7f00:1::", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2001:db8::1", "no address", ""),
)


def test_an_address_is_public_or_indoors_or_nobody_may_be_there():
    assert [one for one in PUBLIC + INDOORS + NEITHER if is_public(one)] == list(PUBLIC)
    assert [one for one in PUBLIC + INDOORS + NEITHER if is_indoors(one)] == list(INDOORS)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("pacs.example.org", WebHost("https", "pacs.example.org", 443)),
        ("IMG.Example.org:8443", WebHost("https", "img.example.org", 8443)),
        ("http://10.0.0.5", WebHost("http", "10.0.0.5", 80)),
        ("https://pacs", WebHost("https", "pacs", 443)),
        ("http://[0:0:0:0:0:0:0:1]:8080", WebHost("http", "::1", 8080)),
        ("xn--pcs-6cd.example.org", WebHost("https", "xn--pcs-6cd.example.org", 443)),
    ],
)
def test_a_host_is_listed_by_name_or_address(text: str, host: WebHost):
    assert parse_web_host(text) == host
    assert parse_web_host(str(host)) == host


@pytest.mark.parametrize(
    "text",
    [
        *("", "*.example.org", "pacs.example.org.", "pаcs.example.org", "user@pacs", "pacs/files", "pacs?x", "pacs#x", "ftp://pacs"),
        *(
            "pacs:0",
            "pacs:99999",
            "pacs:http",
            "127.1",
            "0x7f.1",
            "0x7f000001",
            "2130706433",
            "1.2.3.4.5",
            "[fe80::1%eth0]",
            "[::1",
            "-pacs",
            "a..b",
        ),
    ],
)
def test_what_could_mean_another_host_is_not_listed(text: str):
    with pytest.raises(ValueError, match=r"list hosts|[Pp]ort|Invalid IPv6 URL"):
        parse_web_host(text)


def test_a_bucket_is_listed_whole_or_by_a_prefix():
    assert parse_bucket("fundus") == BucketPrefix("fundus", "")
    assert parse_bucket("fundus/2025/screening/") == BucketPrefix("fundus", "2025/screening/")
    for text in ("", "/", "s3://fundus", "Fundus", "fundus/../other", "f"):
        with pytest.raises(ValueError, match="list buckets"):
            parse_bucket(text)
