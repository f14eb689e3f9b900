"""A photograph comes from a listed host or not at all, in time or later; nothing else is ever dialled."""

import contextlib
import gzip
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import httpcore2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eye_dx_core.errors import BadPhoto, ServiceUnavailable
from eye_dx_core.inference.sources.allowed import WebHost
from eye_dx_core.inference.sources.dialling import Resolve
from eye_dx_core.inference.sources.patience import Patience
from eye_dx_core.inference.sources.web import WebPhotos
from tests.forwarder import a_server_context, an_authority
from tests.photo_server import PhotoServer, answer, serving

IMPATIENT = Patience(connect=0.5, silence=0.2, total=0.5)
PACS, IMAGES, PRIVATE = (WebHost("https", f"{name}.example.org", 443) for name in ("pacs", "img", "private"))


class Recorder(httpcore2.NetworkBackend):
    """Keeps whom it was to dial, and dials nobody; then says what it was told to, or that nobody is there."""

    def __init__(self, *answers: bytes) -> None:
        self.dialled: list[tuple[str, int]] = []
        self._answers = answers

    def connect_tcp(self, host: str, port: int, *_: object, **__: object) -> httpcore2.NetworkStream:
        self.dialled.append((host, port))
        if not self._answers:
            raise httpcore2.ConnectError
        return httpcore2.MockStream(list(self._answers))


def reason_of(source: WebPhotos, location: str) -> str:
    with pytest.raises(BadPhoto) as caught:
        source.find_photo(location)
    assert "zhang" not in str(caught.value)
    return caught.value.reason


def trouble_of(source: WebPhotos, location: str) -> str:
    with pytest.raises(ServiceUnavailable) as caught:
        source.find_photo(location)
    assert "zhang" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "[::1]", "169.254.169.254", "0.0.0.0", "[::]", "0", "127.1", "2130706433", "017700000001", "0x7f000001", "0x7f.1"),
        *(
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[64:ff9b::7f00:1]",
            "[fe80::1%25eth0]",
            "①②⑦.0.0.1",
            "localhost",
            "localhost.",
            "LOCALHOST",
        ),
        *(
            "pacs.example.org.",
            "pacs.example.org:444",
            "pacs.example.org:80",
            "pacs.example.org:0",
            "pаcs.example.org",
            "pacs。example.org.evil.org",
        ),
        *(
            "pacs.example.org.evil.org",
            "evil.org#pacs.example.org",
            "evil.org?pacs.example.org",
            "evil.org/pacs.example.org",
            "pacs.example.org%00.evil.org",
        ),
        *("pacs%2eexample.org", "xpacs.example.org", "example.org", "10.0.0.5"),
    ],
)
def test_a_host_that_is_not_listed_is_not_dialled(host: str):
    network = Recorder()
    source = WebPhotos([PACS], resolve=lambda *_: ["8.8.8.8"], network=network)

    assert reason_of(source, f"https://{host}/zhang.jpg") in ("host_not_allowed", "unsupported_location")
    assert network.dialled == []


@pytest.mark.parametrize(
    "location",
    [
        *(
            "http://user@pacs.example.org/",
            "https://user:pw@pacs.example.org/",
            "https://pacs.example.org@evil.org/",
            "https://@@pacs.example.org/",
        ),
        *(
            "https://evil.org\\@pacs.example.org/",
            "https://pacs.example.org\\@evil.org/",
            "file:///etc/passwd",
            "gopher://pacs.example.org/1",
        ),
        *(
            "data:image/png;base64,AAAA",
            "ftp://pacs.example.org/",
            "https:pacs.example.org",
            "https:///pacs.example.org",
            "https://",
            "",
            "zhang.jpg",
        ),
        *(
            "https://pacs.example.org/\r\nHost: evil.org",
            "https://pacs.example.org/\ud800",
            "https://\ud800/",
            "https://[pacs.example.org]/",
            "https://[::1/",
        ),
    ],
)
def test_what_is_no_plain_web_address_is_refused(location: str):
    network = Recorder()
    source = WebPhotos([PACS], resolve=lambda *_: ["8.8.8.8"], network=network)

    assert reason_of(source, location) == "unsupported_location"
    assert network.dialled == []


def test_http_is_spoken_only_where_it_is_listed():
    network = Recorder()
    source = WebPhotos([PACS, WebHost("http", "img.example.org", 80)], resolve=lambda *_: ["8.8.8.8"], network=network)

    assert reason_of(source, "http://pacs.example.org/zhang.jpg") == "host_not_allowed"
    assert reason_of(source, "https://img.example.org/zhang.jpg") == "host_not_allowed"
    trouble_of(source, "http://img.example.org/zhang.jpg")
    assert network.dialled == [("8.8.8.8", 80)]


