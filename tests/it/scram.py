"""A SCRAM-SHA-256 client written from RFC 5802 alone, so that it agrees with the broker only where both agree with it."""

import base64
import hashlib
import hmac
import os


def _mac(key, text):
    return hmac.new(key, text, hashlib.sha256).digest()


class Scram:
    """One exchange: `first()`, then `final(server_first)`, then `verify(server_final)`."""

    def __init__(self, user, password, gs2="n,,"):
        self.user, self.password, self.gs2 = user, password, gs2
        self.nonce = base64.b64encode(os.urandom(18)).decode().replace(",", "")
        escaped = user.replace("=", "=3D").replace(",", "=2C")
        self.bare = f"n={escaped},r={self.nonce}"
        self.server_signature = None

    def first(self):
        return (self.gs2 + self.bare).encode()

    def final(self, answer, binding=None, nonce=None):
        answer = answer.decode()
        fields = dict(part.split("=", 1) for part in answer.split(","))
        assert fields["r"].startswith(self.nonce) and len(fields["r"]) > len(self.nonce), answer
        self.salt, self.iterations = base64.b64decode(fields["s"]), int(fields["i"])
        salted = hashlib.pbkdf2_hmac("sha256", self.password.encode(), self.salt, self.iterations)
        client_key = _mac(salted, b"Client Key")
        stored_key = hashlib.sha256(client_key).digest()
        header = base64.b64encode((binding or self.gs2).encode()).decode()
        without_proof = f"c={header},r={nonce or fields['r']}"
        message = f"{self.bare},{answer},{without_proof}".encode()
        signature = _mac(stored_key, message)
        proof = bytes(a ^ b for a, b in zip(client_key, signature))
        self.server_signature = _mac(_mac(salted, b"Server Key"), message)
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()

    def verify(self, last):
        assert last == b"v=" + base64.b64encode(self.server_signature), last
