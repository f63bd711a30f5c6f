"""Models of AWS services that botocore has read before it is known for which function: reading them is most of what a client takes.

    stand by: a loader reads them, by botocore's own methods, into its own cache
    init:     the first session gets this loader, every other makes one as ever

What was read is handed out once, so no two sessions share anything that they would not share otherwise.
"""

import contextlib
import functools
import gc
import os

# What every client reads …
COMMON = ("endpoints", "partitions", "sdk-default-configuration", "_retry")
# … what it reads of its service, and what `boto3.resource` reads of the few that have it.
OF_A_SERVICE = ("service-2", "endpoint-rule-set-1", "resources-1")


def read_ahead(services):
    """Reads the models of `services`; the loader that has, which botocore hands to the first session that is made."""
    import boto3
    from botocore import session
    from botocore.exceptions import DataNotFoundError

    make = session.create_loader
    loader = make()
    # Where sessions of boto3 look, too. They add it themselves.
    loader.search_paths.append(os.path.join(os.path.dirname(boto3.__file__), "data"))
    reads = [functools.partial(loader.load_data, name) for name in COMMON]
    for service in services:
        reads += [functools.partial(loader.load_service_model, service, kind, api_version=None) for kind in OF_A_SERVICE]
    for read in reads:
        with contextlib.suppress(DataNotFoundError):  # there is none of this kind
            read()
    loader.search_paths.pop()
    ahead = [loader]

    @functools.wraps(make)
    def create_loader(search_path_string=None):
        # Who looks elsewhere, too, may find other models there.
        if search_path_string is None and not os.path.exists(loader.CUSTOMER_DATA_PATH):
            session.create_loader = make
            try:
                return ahead.pop()
            except IndexError:
                pass  # another thread was faster
        return make(search_path_string)

    session.create_loader = create_loader
    return loader


def services_read(ahead=None):
    """Services whose models were read, by the loader that read ahead or by any that came after it."""
    from botocore.loaders import Loader

    loaders = [one for one in (ahead, *gc.get_referrers(Loader)) if type(one) is Loader]
    # What a loader keeps is named (method, service, kind, …).
    reads = [name for one in loaders for name in list(getattr(one, "_cache", ())) if name[0] == "load_service_model"]
    return sorted({name[1] for name in reads if name[2] == OF_A_SERVICE[0]})
