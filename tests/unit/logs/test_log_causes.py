import pytest

from exporter.logs.causes import CAUSES, classify


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("Stager is unavailable: execution expired", "timeout"),
        ('Runner is unavailable: Connection refused - connect(2) for "H" port 8889 (H:8889)', "refused"),
        ("Stager is unavailable: getaddrinfo: Name or service not known (H:8889)", "dns"),
        ("Runner is unavailable: Unable to communicate with Diego", "dns"),
        ("Stager is unavailable: SSL_connect returned=1 errno=0 state=error: certificate verify failed", "tls"),
        ("Stager is unavailable: SSL_connect SYSCALL returned=5 errno=104 state=SSLv3 read", "reset"),
        ("Stager is unavailable: Connection reset by peer - SSL_connect", "reset"),
        ("Stager is unavailable: failed with status: 503, body: execution expired certificate", "http_status"),
        ("Stager is unavailable: body: failed with status: 503, execution expired", "timeout"),
        ("ipaddr value changed, but session already started", "other"),
        ("", "other"),
        (None, "other"),
    ],
)
def test_classify(text: str | None, cause: str) -> None:
    assert classify(text) == cause


def test_the_set_is_the_contracts() -> None:
    assert CAUSES == ("timeout", "refused", "dns", "tls", "reset", "http_status", "other")
