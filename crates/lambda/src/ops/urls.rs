//! Function URL configurations: create, get, update, delete, list.

use kv::Txn;
use model::lambda as m;
use wire::Cx;

use crate::error::LambdaError;
use crate::keys::{self, Key, UrlAuth, UrlOwner, UrlRecord};
use crate::limits::{CORS_MAX_AGE_S_MAX, LIST_CONFIGS_PAGE_MAX, URL_ID_LENGTH};
use crate::name::FunctionName;
use crate::pages;
use crate::qualifier::{Qualifier, resolve};
use crate::state::{Lambda, url_time};
use crate::tenancy;
use crate::url::cors::Cors;

const ID_ALPHABET: &str = "abcdefghijklmnopqrstuvwxyz0123456789";
const METHODS: [&str; 7] = ["GET", "PUT", "HEAD", "POST", "PATCH", "DELETE", "*"];

fn url_key<'a>(cx: &'a Cx, name: &'a FunctionName) -> Key<'a> {
    Key::Url(name.place(cx), name.qualifier.as_deref())
}

/// The function, or the alias of it, that an operation means. Versions have no URL.
fn target(cx: &Cx, given: &str, qualifier: Option<&str>) -> Result<FunctionName, LambdaError> {
    let name = FunctionName::parse(cx, given, qualifier)?;
    match Qualifier::of(name.qualifier.as_deref()) {
        Qualifier::Latest if name.qualifier.is_none() => Ok(name),
        Qualifier::Alias(_) => Ok(name),
        Qualifier::Latest | Qualifier::Number(_) => {
            Err(LambdaError::invalid("A function URL can be for a function or for an alias, and not for a version."))
        }
    }
}

/// The function's URL; AWS's text when there is none (T14: always 404, tools steer by it).
async fn existing(tx: &Txn, cx: &Cx, name: &FunctionName) -> Result<UrlRecord, LambdaError> {
    let found = keys::get(tx, &url_key(cx, name)).await?;
    let absent = "The resource you requested does not exist.";
    found.ok_or_else(|| LambdaError::ResourceNotFoundException(absent.to_owned()))
}

/// Whether the answer of the function's URL streams.
fn streams(asked: m::InvokeMode) -> bool {
    asked == m::InvokeMode::ResponseStream
}

fn shown_mode(streams: bool) -> Option<m::InvokeMode> {
    Some(if streams { m::InvokeMode::ResponseStream } else { m::InvokeMode::Buffered })
}

fn auth(given: m::FunctionUrlAuthType) -> UrlAuth {
    match given {
        m::FunctionUrlAuthType::None => UrlAuth::None,
        m::FunctionUrlAuthType::AwsIam => UrlAuth::AwsIam,
    }
}

fn shown_auth(auth: UrlAuth) -> m::FunctionUrlAuthType {
    match auth {
        UrlAuth::None => m::FunctionUrlAuthType::None,
        UrlAuth::AwsIam => m::FunctionUrlAuthType::AwsIam,
    }
}

/// `Cors`, checked: what a header cannot carry would be lost in silence later.
fn cors(given: m::Cors) -> Result<Option<Cors>, LambdaError> {
    let lists = [&given.allow_headers, &given.allow_methods, &given.allow_origins, &given.expose_headers];
    let visible = |text: &String| text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    if let Some(bad) = lists.into_iter().flatten().flatten().find(|text| !visible(text)) {
        return Err(LambdaError::invalid(format!("{bad:?} in Cors cannot be sent in a header.")));
    }
    let methods = given.allow_methods.iter().flatten();
    if let Some(bad) = methods.into_iter().find(|method| !METHODS.contains(&method.as_str())) {
        return Err(LambdaError::invalid(format!("{bad:?} in Cors.AllowMethods is none of {}.", METHODS.join(", "))));
    }
    let max_age_s = match given.max_age {
        Some(age) if (0..=CORS_MAX_AGE_S_MAX).contains(&age) => u32::try_from(age).ok(),
        Some(_) => {
            return Err(LambdaError::invalid(format!("Cors.MaxAge must be between 0 and {CORS_MAX_AGE_S_MAX}.")));
        }
        None => None,
    };
    let cors = Cors {
        allow_credentials: given.allow_credentials,
        allow_headers: given.allow_headers,
        allow_methods: given.allow_methods,
        allow_origins: given.allow_origins,
        expose_headers: given.expose_headers,
        max_age_s,
    };
    // `Cors: {}` means none: that is how an update removes it.
    Ok(Some(cors).filter(|cors| *cors != Cors::default()))
}

