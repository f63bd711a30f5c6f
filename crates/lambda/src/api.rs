//! The table: one line per operation.

use model::lambda as m;
use wire::{ConditionKeys, Cx, Permission, Resource, Service};

use crate::code_source::CodeObject;
use crate::facts::facts;
use crate::name::{alias_resource, qualified_resource, resource};
use crate::ops::capacity::capacity_resource;
use crate::ops::layers::{layer_arn_resource, layer_resource, layer_version_resource};
use crate::ops::{
    account, aliases, capacity, changes, code_signing, concurrency, event_invoke, functions, invoke, invoke_streaming,
    layer_permissions, layers, listing, permissions, provisioned, runtime_settings, tags, urls, versions,
};
use crate::state::Lambda;

/// The service over `lambda`.
#[rustfmt::skip]
pub fn service(lambda: Lambda) -> Service {
    lines(lambda)
        .also::<m::CreateFunction>             (|cx, i| {
            let object = CodeObject::of_code(&i.code).map(|object| object.permission());
            let capacity = passed_capacity(i.capacity_provider_config.as_ref());
            dependent(cx, Some(&i.role), i.layers.as_deref()).into_iter().chain(object).chain(capacity).collect()
        })
        .also::<m::UpdateFunctionCode>         (|_, i| CodeObject::of_update(i).map(|object| object.permission()).into_iter().collect())
        .also::<m::PublishLayerVersion>        (|_, i| CodeObject::of_layer(&i.content).map(|object| object.permission()).into_iter().collect())
        .also::<m::UpdateFunctionConfiguration>(|cx, i| {
            let capacity = passed_capacity(i.capacity_provider_config.as_ref());
            dependent(cx, i.role.as_ref(), i.layers.as_deref()).into_iter().chain(capacity).collect()
        })
        .also::<m::CreateCapacityProvider>     (|_, i| vec![Permission::pass_role(&i.permissions_config.capacity_provider_operator_role_arn, "lambda.amazonaws.com")])
        .keys::<m::CreateCapacityProvider>     (|_, i| request_tags(i.tags.iter().flatten()))
        .keys::<m::CreateFunction>             (|_, i| signing_keys(layer_keys(request_tags(i.tags.iter().flatten()), i.layers.as_deref()), i.code_signing_config_arn.as_ref()))
        .keys::<m::PutFunctionCodeSigningConfig>(|_, i| signing_keys(ConditionKeys::new(), Some(&i.code_signing_config_arn)))
        .keys::<m::CreateCodeSigningConfig>    (|_, i| request_tags(i.tags.iter().flatten()))
        .keys::<m::UpdateFunctionConfiguration>(|_, i| layer_keys(ConditionKeys::new(), i.layers.as_deref()))
        .keys::<m::AddPermission>              (|_, i| url_keys(i.function_url_auth_type).with("lambda:Principal", &i.principal))
        .keys::<m::CreateFunctionUrlConfig>    (|_, i| url_keys(Some(i.auth_type)))
        .keys::<m::UpdateFunctionUrlConfig>    (|_, i| url_keys(i.auth_type))
        .keys::<m::TagResource>   (|_, i| request_tags(&i.tags))
        .keys::<m::UntagResource> (|_, i| ConditionKeys::new().with_all("aws:TagKeys", i.tag_keys.iter().cloned()))
        .payload_type::<m::Invoke>("application/json")
        .facts(facts)
        .build()
}

