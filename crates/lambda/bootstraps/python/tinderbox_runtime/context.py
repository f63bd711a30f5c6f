"""The context object of a handler (docs.aws.amazon.com/lambda/latest/dg/python-context.html)."""

import os
import time

from tinderbox_runtime import sink


class _Fields:
    """An object whose attributes are the named keys of a dict; absent keys are None."""

    __slots__ = ()

    def __init__(self, values):
        for name in self.__slots__:
            setattr(self, name, values.get(name))

    def __repr__(self):
        fields = ",".join(f"{name}={getattr(self, name)}" for name in self.__slots__)
        return f"{type(self).__name__}([{fields}])"


class Client(_Fields):
    __slots__ = ("installation_id", "app_title", "app_version_name", "app_version_code", "app_package_name")


class ClientContext(_Fields):
    __slots__ = ("custom", "env", "client")

    def __init__(self, values):
        super().__init__(values)
        if self.client is not None:
            self.client = Client(self.client)


class CognitoIdentity(_Fields):
    __slots__ = ("cognito_identity_id", "cognito_identity_pool_id")

    def __init__(self, values):
        self.cognito_identity_id = values.get("cognitoIdentityId")
        self.cognito_identity_pool_id = values.get("cognitoIdentityPoolId")


class LambdaContext:
    @classmethod
    def configure(cls):
        """Reads what is the same for every invoke from the environment variables. Comes before the first object."""
        cls.function_name = os.environ.get("AWS_LAMBDA_FUNCTION_NAME")
        cls.function_version = os.environ.get("AWS_LAMBDA_FUNCTION_VERSION")
        cls.memory_limit_in_mb = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
        cls.log_group_name = os.environ.get("AWS_LAMBDA_LOG_GROUP_NAME")
        cls.log_stream_name = os.environ.get("AWS_LAMBDA_LOG_STREAM_NAME")

    def __init__(self, request_id, arn, deadline_ms, client_context, identity, tenant_id):
        self.aws_request_id = request_id
        self.invoked_function_arn = arn
        self.client_context = None if client_context is None else ClientContext(client_context)
        self.identity = CognitoIdentity(identity or {})
        self.tenant_id = tenant_id
        self._epoch_deadline_time_in_ms = deadline_ms

    def get_remaining_time_in_millis(self):
        return max(0, self._epoch_deadline_time_in_ms - int(time.time() * 1000))

    def log(self, message):
        sink.write(str(message))

    def __repr__(self):
        names = (
            "aws_request_id log_group_name log_stream_name function_name memory_limit_in_mb function_version "
            "invoked_function_arn client_context identity tenant_id"
        ).split()
        return "LambdaContext([" + ",".join(f"{name}={getattr(self, name)}" for name in names) + "])"
