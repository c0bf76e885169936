"""Locust's users: one idea a file. Each asks once a task and tells Locust when the request was due."""

from __future__ import annotations

from ..plan import Plan
from .asking import AskingUser
from .faces import FaceUser, ImageUser
from .mixed import MixedUser
from .posts import InferUser, PostUser
from .streams import StreamUser

__all__ = ["user_class"]

USERS: dict[tuple[str, str], type[AskingUser]] = {
    ("grpc", "face"): FaceUser,
    ("grpc", "image"): ImageUser,
    ("grpc", "mixed"): MixedUser,
    ("grpc", "stream"): StreamUser,
    ("kserve", "face"): InferUser,
    ("http", "face"): PostUser,
    ("http", "image"): PostUser,
}


def user_class(plan: Plan) -> type[AskingUser]:
    """The class of the users of one load, as many as it has in flight; ValueError where nobody can ask that."""
    kind = (plan.target.kind, plan.load.ask)
    if kind not in USERS:
        raise ValueError(f"load {plan.load.name!r}: {kind[1]} cannot be asked over {kind[0]}")
    values = {"plan": plan, "fixed_count": plan.load.in_flight}
    return type(f"{USERS[kind].__name__}_{plan.load.name}", (USERS[kind],), values)