fn shown_cors(cors: Cors) -> m::Cors {
    m::Cors {
        allow_credentials: cors.allow_credentials,
        allow_headers: cors.allow_headers,
        allow_methods: cors.allow_methods,
        allow_origins: cors.allow_origins,
        expose_headers: cors.expose_headers,
        max_age: cors.max_age_s.and_then(|age| i32::try_from(age).ok()),
    }
}

/// `http://ID.lambda-url.REGION.DOMAIN[:PORT]/`, with the port that the caller reached us at.
fn function_url(lambda: &Lambda, cx: &Cx, id: &str) -> String {
    let port = cx.host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let port = port.map(|(_, port)| format!(":{port}")).unwrap_or_default();
    format!("http://{id}.lambda-url.{}.{}{port}/", cx.region, lambda.config.url_domain)
}

fn shown(lambda: &Lambda, cx: &Cx, name: &FunctionName, record: UrlRecord) -> m::FunctionUrlConfig {
    m::FunctionUrlConfig {
        auth_type: shown_auth(record.auth),
        cors: record.cors.map(shown_cors),
        creation_time: url_time(sys::Timestamp::from_unix_us(record.created_us)),
        function_arn: name.qualified_arn(cx),
        function_url: function_url(lambda, cx, &record.id),
        invoke_mode: shown_mode(record.streams),
        last_modified_time: url_time(sys::Timestamp::from_unix_us(record.last_modified_us)),
    }
}

pub(crate) async fn create(
    lambda: Lambda,
    cx: Cx,
    input: m::CreateFunctionUrlConfigInput,
) -> Result<m::CreateFunctionUrlConfigOutput, LambdaError> {
    let name = target(&cx, &input.function_name, input.qualifier.as_deref())?;
    let now_us = lambda.clock.now().unix_us();
    let record = UrlRecord {
        id: lambda.rng.string(ID_ALPHABET, URL_ID_LENGTH),
        auth: auth(input.auth_type),
        cors: input.cors.map(cors).transpose()?.flatten(),
        created_us: now_us,
        last_modified_us: now_us,
        streams: input.invoke_mode.is_some_and(streams),
    };
    lambda
        .kv
        .transact(|tx| {
            let (cx, name, record) = (&cx, &name, &record);
            async move {
                match resolve(&tx, cx, name, 1.0).await {
                    Ok(resolved) => tenancy::refuse(&resolved.record, "A function URL")?,
                    Err(error) if error.is_absence() => {
                        return Err(LambdaError::ResourceNotFoundException("Function does not exist".to_owned()));
                    }
                    Err(error) => return Err(error),
                }
                if keys::get::<UrlRecord>(&tx, &url_key(cx, name)).await?.is_some() {
                    return Err(LambdaError::ResourceConflictException(format!(
                        "Failed to create function url config for [functionArn = {}]. Error message:  FunctionUrlConfig \
                         exists for this Lambda function",
                        name.arn(cx)
                    )));
                }
                let owner = UrlOwner {
                    account: cx.account.as_str().to_owned(),
                    region: cx.region.clone(),
                    name: name.name.clone(),
                    alias: name.qualifier.clone(),
                };
                keys::set(&tx, &url_key(cx, name), record);
                keys::set(&tx, &Key::UrlOwner { id: &record.id }, &owner);
                Ok(())
            }
        })
        .await?;
    let shown = shown(&lambda, &cx, &name, record);
    Ok(m::CreateFunctionUrlConfigOutput {
        auth_type: shown.auth_type,
        cors: shown.cors,
        creation_time: shown.creation_time,
        function_arn: shown.function_arn,
        function_url: shown.function_url,
        invoke_mode: shown.invoke_mode,
    })
}

