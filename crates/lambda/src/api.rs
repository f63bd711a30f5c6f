//! The table: one line per operation.

use model::lambda as m;
use wire::{Permission, Resource, Service};

use crate::facts::facts;
use crate::name::resource;
use crate::ops::{account, changes, functions, invoke, urls};
use crate::state::Lambda;

/// The service over `lambda`.
#[rustfmt::skip]
pub fn service(lambda: Lambda) -> Service {
    Service::table(&m::SERVICE, lambda)
        .op::<m::CreateFunction, _, _>             (functions::create,              "lambda:CreateFunction",              |cx, i| resource(cx, &i.function_name))
        .op::<m::GetFunction, _, _>                (functions::get,                 "lambda:GetFunction",                 |cx, i| resource(cx, &i.function_name))
        .op::<m::GetFunctionConfiguration, _, _>   (functions::get_configuration,   "lambda:GetFunctionConfiguration",    |cx, i| resource(cx, &i.function_name))
        .op::<m::UpdateFunctionCode, _, _>         (changes::update_code,           "lambda:UpdateFunctionCode",          |cx, i| resource(cx, &i.function_name))
        .op::<m::UpdateFunctionConfiguration, _, _>(changes::update_configuration,  "lambda:UpdateFunctionConfiguration", |cx, i| resource(cx, &i.function_name))
        .op::<m::ListFunctions, _, _>              (functions::list,                "lambda:ListFunctions",               |_, _| Resource::any())
        .op::<m::DeleteFunction, _, _>             (functions::delete,              "lambda:DeleteFunction",              |cx, i| resource(cx, &i.function_name))
        .op::<m::Invoke, _, _>                     (invoke::invoke,                 "lambda:InvokeFunction",              |cx, i| resource(cx, &i.function_name))
        .op::<m::CreateFunctionUrlConfig, _, _>    (urls::create,                   "lambda:CreateFunctionUrlConfig",     |cx, i| resource(cx, &i.function_name))
        .op::<m::GetFunctionUrlConfig, _, _>       (urls::get,                      "lambda:GetFunctionUrlConfig",        |cx, i| resource(cx, &i.function_name))
        .op::<m::UpdateFunctionUrlConfig, _, _>    (urls::update,                   "lambda:UpdateFunctionUrlConfig",     |cx, i| resource(cx, &i.function_name))
        .op::<m::DeleteFunctionUrlConfig, _, _>    (urls::delete,                   "lambda:DeleteFunctionUrlConfig",     |cx, i| resource(cx, &i.function_name))
        .op::<m::ListFunctionUrlConfigs, _, _>     (urls::list,                     "lambda:ListFunctionUrlConfigs",      |cx, i| resource(cx, &i.function_name))
        .op::<m::GetAccountSettings, _, _>         (account::get_settings,          "lambda:GetAccountSettings",          |_, _| Resource::any())
        .also::<m::CreateFunction>             (|_, i| pass_role(Some(&i.role)))
        .also::<m::UpdateFunctionConfiguration>(|_, i| pass_role(i.role.as_ref()))
        .facts(facts)
        .build()
}

fn pass_role(role: Option<&String>) -> Vec<Permission> {
    role.map(|role| Permission::pass_role(role, "lambda.amazonaws.com")).into_iter().collect()
}
