"""EC2's replies, made and changed. Pure."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Collection
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment
    from werkzeug.wrappers import Response

NAMESPACE = b"http://ec2.amazonaws.com/doc/2016-11-15"
STATE = re.compile(rb"<instanceState>.*?</instanceState>", re.DOTALL)
TERMINATED = b"<instanceState><code>48</code><name>terminated</name></instanceState>"
INSTANCE_ID = re.compile(rb"<instanceId>(i-[0-9a-f]+)</instanceId>")


class Refused(Exception):  # noqa: N818 - an answer, not a fault of ours
    """EC2 says no."""

    def __init__(self, code: str, message: str, status: int) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


def plain(status: int, content: dict[str, Any]) -> Response:
    from werkzeug.wrappers import Response

    return Response(json.dumps(content), status, mimetype="application/json")


def error(refused: Refused) -> Response:
    """In EC2's shape of an error."""
    from werkzeug.wrappers import Response

    text = (
        '<?xml version="1.0" encoding="UTF-8"?><Response><Errors><Error>'
        f"<Code>{escape(refused.code)}</Code><Message>{escape(refused.message)}</Message>"
        "</Error></Errors><RequestID>sandbox</RequestID></Response>"
    )
    return Response(text, refused.status, mimetype="text/xml")


def from_app(app: WSGIApplication, environ: WSGIEnvironment, body: bytes) -> Response:
    """What the application answers, with the namespace as AWS writes it: a slash at its end."""
    from werkzeug.wrappers import Response

    reply = Response.from_app(app, {**environ, "wsgi.input": io.BytesIO(body)}, buffered=True)
    return _with(reply, reply.get_data().replace(NAMESPACE + b'"', NAMESPACE + b'/"'))


def halved(reply: Response) -> Response:
    """Cut in the middle, with a length right for the half: it arrives and does not parse."""
    whole = reply.get_data()
    return _with(reply, whole[: len(whole) // 2])


def terminated(reply: Response) -> Response:
    """The same instances, all of them terminated since."""
    return _with(reply, STATE.sub(TERMINATED, reply.get_data()))


def instance_ids(reply: Response) -> list[str]:
    """The instances in a good reply, each once."""
    if reply.status_code != 200:
        return []
    return list(dict.fromkeys(item.decode() for item in INSTANCE_ID.findall(reply.get_data())))


def without_instances(reply: Response, hidden: Collection[str]) -> Response:
    """A DescribeInstances reply that does not show some of them."""
    if reply.status_code != 200:
        return reply
    space = f"{{{NAMESPACE.decode()}/}}"
    root = ET.fromstring(reply.get_data())  # noqa: S314 - the emulator's, in this process
    for reservations in root.iter(f"{space}reservationSet"):
        for item in list(reservations):
            shown = {found.text for found in item.iter(f"{space}instanceId")}
            if shown & set(hidden):
                reservations.remove(item)
    ET.register_namespace("", space.strip("{}"))
    return _with(reply, ET.tostring(root, encoding="utf-8", xml_declaration=True))


def _with(reply: Response, body: bytes) -> Response:
    from werkzeug.wrappers import Response

    headers = [(key, value) for key, value in reply.headers if key.lower() != "content-length"]
    return Response(body, reply.status_code, headers)