#[rustfmt::skip]
fn of_capacity(table: wire::Table<Lambda>) -> wire::Table<Lambda> {
    table
        .op::<m::CreateCapacityProvider, _, _>            (capacity::create,                         "lambda:CreateCapacityProvider",             |cx, i| capacity_resource(cx, &i.capacity_provider_name))
        .op::<m::GetCapacityProvider, _, _>               (capacity::get,                            "lambda:GetCapacityProvider",                |cx, i| capacity_resource(cx, &i.capacity_provider_name))
        .op::<m::UpdateCapacityProvider, _, _>            (capacity::update,                         "lambda:UpdateCapacityProvider",             |cx, i| capacity_resource(cx, &i.capacity_provider_name))
        .op::<m::DeleteCapacityProvider, _, _>            (capacity::delete,                         "lambda:DeleteCapacityProvider",             |cx, i| capacity_resource(cx, &i.capacity_provider_name))
        .op::<m::ListCapacityProviders, _, _>             (capacity::list,                           "lambda:ListCapacityProviders",              |_, _| Resource::any())
        .op::<m::ListFunctionVersionsByCapacityProvider, _, _>(capacity::list_versions,              "lambda:ListFunctionVersionsByCapacityProvider", |cx, i| capacity_resource(cx, &i.capacity_provider_name))
        .op::<m::PutFunctionScalingConfig, _, _>          (capacity::put_scaling,                    "lambda:PutFunctionScalingConfig",           |cx, i| qualified_resource(cx, &i.function_name, Some(&i.qualifier)))
        .op::<m::GetFunctionScalingConfig, _, _>          (capacity::get_scaling,                    "lambda:GetFunctionScalingConfig",           |cx, i| qualified_resource(cx, &i.function_name, Some(&i.qualifier)))
}

