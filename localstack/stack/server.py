"""LocalStack's web server, on the loopback interface only, and its files in our folder only.

LocalStack's own server listens on every interface of the machine, whatever GATEWAY_LISTEN says, and its S3
writes below /tmp, whatever TMPDIR says. Chosen by GATEWAY_SERVER=loopback, so loaded before any service.
"""

import tempfile

from localstack import config
from localstack.runtime.server.core import RuntimeServer, RuntimeServerPlugin
from localstack.runtime.server.twisted import TwistedRuntimeServer
from localstack.services.s3 import provider as s3
from rolo.gateway import Gateway
from rolo.serving.twisted import TwistedGateway
from twisted.internet import endpoints, reactor

from stack import repairs


class LoopbackServerPlugin(RuntimeServerPlugin):
    """The entry point that LocalStack finds."""

    name = "loopback"

    def load(self, *_: object, **__: object) -> RuntimeServer:
        s3.DEFAULT_S3_TMP_DIR = f"{tempfile.gettempdir()}/s3"
        repairs.find_in_map_by_parameter()
        repairs.lists_of_deployed_parameters()
        repairs.answers_of_a_busy_machine()
        repairs.messages_that_are_being_received()
        return LoopbackServer()


class LoopbackServer(TwistedRuntimeServer):
    """Binds the very addresses it is given; plain HTTP."""

    def register(
        self, gateway: Gateway, listen: list[config.HostAndPort], ssl_creds: tuple[str, str] | None = None
    ) -> None:
        for address in listen:
            endpoint = endpoints.TCP4ServerEndpoint(reactor, address.port, interface=address.host)
            endpoint.listen(TwistedGateway(gateway))