@pytest.mark.parametrize(
    ("addresses", "by_public", "by_private"),
    [
        (["8.8.8.8"], True, True),
        (["8.8.8.8", "10.0.0.5"], False, True),
        (["10.0.0.5"], False, True),
        (["127.0.0.1"], False, True),
        (["::ffff:10.0.0.5"], False, True),
        (["169.254.169.254"], False, False),
        (["10.0.0.5", "169.254.169.254"], False, False),
        (["0.0.0.0"], False, False),
        (["fe80::1%2"], False, False),
        (["224.0.0.1"], False, False),
    ],
)
def test_a_name_may_stand_for_a_private_address_only_if_it_is_listed_as_private(addresses: list[str], *, by_public: bool, by_private: bool):
    for host, is_dialled in ((PACS, by_public), (PRIVATE, by_private)):
        network = Recorder()
        source = WebPhotos([PACS], private_hosts=[PRIVATE], resolve=lambda *_: addresses, network=network)

        if is_dialled:
            trouble_of(source, f"{host}/zhang.jpg")
            assert network.dialled == [(address, 443) for address in addresses]
        else:
            assert reason_of(source, f"{host}/zhang.jpg") == "private_address"
            assert network.dialled == []


def test_a_name_is_asked_once_and_the_address_that_was_checked_is_dialled():
    """DNS rebinding: the second answer would be this machine."""
    answers = iter([["8.8.8.8"], ["127.0.0.1"]])
    network = Recorder()

    trouble_of(WebPhotos([PACS], resolve=lambda *_: next(answers), network=network), "https://pacs.example.org/zhang.jpg")

    assert network.dialled == [("8.8.8.8", 443)]


def test_a_host_may_be_listed_by_its_address():
    network = Recorder()
    hosts = [WebHost("https", "10.0.0.5", 443), WebHost("http", "::1", 8080)]

    def nobody(*_: object) -> list[str]:
        raise AssertionError("an address needs no resolver")

    source = WebPhotos(hosts, resolve=nobody, network=network)

    trouble_of(source, "https://10.0.0.5/zhang.jpg")
    trouble_of(source, "http://[0:0:0:0:0:0:0:1]:8080/zhang.jpg")
    assert network.dialled == [("10.0.0.5", 443), ("::1", 8080)]


pieces = st.sampled_from(
    [
        "https://",
        "http://",
        "pacs.example.org",
        "img.example.org",
        "private.example.org",
        ":443",
        ":80",
        "@",
        "\\",
        "/",
        "//",
        "?",
        "#",
        "%2e",
        "..",
        "127.0.0.1",
    ]
)


KNOWN = {PACS.host: "8.8.8.8", IMAGES.host: "127.0.0.1", PRIVATE.host: "10.0.0.5"}


@pytest.fixture(scope="module")
def recorded() -> tuple[WebPhotos, Recorder]:
    network = Recorder(*answer(200, b"photo")())
    return WebPhotos([PACS, IMAGES], private_hosts=[PRIVATE], resolve=lambda host, _: [KNOWN[host]], network=network), network


@given(st.lists(pieces | st.text(alphabet=st.characters(exclude_categories=()), max_size=5), max_size=8).map("".join))
def test_no_location_leads_to_an_address_that_is_not_of_a_listed_host(recorded: tuple[WebPhotos, Recorder], location: str):
    source, network = recorded
    with contextlib.suppress(BadPhoto):
        assert source.find_photo(location) == b"photo"
    assert set(network.dialled) <= {("8.8.8.8", 443), ("10.0.0.5", 443)}


@pytest.fixture
def server() -> Iterator[PhotoServer]:
    with serving() as server:
        yield server


def asked(server: PhotoServer, patience: Patience = IMPATIENT) -> tuple[WebPhotos, str]:
    host = WebHost("http", "127.0.0.1", server.port)
    return WebPhotos([host], patience=patience), str(host)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (404, "missing"),
        (410, "missing"),
        (401, "forbidden"),
        (403, "forbidden"),
        (204, "unexpected_answer"),
        (206, "unexpected_answer"),
        (418, "unexpected_answer"),
    ],
)
def test_an_answer_that_will_stay_so_is_a_reason(server: PhotoServer, status: int, reason: str):
    source, start = asked(server)
    server.answers["/zhang.jpg"] = answer(status, b"no")

    assert reason_of(source, f"{start}/zhang.jpg") == reason


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_an_answer_that_may_change_is_for_a_later_try(server: PhotoServer, status: int):
    source, start = asked(server)
    server.answers["/zhang.jpg"] = answer(status)

    assert f"HTTP {status}" in trouble_of(source, f"{start}/zhang.jpg")


