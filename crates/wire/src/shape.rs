//! Static shape tables: what the protocols interpret. Filled by `model`, generated.

/// A wire protocol of AWS services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `application/x-amz-json-1.0`, operation in `X-Amz-Target`.
    AwsJson1_0,
    /// `application/x-amz-json-1.1`, operation in `X-Amz-Target`.
    AwsJson1_1,
    /// Form in, XML out, operation in `Action`.
    AwsQuery,
    /// REST with JSON bodies, operation in method and path.
    RestJson1,
}

/// What a model says about a service as a whole.
#[derive(Debug)]
pub struct ServiceShape {
    /// Our name of the service, also the name of its module in `model`: `lambda`, `logs`.
    pub name: &'static str,
    /// The service's name in a signature's scope.
    pub signing_name: &'static str,
    /// The prefix of `X-Amz-Target` before the dot; empty where the protocol has none.
    pub target_prefix: &'static str,
    /// The API version, such as `2015-03-31`.
    pub api_version: &'static str,
    /// Protocols in order of preference.
    pub protocols: &'static [Protocol],
    /// Every operation of the model: name, method, path. Those without a line in the table are not served yet.
    pub operations: &'static [OperationName],
}

/// Name and HTTP binding of an operation, for identification.
#[derive(Debug, PartialEq, Eq)]
pub struct OperationName {
    /// Name, such as `CreateFunction`.
    pub name: &'static str,
    /// HTTP method.
    pub method: &'static str,
    /// URI template, such as `/2015-03-31/functions/{FunctionName}`.
    pub uri: &'static str,
}

/// Name, HTTP binding and shapes of an operation that we serve.
#[derive(Debug)]
pub struct OperationShape {
    /// Name, such as `CreateFunction`.
    pub name: &'static str,
}
