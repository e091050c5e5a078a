from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

import pytest
from kubernetes.client import Configuration

from foundation.kube.client import KubeClient
from foundation.kube.errors import Forbidden, KubeError, NotFound, NotUnderstood, Unauthorized, Unreachable
from foundation.kube.exec import ExecStream, exit_status, run
from tests.support.scripted_api import (
    ScriptedApi,
    close_frame,
    exec_status,
    frame,
    raw_frame,
    reply,
    reset,
    silence,
    status,
    status_object,
    until,
    websocket,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from foundation.kube.exec import ExecResult

EXEC = "/api/v1/namespaces/cf/pods/api-0/exec"


@pytest.fixture
def api() -> Iterator[ScriptedApi]:
    with ScriptedApi() as server:
        yield server


@pytest.fixture
def client(api: ScriptedApi) -> Iterator[KubeClient]:
    with api.client() as made:
        yield made


def nc(client: KubeClient, timeout: float = 5, max_output: int = 1 << 20) -> ExecResult:
    command = ["nc", "-zv", "a b&c", "8889"]
    return run(client, "cf", "api-0", "api", command, timeout=timeout, max_output=max_output)


class TestExitStatus:
    @pytest.mark.parametrize("code", [0, 1, 137])
    def test_codes(self, code: int) -> None:
        assert exit_status(exec_status(code)) == (code, "")

    @pytest.mark.parametrize(
        ("said", "problem"),
        [
            (b"", "ended before"),
            (b"  ", "ended before"),
            (b"not json", "not understood: not json"),
            (b"[]", "not understood"),
            (b"{}", "without a reason"),
            (json.dumps(status_object(500, "InternalError", 'exec: "nc": not found')).encode(), '"nc": not found'),
            (b'{"status": "Failure", "reason": "NonZeroExitCode", "details": {}}', "NonZeroExitCode"),
            (
                b'{"reason": "NonZeroExitCode", "details": {"causes": [7, {"reason": "ExitCode", "message": "x"}]}}',
                "Non",
            ),
        ],
    )
    def test_nothing_else_is_a_code(self, said: bytes, problem: str) -> None:
        code, words = exit_status(said)
        assert code is None
        assert problem in words


class TestRun:
    @pytest.mark.parametrize("protocol", ["v5.channel.k8s.io", "v4.channel.k8s.io"])
    @pytest.mark.parametrize("code", [0, 3])
    def test_output_and_exit_code(self, api: ScriptedApi, client: KubeClient, code: int, protocol: str) -> None:
        frames = [frame(1, b""), frame(2, b""), frame(1, b"o\xff"), frame(2, b"err"), raw_frame(b"hi", 9)]
        frames += [frame(1, b"ut" * 40_000), frame(255, b"\x01"), frame(3, exec_status(code)), close_frame()]
        api.on("GET", EXEC, websocket(frames, protocol=protocol))
        result = nc(client)
        assert result.stdout == b"o\xff" + b"ut" * 40_000
        assert (result.stderr, result.exit_code, result.problem) == (b"err", code, "")
        asked = api.seen[0]
        assert asked.query["command"] == ["nc", "-zv", "a b&c", "8889"]
        assert (asked.one("container"), asked.one("stdout"), asked.one("stdin")) == ("api", "true", "false")
        assert asked.headers["authorization"] == "Bearer sesame"

    def test_a_status_in_pieces_and_a_server_that_does_not_hang_up(self, api: ScriptedApi, client: KubeClient) -> None:
        said = exec_status(4)
        api.on("GET", EXEC, websocket([frame(3, said[:10]), frame(3, said[10:])], then="hang"))
        assert nc(client, timeout=30).exit_code == 4

    @pytest.mark.parametrize("last", [[], [close_frame()]])
    def test_an_end_without_status_is_unknown(self, api: ScriptedApi, client: KubeClient, last: list[bytes]) -> None:
        api.on("GET", EXEC, websocket([frame(1, b"some"), *last]))
        result = nc(client)
        assert (result.stdout, result.exit_code) == (b"some", None)
        assert result.problem

    def test_one_deadline_over_all(self, api: ScriptedApi, client: KubeClient) -> None:
        api.on("GET", EXEC, websocket([frame(1, b"some")], then="hang"))
        result = nc(client, timeout=0.3)
        assert (result.stdout, result.exit_code, result.problem) == (b"some", None, "no end within 0.3 s")

    def test_output_does_not_put_off_the_deadline(self, api: ScriptedApi, client: KubeClient) -> None:
        api.on("GET", EXEC, websocket([], then="drip"))
        result = nc(client, timeout=0.3)
        assert result.stdout
        assert (result.exit_code, result.problem) == (None, "no end within 0.3 s")

    def test_goes_through_the_configured_proxy(self, api: ScriptedApi) -> None:
        # The scripted server is proxy and, on the same connection, the API server behind it.
        api.on("GET", EXEC, websocket([frame(3, exec_status(0))]))
        conf = Configuration()
        conf.host, conf.proxy = "http://api.invalid:6443", api.url
        with KubeClient(conf, connect_timeout=2) as client:
            with pytest.raises(Unreachable, match=r"the proxy refused the tunnel.*404"):
                nc(client)
            api.on("CONNECT", "6443", lambda exchange: exchange.head(200, {}))  # how urlsplit reads host:port
            assert nc(client).exit_code == 0

    def test_a_server_that_never_upgrades(self, api: ScriptedApi, client: KubeClient) -> None:
        api.on("GET", EXEC, silence)
        with pytest.raises(Unreachable, match=r"cannot get pods/exec api-0 in namespace cf: no answer .* 0\.3 s"):
            nc(client, timeout=0.3)

    def test_too_much_output(self, api: ScriptedApi, client: KubeClient) -> None:
        api.on("GET", EXEC, websocket([frame(1, b"x" * 600), frame(2, b"y" * 600)], then="hang"))
        result = nc(client, max_output=1000)
        assert (len(result.stdout), len(result.stderr), result.exit_code) == (600, 400, None)
        assert "more than 1000 bytes" in result.problem

    @pytest.mark.parametrize(
        ("code", "reason", "kind"),
        [(401, "Unauthorized", Unauthorized), (403, "Forbidden", Forbidden), (404, "NotFound", NotFound)],
    )
    def test_refusals_are_typed(
        self, api: ScriptedApi, client: KubeClient, code: int, reason: str, kind: type[KubeError]
    ) -> None:
        api.on("GET", EXEC, status(code, reason, "so it is"))
        with pytest.raises(kind) as caught:
            nc(client)
        assert str(caught.value) == f"cannot get pods/exec api-0 in namespace cf: {code} {reason}: so it is"
        assert (caught.value.verb, caught.value.resource) == ("get", "pods/exec")

    @pytest.mark.parametrize("answer", [reply({}), reply(b"", 302, {"Location": "http://127.0.0.1:1/"}), reset])
    def test_no_upgrade_is_an_error(self, api: ScriptedApi, client: KubeClient, answer: object) -> None:
        api.on("GET", EXEC, answer)  # type: ignore[arg-type]
        with pytest.raises(KubeError, match="cannot get pods/exec"):
            nc(client)

    def test_a_status_without_end(self, api: ScriptedApi, client: KubeClient) -> None:
        api.on("GET", EXEC, websocket([frame(3, b"x" * 65_000), frame(3, b"x" * 65_000)], then="hang"))
        assert "does not end" in nc(client).problem

    @pytest.mark.parametrize("command", [[], "ls"])
    def test_a_command_is_a_list(self, client: KubeClient, command: list[str]) -> None:
        with pytest.raises(ValueError, match="non-empty sequence"):
            run(client, "cf", "api-0", "api", command, timeout=1)

    def test_environment_proxies_are_not_used(
        self, api: ScriptedApi, client: KubeClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        api.on("GET", EXEC, websocket([frame(3, exec_status(0))]))
        assert nc(client).exit_code == 0


class TestExecStream:
    def test_ends_with_its_command(self, api: ScriptedApi, client: KubeClient) -> None:
        api.on("GET", EXEC, websocket([frame(1, b"a"), frame(2, b"w"), frame(1, b"b"), frame(3, exec_status(1))]))
        with ExecStream(client, "cf", "api-0", "api", ["tail", "-F", "x"]) as tail:
            assert list(tail) == [b"a", b"b"]
            assert (tail.ended, tail.exit_code, tail.stderr, tail.problem) == ("eof", 1, b"w", "")
            assert list(tail) == []

    def test_silence(self, api: ScriptedApi, client: KubeClient) -> None:
        api.on("GET", EXEC, websocket([frame(1, b"a")], then="hang"))
        with ExecStream(client, "cf", "api-0", "api", ["tail"], idle_timeout=0.1) as tail:
            assert list(tail) == [b"a"]
            assert (tail.ended, tail.exit_code, tail.problem) == ("idle", None, "no output for 0.1 s")

    @pytest.mark.parametrize("answer", [websocket([frame(1, b"a")], then="hang"), silence])
    def test_close_from_another_thread(self, api: ScriptedApi, client: KubeClient, answer: object) -> None:
        api.on("GET", EXEC, answer)  # type: ignore[arg-type]
        got: list[bytes] = []
        with ExecStream(client, "cf", "api-0", "api", ["tail"]) as tail:
            reader = threading.Thread(target=lambda: got.extend(tail))
            reader.start()
            api.wait_for(1)
            if answer is not silence:
                until(lambda: got == [b"a"])
            tail.close()
            reader.join(5)
            assert not reader.is_alive()
            assert (tail.ended, tail.exit_code) == ("closed", None)

    def test_a_broken_connection_is_an_error(self, api: ScriptedApi, client: KubeClient) -> None:
        api.on("GET", EXEC, websocket([frame(1, b"a")]))
        with ExecStream(client, "cf", "api-0", "api", ["tail"]) as tail:
            assert next(tail) == b"a"
            with pytest.raises(Unreachable):
                next(tail)

    def test_nonsense_frames(self, api: ScriptedApi, client: KubeClient) -> None:
        api.on("GET", EXEC, websocket([b"\xf3\x01x"], then="hang"))
        with ExecStream(client, "cf", "api-0", "api", ["tail"]) as tail, pytest.raises((Unreachable, NotUnderstood)):
            next(tail)

    def test_never_begun(self, client: KubeClient) -> None:
        with ExecStream(client, "cf", "api-0", "api", ["tail"]) as tail:
            pass
        assert tail.ended == "closed"
