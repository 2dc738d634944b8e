"""A mutating webhook that has nothing to do with any mesh: it adds a container to every pod.

Run with the folder of tls.crt and tls.key: other-injector.py FOLDER. Listens on port 8443.
"""

import base64
import http.server
import json
import ssl
import sys

LOGGER = {
    "name": "logger",
    "image": "docker.io/sidecar-lab/nginx:lab",
    "imagePullPolicy": "IfNotPresent",
    "command": ["sleep", "infinity"],
}


class Injector(http.server.BaseHTTPRequestHandler):
    """Answers AdmissionReviews of pods."""

    def do_POST(self) -> None:
        """Add the container where it is not there yet."""
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = review["request"]
        response = {"uid": request["uid"], "allowed": True}
        containers = request["object"]["spec"]["containers"]
        if all(one["name"] != LOGGER["name"] for one in containers):
            patch = [{"op": "add", "path": "/spec/containers/-", "value": LOGGER}]
            response["patchType"] = "JSONPatch"
            response["patch"] = base64.b64encode(json.dumps(patch).encode()).decode()
        body = json.dumps({**review, "request": None, "response": response}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(f"{sys.argv[1]}/tls.crt", f"{sys.argv[1]}/tls.key")
server = http.server.ThreadingHTTPServer(("", 8443), Injector)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
