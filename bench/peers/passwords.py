"""What all peers sign in with: hashes as costly as Handover's, and tokens."""

import secrets
import time

import jwt
from pwdlib.hashers.argon2 import Argon2Hasher

HASHER = Argon2Hasher(time_cost=2, memory_cost=19456, parallelism=1, hash_len=32, salt_len=16)
_SECRET = secrets.token_bytes(32)


def token_for(user_id: object) -> dict[str, str]:
    token = jwt.encode({"sub": str(user_id), "exp": int(time.time()) + 900}, _SECRET, "HS256")
    return {"access_token": token, "token_type": "bearer"}