#[rustfmt::skip]
fn lines(lambda: Lambda) -> wire::Table<Lambda> {
    of_capacity(Service::table(&m::SERVICE, lambda))
        .op::<m::CreateFunction, _, _>                    (functions::create,                        "lambda:CreateFunction",                     |cx, i| resource(cx, &i.function_name))
        .op::<m::GetFunction, _, _>                       (functions::get,                           "lambda:GetFunction",                        |cx, i| qualified_resource(cx, &i.function_name, i.qualifier.as_deref()))
        .op::<m::GetFunctionConfiguration, _, _>          (functions::get_configuration,             "lambda:GetFunctionConfiguration",           |cx, i| qualified_resource(cx, &i.function_name, i.qualifier.as_deref()))
        .op::<m::UpdateFunctionCode, _, _>                (changes::update_code,                     "lambda:UpdateFunctionCode",                 |cx, i| resource(cx, &i.function_name))
        .op::<m::UpdateFunctionConfiguration, _, _>       (changes::update_configuration,            "lambda:UpdateFunctionConfiguration",        |cx, i| resource(cx, &i.function_name))
        .op::<m::ListFunctions, _, _>                     (listing::functions,                       "lambda:ListFunctions",                      |_, _| Resource::any())
        .op::<m::DeleteFunction, _, _>                    (functions::delete,                        "lambda:DeleteFunction",                     |cx, i| qualified_resource(cx, &i.function_name, i.qualifier.as_deref()))
        .op::<m::PublishVersion, _, _>                    (versions::publish_version,                "lambda:PublishVersion",                     |cx, i| resource(cx, &i.function_name))
        .op::<m::ListVersionsByFunction, _, _>            (listing::versions,                        "lambda:ListVersionsByFunction",             |cx, i| resource(cx, &i.function_name))
        .op::<m::CreateAlias, _, _>                       (aliases::create,                          "lambda:CreateAlias",                        |cx, i| alias_resource(cx, &i.function_name, &i.name))
        .op::<m::GetAlias, _, _>                          (aliases::get,                             "lambda:GetAlias",                           |cx, i| alias_resource(cx, &i.function_name, &i.name))
        .op::<m::UpdateAlias, _, _>                       (aliases::update,                          "lambda:UpdateAlias",                        |cx, i| alias_resource(cx, &i.function_name, &i.name))
        .op::<m::DeleteAlias, _, _>                       (aliases::delete,                          "lambda:DeleteAlias",                        |cx, i| alias_resource(cx, &i.function_name, &i.name))
        .op::<m::ListAliases, _, _>                       (aliases::list,                            "lambda:ListAliases",                        |cx, i| resource(cx, &i.function_name))
        .op::<m::Invoke, _, _>                            (invoke::invoke,                           "lambda:InvokeFunction",                     |cx, i| qualified_resource(cx, &i.function_name, i.qualifier.as_deref()))
        .stream::<m::InvokeAsync, _, _>                   (invoke::invoke_async,                     "lambda:InvokeAsync",                        |cx, i| qualified_resource(cx, &i.function_name, None))
        .stream::<m::InvokeWithResponseStream, _, _>      (invoke_streaming::invoke_streaming,       "lambda:InvokeFunction",                     |cx, i| qualified_resource(cx, &i.function_name, i.qualifier.as_deref()))
        .op::<m::AddPermission, _, _>                     (permissions::add,                         "lambda:AddPermission",                      |cx, i| qualified_resource(cx, &i.function_name, i.qualifier.as_deref()))
        .op::<m::RemovePermission, _, _>                  (permissions::remove,                      "lambda:RemovePermission",                   |cx, i| qualified_resource(cx, &i.function_name, i.qualifier.as_deref()))
        .op::<m::GetPolicy, _, _>                         (permissions::get,                         "lambda:GetPolicy",                          |cx, i| qualified_resource(cx, &i.function_name, i.qualifier.as_deref()))
        .op::<m::TagResource, _, _>                       (tags::tag,                                "lambda:TagResource",                        |cx, i| tags::resource(cx, &i.resource))
        .op::<m::UntagResource, _, _>                     (tags::untag,                              "lambda:UntagResource",                      |cx, i| tags::resource(cx, &i.resource))
        .op::<m::ListTags, _, _>                          (tags::list,                               "lambda:ListTags",                           |cx, i| tags::resource(cx, &i.resource))
        .op::<m::PutFunctionConcurrency, _, _>            (concurrency::put,                         "lambda:PutFunctionConcurrency",             |cx, i| resource(cx, &i.function_name))
        .op::<m::GetFunctionConcurrency, _, _>            (concurrency::get,                         "lambda:GetFunctionConcurrency",             |cx, i| resource(cx, &i.function_name))
        .op::<m::DeleteFunctionConcurrency, _, _>         (concurrency::delete,                      "lambda:DeleteFunctionConcurrency",          |cx, i| resource(cx, &i.function_name))
        .op::<m::PutProvisionedConcurrencyConfig, _, _>   (provisioned::put,                         "lambda:PutProvisionedConcurrencyConfig",    |cx, i| qualified_resource(cx, &i.function_name, Some(&i.qualifier)))
        .op::<m::GetProvisionedConcurrencyConfig, _, _>   (provisioned::get,                         "lambda:GetProvisionedConcurrencyConfig",    |cx, i| qualified_resource(cx, &i.function_name, Some(&i.qualifier)))
        .op::<m::ListProvisionedConcurrencyConfigs, _, _> (provisioned::list,                        "lambda:ListProvisionedConcurrencyConfigs",  |cx, i| resource(cx, &i.function_name))
        .op::<m::DeleteProvisionedConcurrencyConfig, _, _>(provisioned::delete,                      "lambda:DeleteProvisionedConcurrencyConfig", |cx, i| qualified_resource(cx, &i.function_name, Some(&i.qualifier)))
        .op::<m::PutFunctionEventInvokeConfig, _, _>      (event_invoke::put,                        "lambda:PutFunctionEventInvokeConfig",       |cx, i| qualified_resource(cx, &i.function_name, i.qualifier.as_deref()))
        .op::<m::UpdateFunctionEventInvokeConfig, _, _>   (event_invoke::update,                     "lambda:UpdateFunctionEventInvokeConfig",    |cx, i| qualified_resource(cx, &i.function_name, i.qualifier.as_deref()))
        .op::<m::GetFunctionEventInvokeConfig, _, _>      (event_invoke::get,                        "lambda:GetFunctionEventInvokeConfig",       |cx, i| qualified_resource(cx, &i.function_name, i.qualifier.as_deref()))
        .op::<m::DeleteFunctionEventInvokeConfig, _, _>   (event_invoke::delete,                     "lambda:DeleteFunctionEventInvokeConfig",    |cx, i| qualified_resource(cx, &i.function_name, i.qualifier.as_deref()))
        .op::<m::ListFunctionEventInvokeConfigs, _, _>    (event_invoke::list,                       "lambda:ListFunctionEventInvokeConfigs",     |cx, i| resource(cx, &i.function_name))
        .op::<m::CreateFunctionUrlConfig, _, _>           (urls::create,                             "lambda:CreateFunctionUrlConfig",            |cx, i| qualified_resource(cx, &i.function_name, i.qualifier.as_deref()))
        .op::<m::GetFunctionUrlConfig, _, _>              (urls::get,                                "lambda:GetFunctionUrlConfig",               |cx, i| qualified_resource(cx, &i.function_name, i.qualifier.as_deref()))
        .op::<m::UpdateFunctionUrlConfig, _, _>           (urls::update,                             "lambda:UpdateFunctionUrlConfig",            |cx, i| qualified_resource(cx, &i.function_name, i.qualifier.as_deref()))
        .op::<m::DeleteFunctionUrlConfig, _, _>           (urls::delete,                             "lambda:DeleteFunctionUrlConfig",            |cx, i| qualified_resource(cx, &i.function_name, i.qualifier.as_deref()))
        .op::<m::ListFunctionUrlConfigs, _, _>            (urls::list,                               "lambda:ListFunctionUrlConfigs",             |cx, i| resource(cx, &i.function_name))
        .op::<m::GetFunctionRecursionConfig, _, _>        (runtime_settings::get_recursion,          "lambda:GetFunctionRecursionConfig",         |cx, i| resource(cx, &i.function_name))
        .op::<m::PutFunctionRecursionConfig, _, _>        (runtime_settings::put_recursion,          "lambda:PutFunctionRecursionConfig",         |cx, i| resource(cx, &i.function_name))
        .op::<m::GetRuntimeManagementConfig, _, _>        (runtime_settings::get_runtime_management, "lambda:GetRuntimeManagementConfig",         |cx, i| qualified_resource(cx, &i.function_name, i.qualifier.as_deref()))
        .op::<m::PutRuntimeManagementConfig, _, _>        (runtime_settings::put_runtime_management, "lambda:PutRuntimeManagementConfig",         |cx, i| qualified_resource(cx, &i.function_name, i.qualifier.as_deref()))
        .op::<m::CreateCodeSigningConfig, _, _>           (code_signing::create,                     "lambda:CreateCodeSigningConfig",            |_, _| Resource::any())
        .op::<m::GetCodeSigningConfig, _, _>              (code_signing::get,                        "lambda:GetCodeSigningConfig",               |_, i| Resource::arn(&i.code_signing_config_arn))
        .op::<m::UpdateCodeSigningConfig, _, _>           (code_signing::update,                     "lambda:UpdateCodeSigningConfig",            |_, i| Resource::arn(&i.code_signing_config_arn))
        .op::<m::DeleteCodeSigningConfig, _, _>           (code_signing::delete,                     "lambda:DeleteCodeSigningConfig",            |_, i| Resource::arn(&i.code_signing_config_arn))
        .op::<m::ListCodeSigningConfigs, _, _>            (code_signing::list,                       "lambda:ListCodeSigningConfigs",             |_, _| Resource::any())
        .op::<m::ListFunctionsByCodeSigningConfig, _, _>  (code_signing::list_functions,             "lambda:ListFunctionsByCodeSigningConfig",   |_, i| Resource::arn(&i.code_signing_config_arn))
        .op::<m::PutFunctionCodeSigningConfig, _, _>      (code_signing::put_for_function,           "lambda:PutFunctionCodeSigningConfig",       |cx, i| with_config(&i.code_signing_config_arn, resource(cx, &i.function_name)))
        .op::<m::GetFunctionCodeSigningConfig, _, _>      (code_signing::get_for_function,           "lambda:GetFunctionCodeSigningConfig",       |cx, i| resource(cx, &i.function_name))
        .op::<m::DeleteFunctionCodeSigningConfig, _, _>   (code_signing::delete_for_function,        "lambda:DeleteFunctionCodeSigningConfig",    |cx, i| resource(cx, &i.function_name))
        .op::<m::PublishLayerVersion, _, _>               (layers::publish,                          "lambda:PublishLayerVersion",                |cx, i| layer_resource(cx, &i.layer_name))
        .op::<m::GetLayerVersion, _, _>                   (layers::get,                              "lambda:GetLayerVersion",                    |cx, i| layer_version_resource(cx, &i.layer_name, i.version_number))
        .op::<m::GetLayerVersionByArn, _, _>              (layers::get_by_arn,                       "lambda:GetLayerVersion",                    |cx, i| layer_arn_resource(cx, &i.arn))
        .op::<m::ListLayers, _, _>                        (layers::list_layers,                      "lambda:ListLayers",                         |_, _| Resource::any())
        .op::<m::ListLayerVersions, _, _>                 (layers::list_versions,                    "lambda:ListLayerVersions",                  |cx, i| layer_resource(cx, &i.layer_name))
        .op::<m::DeleteLayerVersion, _, _>                (layers::delete,                           "lambda:DeleteLayerVersion",                 |cx, i| layer_version_resource(cx, &i.layer_name, i.version_number))
        .op::<m::AddLayerVersionPermission, _, _>         (layer_permissions::add,                   "lambda:AddLayerVersionPermission",          |cx, i| layer_version_resource(cx, &i.layer_name, i.version_number))
        .op::<m::RemoveLayerVersionPermission, _, _>      (layer_permissions::remove,                "lambda:RemoveLayerVersionPermission",       |cx, i| layer_version_resource(cx, &i.layer_name, i.version_number))
        .op::<m::GetLayerVersionPolicy, _, _>             (layer_permissions::get,                   "lambda:GetLayerVersionPolicy",              |cx, i| layer_version_resource(cx, &i.layer_name, i.version_number))
        .op::<m::GetAccountSettings, _, _>                (account::get_settings,                    "lambda:GetAccountSettings",                 |_, _| Resource::any())
}