def test_a_host_that_is_down_is_for_a_later_try(server: PhotoServer):
    source, start = asked(server)
    server.close()

    assert "did not answer" in trouble_of(source, f"{start}/zhang.jpg")


def drip(server: PhotoServer, start: bytes) -> Iterable[bytes]:
    yield start
    for _ in range(100):
        server.wait(0.05)
        yield b"x"


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\nX-Slow: ", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"])
def test_a_server_that_sends_a_byte_now_and_then_is_not_waited_for(server: PhotoServer, start: bytes):
    source, address = asked(server)
    server.answers["/zhang.jpg"] = lambda: drip(server, start)

    assert re.search(r"in time|ReadTimeout", trouble_of(source, f"{address}/zhang.jpg"))


def test_a_server_that_says_nothing_is_not_waited_for(server: PhotoServer):
    source, start = asked(server)
    server.answers["/zhang.jpg"] = lambda: server.wait(2)

    assert "ReadTimeout" in trouble_of(source, f"{start}/zhang.jpg")


def test_a_name_that_nobody_resolves_in_time_is_for_a_later_try(server: PhotoServer):
    def slow(*_: object) -> list[str]:
        server.wait(2)
        return ["8.8.8.8"]

    assert "no address" in trouble_of(
        WebPhotos([PACS], patience=IMPATIENT, resolve=slow, network=Recorder()), "https://pacs.example.org/zhang.jpg"
    )


def test_a_body_without_end_is_cut_at_the_limit(server: PhotoServer):
    source, start = asked(server, Patience(total=20))
    megabyte = bytes(2**20)

    def endless() -> Iterable[bytes]:
        yield b"HTTP/1.1 200 OK\r\n\r\n"
        while True:
            yield megabyte

    server.answers["/zhang.jpg"] = endless

    assert reason_of(source, f"{start}/zhang.jpg") == "too_large"


def test_a_promise_of_too_much_is_not_waited_for(server: PhotoServer):
    source, start = asked(server)
    server.answers["/zhang.jpg"] = answer(200, b"x", Content_Length=10**12)

    assert reason_of(source, f"{start}/zhang.jpg") == "too_large"


def test_a_body_that_is_cut_off_is_for_a_later_try(server: PhotoServer):
    source, start = asked(server)
    server.answers["/zhang.jpg"] = answer(200, b"half of i", Content_Length=18)

    assert "broke off" in trouble_of(source, f"{start}/zhang.jpg")


@pytest.mark.parametrize("length", ["-1", "many", "1, 2"])
def test_a_length_that_is_none_is_for_a_later_try(server: PhotoServer, length: str):
    source, start = asked(server)
    server.answers["/zhang.jpg"] = answer(200, b"xy", Content_Length=length)

    assert "speaks no HTTP" in trouble_of(source, f"{start}/zhang.jpg")


def test_no_more_is_read_than_was_promised(server: PhotoServer):
    source, start = asked(server)
    server.answers["/zhang.jpg"] = answer(200, b"photo and more", Content_Length=5)

    assert source.find_photo(f"{start}/zhang.jpg") == b"photo"


def test_a_body_may_come_in_chunks(server: PhotoServer):
    source, start = asked(server)
    server.answers["/zhang.jpg"] = answer(200, b"2\r\nph\r\n3\r\noto\r\n0\r\n\r\n", Content_Length=None, Transfer_Encoding="chunked")

    assert source.find_photo(f"{start}/zhang.jpg") == b"photo"


def test_what_comes_compressed_is_not_unpacked(server: PhotoServer):
    source, start = asked(server)
    server.answers["/zhang.jpg"] = answer(200, gzip.compress(bytes(10**7)), Content_Encoding="gzip")

    assert reason_of(source, f"{start}/zhang.jpg") == "unexpected_answer"


def test_a_redirect_is_followed_on_the_same_host(server: PhotoServer):
    source, start = asked(server)
    server.answers["/zhang.jpg"] = answer(302, Location="/2/zhang.jpg?x=1")
    server.answers["/2/zhang.jpg?x=1"] = answer(307, Location=f"{start}/3/zhang.jpg")
    server.answers["/3/zhang.jpg"] = answer(301, Location="../4/zhang.jpg")
    server.answers["/4/zhang.jpg"] = answer(200, b"photo")

    assert source.find_photo(f"{start}/zhang.jpg") == b"photo"
    server.answers["/4/zhang.jpg"] = answer(303, Location="/5/zhang.jpg")
    assert reason_of(source, f"{start}/zhang.jpg") == "redirected_elsewhere"