pub(crate) async fn get(
    lambda: Lambda,
    cx: Cx,
    input: m::GetFunctionUrlConfigInput,
) -> Result<m::GetFunctionUrlConfigOutput, LambdaError> {
    let name = target(&cx, &input.function_name, input.qualifier.as_deref())?;
    let (cx, name) = (&cx, &name);
    let record = lambda.kv.read(|tx| async move { existing(&tx, cx, name).await }).await?;
    let shown = shown(&lambda, cx, name, record);
    Ok(m::GetFunctionUrlConfigOutput {
        auth_type: shown.auth_type,
        cors: shown.cors,
        creation_time: shown.creation_time,
        function_arn: shown.function_arn,
        function_url: shown.function_url,
        invoke_mode: shown.invoke_mode,
        last_modified_time: shown.last_modified_time,
    })
}

pub(crate) async fn update(
    lambda: Lambda,
    cx: Cx,
    input: m::UpdateFunctionUrlConfigInput,
) -> Result<m::UpdateFunctionUrlConfigOutput, LambdaError> {
    let name = target(&cx, &input.function_name, input.qualifier.as_deref())?;
    let new_cors = input.cors.map(cors).transpose()?;
    let new_mode = input.invoke_mode.map(streams);
    let now_us = lambda.clock.now().unix_us();
    let record = lambda
        .kv
        .transact(|tx| {
            let (cx, name, new_cors) = (&cx, &name, &new_cors);
            async move {
                let mut record = existing(&tx, cx, name).await?;
                record.auth = input.auth_type.map_or(record.auth, auth);
                if let Some(cors) = new_cors {
                    record.cors = cors.clone();
                }
                record.streams = new_mode.unwrap_or(record.streams);
                record.last_modified_us = now_us;
                keys::set(&tx, &url_key(cx, name), &record);
                Ok::<_, LambdaError>(record)
            }
        })
        .await?;
    let shown = shown(&lambda, &cx, &name, record);
    Ok(m::UpdateFunctionUrlConfigOutput {
        auth_type: shown.auth_type,
        cors: shown.cors,
        creation_time: shown.creation_time,
        function_arn: shown.function_arn,
        function_url: shown.function_url,
        invoke_mode: shown.invoke_mode,
        last_modified_time: shown.last_modified_time,
    })
}

pub(crate) async fn delete(
    lambda: Lambda,
    cx: Cx,
    input: m::DeleteFunctionUrlConfigInput,
) -> Result<m::DeleteFunctionUrlConfigOutput, LambdaError> {
    let name = target(&cx, &input.function_name, input.qualifier.as_deref())?;
    lambda
        .kv
        .transact(|tx| {
            let (cx, name) = (&cx, &name);
            async move {
                let record = existing(&tx, cx, name).await?;
                tx.clear(url_key(cx, name).pack());
                tx.clear(Key::UrlOwner { id: &record.id }.pack());
                Ok::<_, LambdaError>(())
            }
        })
        .await?;
    Ok(m::DeleteFunctionUrlConfigOutput::default())
}

pub(crate) async fn list(
    lambda: Lambda,
    cx: Cx,
    input: m::ListFunctionUrlConfigsInput,
) -> Result<m::ListFunctionUrlConfigsOutput, LambdaError> {
    let name = target(&cx, &input.function_name, None)?;
    let limit = pages::limit(input.max_items, LIST_CONFIGS_PAGE_MAX);
    let (cx, name, marker) = (&cx, &name, input.marker.as_deref());
    let page = lambda
        .kv
        .read(|tx| async move {
            let function = name.clone().unqualified();
            super::functions::record(&tx, cx, &function).await?;
            pages::read::<UrlRecord>(&tx, &keys::urls_of(name.place(cx)), marker, limit).await
        })
        .await?;
    let mut configs = Vec::with_capacity(page.records.len());
    for (key, record) in page.records {
        let of = match key == Key::Url(name.place(cx), None).pack() {
            true => name.clone().unqualified(),
            false => name.at(&keys::last_text(&key)?),
        };
        // A name with an alias asks for that alias's only.
        if name.qualifier.is_none() || name.qualifier == of.qualifier {
            configs.push(shown(&lambda, cx, &of, record));
        }
    }
    Ok(m::ListFunctionUrlConfigsOutput { function_url_configs: configs, next_marker: page.next })
}
