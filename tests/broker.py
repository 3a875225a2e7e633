"""A RabbitMQ of the tests' own: one node for the session, a vhost for each test.

ATALAIA_TEST_AMQP_URL names a running one (its user must be an administrator, and its plugins
those of PLUGINS; the management port is ATALAIA_TEST_RABBITMQ_API or 15672). Else a private node
is started from the installed binary: own directory, cookie, ports and port mapper, loopback only.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import attrs
import httpx

PLUGINS = ("rabbitmq_management", "rabbitmq_mqtt")
INSTALL = "no rabbitmq-server: ./atalaia test --install-deps, or apt-get install rabbitmq-server"
# The one on Debian's PATH changes to another user; elsewhere the PATH has the real one.
SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
if not SERVER.exists():
    SERVER = Path(shutil.which("rabbitmq-server") or SERVER)
START_S = 60.0

CONFIGURATION = """\
listeners.tcp.1 = 127.0.0.1:{amqp}
management.tcp.ip = 127.0.0.1
management.tcp.port = {api}
mqtt.listeners.tcp.1 = 127.0.0.1:{mqtt}
mqtt.allow_anonymous = false
loopback_users = none
max_message_size = 8388608
disk_free_limit.absolute = 1MB
vm_memory_high_watermark.absolute = 1GB
log.console = false
log.file.level = warning
"""


@attrs.define(eq=False)
class Node:
    """Where a broker listens. directory, environment: of a private one, which can be killed."""

    amqp_url: str
    api_url: str
    mqtt_port: int
    directory: Path | None = None
    environment: Mapping[str, str] = attrs.field(factory=dict)
    process: "subprocess.Popen[bytes] | None" = None

    def api(self, method: str, path: str, json: object = None) -> httpx.Response:
        """A call of the management API as the administrator of amqp_url."""
        parts = urlsplit(self.amqp_url)
        auth = (parts.username or "guest", parts.password or "guest")
        response = httpx.request(method, self.api_url + path, json=json, auth=auth, timeout=30)
        response.raise_for_status()
        return response

    @contextmanager
    def vhost(self) -> Iterator[str]:
        """The URL of a fresh virtual host."""
        name = f"t{secrets.token_hex(6)}"
        user = urlsplit(self.amqp_url).username or "guest"
        self.api("PUT", f"/api/vhosts/{name}")
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        self.api("PUT", f"/api/permissions/{name}/{user}", everything)
        try:
            yield f"{self.amqp_url.rstrip('/')}/{name}"
        finally:
            self.api("DELETE", f"/api/vhosts/{name}")

    def start(self) -> None:
        """Start the private node and wait until every listener answers."""
        assert self.directory is not None
        said = self.directory / "said"
        with said.open("ab") as output:
            self.process = subprocess.Popen(
                [SERVER], env=self.environment, cwd=self.directory, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                self.api("GET", "/api/overview")  # the API comes first
                for port in (self.mqtt_port, urlsplit(self.amqp_url).port):
                    socket.create_connection(("127.0.0.1", port or 0), 1).close()
            except (httpx.HTTPError, OSError):
                time.sleep(0.1)
            else:
                return
        raise AssertionError(f"RabbitMQ does not start: {said.read_text()}")

    def kill(self) -> None:
        """End the private node as a power cut would; `start` finds its data again."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def reason_to_skip() -> str | None:
    """One line, or None when there is a broker or a way to start one."""
    if os.environ.get("ATALAIA_TEST_AMQP_URL") or SERVER.exists():
        return None
    return INSTALL


@contextmanager
def open_node() -> Iterator[Node]:
    """The named broker, or a private one while inside."""
    named = os.environ.get("ATALAIA_TEST_AMQP_URL")
    if named:
        host = urlsplit(named).hostname
        api = os.environ.get("ATALAIA_TEST_RABBITMQ_API", f"http://{host}:15672")
        yield Node(named, api, 1883)
        return
    directory = Path(tempfile.mkdtemp(prefix="atl-rmq-"))
    try:
        with _private(directory) as node:
            yield node
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _private(directory: Path) -> Iterator[Node]:
    amqp, api, mqtt, distribution, mapper = free_ports(5)
    (directory / "rabbitmq.conf").write_text(CONFIGURATION.format(amqp=amqp, api=api, mqtt=mqtt))
    (directory / "enabled_plugins").write_text(f"[{','.join(PLUGINS)}].\n")
    (directory / "env.conf").touch()
    cookie = directory / ".erlang.cookie"
    cookie.write_text(secrets.token_hex(16))
    cookie.chmod(0o400)
    environment = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ} | {
        "HOME": str(directory),
        "ERL_EPMD_PORT": str(mapper),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"atl-{amqp}@localhost",
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_CONF_ENV_FILE": str(directory / "env.conf"),
        "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq.conf"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(directory / "none.config"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "enabled_plugins"),
        "RABBITMQ_MNESIA_BASE": str(directory / "data"),
        "RABBITMQ_LOG_BASE": str(directory / "log"),
        "RABBITMQ_PID_FILE": str(directory / "node.pid"),
        # Few schedulers: the tests' machine has other things to do.
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS":
            "+S 2:2 +sbwt none -kernel inet_dist_use_interface {127,0,0,1}",
    }  # fmt: skip
    mapped = subprocess.Popen([_port_mapper(), "-port", str(mapper), "-address", "127.0.0.1"])
    url = f"amqp://guest:guest@127.0.0.1:{amqp}"
    node = Node(url, f"http://127.0.0.1:{api}", mqtt, directory, environment)
    try:
        node.start()
        yield node
    finally:
        node.kill()
        mapped.kill()
        mapped.wait()


def _port_mapper() -> str:
    """Erlang's. In a process of ours it ends with us; one that the node starts outlives it."""
    return shutil.which("epmd") or str(max(Path("/usr/lib/erlang").glob("erts-*/bin/epmd")))
