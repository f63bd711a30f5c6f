"""What boto3 does before the first request, done before it is known for which function: it reads models of services, which is most of
what a client takes, and registers the handlers of a session.

    stand by: a rehearsal makes clients and forgets them; the loader has read the models then, and a session is made
    init:     the first session that the function makes is this one, and gets this loader; every other is made as ever

Each is handed out once, so nobody shares anything that would not be shared otherwise.
"""

import contextlib
import functools
import os

# The one variable that a session reads when it is made. It is read anew when the session is handed out.
READ_BY_A_SESSION = {"AWS_EXECUTION_ENV"}


def prepare(services):
    """Does it for clients of these services; the loader that has read their models."""
    from botocore import session

    loader = session.create_loader()
    _rehearse(loader, services)
    _answer_once(session, "create_loader", lambda: loader, functools.partial(_looks_nowhere_else, loader))
    _make_session_ahead(session)
    return loader


def _rehearse(loader, services):
    import boto3
    from botocore.exceptions import UnknownServiceError
    from botocore.session import Session

    rehearsed = Session()
    rehearsed.register_component("data_loader", loader)
    paths = list(loader.search_paths)
    session = boto3.session.Session("key", "secret", region_name="us-east-1", botocore_session=rehearsed)
    resources = session.get_available_resources()
    for service in services:
        with contextlib.suppress(UnknownServiceError):
            session.client(service)
            if service in resources:
                session.resource(service)
    loader.search_paths[:] = paths  # each session of boto3 adds its own


def _looks_nowhere_else(loader, search_path_string=None):
    """Who looks elsewhere, too, may find other models there."""
    return search_path_string is None and not os.path.exists(loader.CUSTOMER_DATA_PATH)


def _make_session_ahead(module):
    import botocore
    from botocore.handlers import BUILTIN_HANDLERS

    variables, session = _variables_read(module.get_session)
    if not variables <= READ_BY_A_SESSION:
        return  # another botocore than those that we know

    def ingredients():
        return module.Session, list(BUILTIN_HANDLERS), list(getattr(botocore, "_INITIALIZERS", ()))  # since 1.24

    now = ingredients()

    def hand_out():
        if variables:
            session._register_user_agent_creator()
        return session

    _answer_once(module, "get_session", hand_out, lambda env_vars=None: env_vars is None and ingredients() == now)


def _variables_read(act):
    """The names of the environment variables that `act` reads, and what it answers."""
    kind, read = type(os.environ), set()
    original = kind.__getitem__

    def watched(self, name):
        read.add(name)
        return original(self, name)

    kind.__getitem__ = watched
    try:
        return read, act()
    finally:
        kind.__getitem__ = original


def _answer_once(module, name, hand_out, fits):
    """Has a function of a module answer what `hand_out` does, at its first call with arguments that fit."""
    original = getattr(module, name)
    ahead = [hand_out]

    @functools.wraps(original)
    def answer(*args, **kwargs):
        if fits(*args, **kwargs):
            setattr(module, name, original)
            with contextlib.suppress(IndexError):  # another thread was faster
                return ahead.pop()()
        return original(*args, **kwargs)

    setattr(module, name, answer)


def services_used(loader, modules):
    """Services of which the default session, or the one that got this loader, has read the models, or of which one of these modules
    keeps a client. Others are not looked for: that would take long in a process with many objects."""
    import boto3
    from boto3.resources.base import ServiceResource
    from botocore.client import BaseClient

    loaders = (loader, getattr(boto3.DEFAULT_SESSION, "_loader", None))
    # What a loader keeps is named (method, service, kind, …).
    names = (name for one in loaders for name in list(getattr(one, "_cache", ())))
    services = {name[1] for name in names if name[0] == "load_service_model" and name[2] == "service-2"}
    for value in (value for module in modules for value in list(vars(module).values())):
        client = value.meta.client if isinstance(value, ServiceResource) else value
        if isinstance(client, BaseClient):
            services.add(client.meta.service_model.service_name)
    return sorted(services)
