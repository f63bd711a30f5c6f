//! AWS's quotas of Lambda. Source: AWS Lambda developer guide, "Lambda quotas"; API model (botocore 1.44.5).

/// `MemorySize`, smallest, in MB.
pub const MEMORY_MB_MIN: i32 = 128;
/// `MemorySize`, largest without accelerators, in MB.
pub const MEMORY_MB_MAX: i32 = 10_240;
/// `MemorySize` when none is given, in MB.
pub const MEMORY_MB_DEFAULT: i32 = 128;
/// `Timeout`, largest for functions that are invoked directly, in seconds.
pub const TIMEOUT_S_MAX: i32 = 900;
/// `Timeout` when none is given, in seconds.
pub const TIMEOUT_S_DEFAULT: i32 = 3;
/// `EphemeralStorage.Size`, smallest and default, in MB.
pub const EPHEMERAL_MB_MIN: i32 = 512;
/// `EphemeralStorage.Size`, largest without accelerators, in MB.
pub const EPHEMERAL_MB_MAX: i32 = 10_240;
/// All environment variables together, as JSON, in bytes.
pub const ENVIRONMENT_BYTES_MAX: usize = 4_096;
/// Function name alone, in characters.
pub const NAME_LENGTH_MAX: usize = 64;
/// Package that comes with the request, zipped, in bytes.
pub const PACKAGE_ZIPPED_BYTES_MAX: u64 = 52_428_800;
/// Request of CreateFunction and UpdateFunctionCode, in bytes: the package in base64 and the rest. The figure is in AWS's message.
pub const PACKAGE_REQUEST_BYTES_MAX: u64 = 70_167_211;
/// Package and layers, unzipped, in bytes.
pub const PACKAGE_UNZIPPED_BYTES_MAX: u64 = 262_144_000;
/// Files, folders and links of one package. Ours: AWS has no such figure, a node's disk does.
pub const PACKAGE_NODES_MAX: u64 = 100_000;
/// Entries of all layers of one image. Ours, as above: AWS bounds bytes only.
pub const IMAGE_NODES_MAX: u64 = 1_000_000;
/// Zipped packages of one account in one region, in bytes (75 GB).
pub const ACCOUNT_CODE_BYTES_MAX: u64 = 80_530_636_800;
/// Concurrent executions of one account in one region.
pub const ACCOUNT_CONCURRENCY_MAX: i32 = 1_000;
/// `X-Amz-Client-Context` in base64, in bytes.
pub const CLIENT_CONTEXT_BYTES_MAX: usize = 3_583;
/// Functions in one answer of ListFunctions, whatever `MaxItems` says.
pub const LIST_FUNCTIONS_PAGE_MAX: usize = 50;
/// Capacity providers of one account in one region.
pub const ACCOUNT_CAPACITIES_MAX: usize = 1_000;
/// Capacity providers, or versions that use one, in one answer.
pub const LIST_CAPACITIES_PAGE_MAX: usize = 50;
/// Tags of one function.
pub const TAGS_MAX: usize = 50;
/// Time for which `Code.Location` can be fetched, in seconds.
pub const CODE_LINK_S_MAX: i64 = 600;
/// `Cors.MaxAge`, in seconds.
pub const CORS_MAX_AGE_S_MAX: i32 = 86_400;
/// Length of a function URL's id.
pub const URL_ID_LENGTH: usize = 32;
/// Layers of one function.
pub const FUNCTION_LAYERS_MAX: usize = 5;
/// Layers, or versions of one, in one answer.
pub const LIST_LAYERS_PAGE_MAX: usize = 50;
/// Event invoke configurations, URLs, provisioned concurrency, or code signing configurations and their functions in one
/// answer.
pub const LIST_CONFIGS_PAGE_MAX: usize = 50;
/// ARN of a signing profile version, in bytes. Source: CloudFormation, AWS::Lambda::CodeSigningConfig.
pub const SIGNING_PROFILE_BYTES_MAX: usize = 1_024;
/// A resource policy, in bytes.
pub const POLICY_BYTES_MAX: usize = 20_480;
/// Concurrency of an account that functions cannot reserve.
pub const UNRESERVED_CONCURRENCY_MIN: u32 = 100;
/// `MaximumRetryAttempts` when none is given.
pub const EVENT_RETRIES_DEFAULT: u32 = 2;
/// `MaximumEventAgeInSeconds` when none is given: six hours.
pub const EVENT_AGE_S_DEFAULT: u32 = 21_600;
/// Event of an asynchronous invocation, in bytes (1 MB).
pub const EVENT_BYTES_MAX: usize = 1_048_576;