/// Whoever attaches a role must be allowed to hand it over, and whoever uses a layer to read it.
fn dependent(cx: &Cx, role: Option<&String>, layers: Option<&[String]>) -> Vec<Permission> {
    let role = role.map(|role| Permission::pass_role(role, "lambda.amazonaws.com"));
    let layer = |arn: &String| Permission::new("lambda:GetLayerVersion", layer_arn_resource(cx, arn));
    role.into_iter().chain(layers.unwrap_or_default().iter().map(layer)).collect()
}

/// Whoever puts a function on a capacity provider must be allowed to hand that over.
fn passed_capacity(given: Option<&m::CapacityProviderConfig>) -> Option<Permission> {
    let arn = &given?.lambda_managed_instances_capacity_provider_config.capacity_provider_arn;
    Some(Permission::new("lambda:PassCapacityProvider", Resource::arn(arn.clone())))
}

fn layer_keys(keys: ConditionKeys, layers: Option<&[String]>) -> ConditionKeys {
    keys.with_all("lambda:Layer", layers.unwrap_or_default().iter().cloned())
}

fn signing_keys(keys: ConditionKeys, config: Option<&String>) -> ConditionKeys {
    keys.with_some("lambda:CodeSigningConfigArn", config)
}

/// Whoever gives a function a configuration is asked about both.
fn with_config(config: &str, function: Resource) -> Resource {
    Resource([vec![config.to_owned()], function.0].concat())
}

fn url_keys(auth: Option<m::FunctionUrlAuthType>) -> ConditionKeys {
    ConditionKeys::new().with_all("lambda:FunctionUrlAuthType", auth.map(|auth| auth.as_str().to_owned()))
}

fn request_tags<'t>(tags: impl IntoIterator<Item = (&'t String, &'t String)>) -> ConditionKeys {
    ConditionKeys::new().with_request_tags(tags.into_iter().map(|(name, value)| (name.as_str(), value.as_str())))
}