@pytest.mark.parametrize(
    "target",
    [
        *(
            "http://127.0.0.1:9/",
            "http://localhost/",
            "http://169.254.169.254/latest/",
            "//evil.org/zhang.jpg",
            "https://{}/",
            "file:///etc/passwd",
        ),
        *("http://user@{}/", "", "http://[::1/", "http://127.0.0.2/"),
    ],
)
def test_a_redirect_to_anywhere_else_is_refused(server: PhotoServer, target: str):
    source, start = asked(server)
    server.answers["/zhang.jpg"] = answer(302, Location=target.format(start.removeprefix("http://")))

    assert reason_of(source, f"{start}/zhang.jpg") == "redirected_elsewhere"


def test_a_redirect_to_another_listed_host_is_refused(server: PhotoServer):
    other = WebHost("http", "img.example.org", 80)
    source = WebPhotos([WebHost("http", "127.0.0.1", server.port), other], resolve=lambda *_: ["8.8.8.8"])
    server.answers["/zhang.jpg"] = answer(302, Location=f"{other}/zhang.jpg")

    assert reason_of(source, f"http://127.0.0.1:{server.port}/zhang.jpg") == "redirected_elsewhere"


def test_nothing_of_this_machine_goes_along(server: PhotoServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Neither a proxy, nor a password kept for the host, nor a cookie that it set."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login zhang password secret")
    for name, value in (("HTTP_PROXY", "http://127.0.0.1:9"), ("ALL_PROXY", "http://127.0.0.1:9"), ("NETRC", f"{tmp_path}/netrc")):
        monkeypatch.setenv(name, value)
        monkeypatch.setenv(name.lower(), value)
    source, start = asked(server)
    server.answers["/zhang.jpg"] = answer(200, b"photo", Set_Cookie="a=b")

    assert [source.find_photo(f"{start}/zhang.jpg") for _ in range(2)] == [b"photo"] * 2
    names = [line.partition(":")[0] for line in server.requests[1].strip().split("\r\n")[1:]]
    assert names == ["Host", "Accept", "Accept-Encoding", "User-Agent"]
    assert f"Host: 127.0.0.1:{server.port}\r\n" in server.requests[1]


def of_test_host(address: str) -> Resolve:
    return lambda host, _: [address] if host == "photos.test" else []


def test_a_certificate_must_be_for_the_name_and_by_a_trusted_authority(tmp_path: Path):
    ours, theirs = an_authority(tmp_path, "ours"), an_authority(tmp_path, "theirs")
    for named, ca_file, is_read in (
        ("photos.test", ours, True),
        ("photos.test", theirs, False),
        ("other.test", ours, False),
        ("photos.test", None, False),
    ):
        with serving(a_server_context(ours, tmp_path, named)) as server:
            host = WebHost("https", "photos.test", server.port)
            server.answers["/zhang.jpg"] = answer(200, b"photo")
            source = WebPhotos([], private_hosts=[host], ca_file=ca_file and ca_file.file, resolve=of_test_host("127.0.0.1"))
            if is_read:
                assert source.find_photo(f"{host}/zhang.jpg") == b"photo"
                assert f"Host: photos.test:{server.port}\r\n" in server.requests[0]
            else:
                assert "EYE_DX_PHOTO_CA" in trouble_of(source, f"{host}/zhang.jpg")
                assert server.requests == []


def test_a_silent_server_is_left_alone_and_one_with_errors_is_not():
    network = Recorder()
    source = WebPhotos([PACS, IMAGES], resolve=lambda *_: ["8.8.8.8"], network=network)

    said = [trouble_of(source, f"https://pacs.example.org/zhang{number}.jpg") for number in range(6)]

    assert len(network.dialled) == 3
    assert ["left alone" in one for one in said] == [False] * 3 + [True] * 3
    trouble_of(source, "https://img.example.org/zhang.jpg")
    assert len(network.dialled) == 4


def test_a_server_that_answers_in_between_is_asked_on(server: PhotoServer):
    source, start = asked(server)
    server.answers["/silent.jpg"] = lambda: server.wait(2)
    server.answers["/broken.jpg"] = answer(500)

    for _ in range(2):
        for name in ("silent", "silent", "broken"):
            assert "left alone" not in trouble_of(source, f"{start}/{name}.jpg")
