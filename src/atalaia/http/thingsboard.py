"""ThingsBoard's device API: `POST /api/v1/{token}/telemetry`, answered as `/v1/readings` is.

There a token stands for a device, here a key for a tenant; so the device is said beside it: as
`{key}:{device}` in the place of the token, or with `?device=`. Without either it is called by the
id of the key, which is right for a key of its own.
"""

import re

import attrs

from atalaia.http.faces import ReadingsFace, Scope
from atalaia.http.params import parameters
from atalaia.model.principal import Principal
from atalaia.wire.options import WireOptions

ROUTE = "/api/v1/<token>/telemetry"
_PATH = re.compile(r"/api/v1/([^/]+)/telemetry")


@attrs.frozen
class TelemetryFace(ReadingsFace):
    """The token is never logged: the route is."""

    route: str = ROUTE

    def credential(self, scope: Scope) -> str | None:
        return _token(scope)[0]

    def options(self, scope: Scope, principal: Principal, now_us: int) -> WireOptions:
        device = parameters(scope).get("device") or _token(scope)[1] or principal.key_id
        return WireOptions(format="thingsboard", sensor=device, now_us=now_us)


def is_telemetry(path: str) -> bool:
    return _PATH.fullmatch(path) is not None


def _token(scope: Scope) -> tuple[str, str]:
    """The key, and the device if it is named."""
    found = _PATH.fullmatch(scope["path"])
    key, _, device = (found[1] if found is not None else "").partition(":")
    return key, device
