//! ListFunctions, ListVersionsByFunction.

use bytes::Bytes;
use kv::{RangeOptions, Txn};
use model::lambda as m;
use wire::Cx;

use super::configuration::configuration;
use super::functions::record;
use crate::LATEST;
use crate::error::LambdaError;
use crate::keys::{self, FunctionRecord, Key, Place};
use crate::limits::LIST_FUNCTIONS_PAGE_MAX;
use crate::name::FunctionName;
use crate::pages::{self, Page};
use crate::state::Lambda;

pub(crate) async fn functions(
    lambda: Lambda,
    cx: Cx,
    input: m::ListFunctionsInput,
) -> Result<m::ListFunctionsOutput, LambdaError> {
    // MasterRegion asks for copies of another region's functions at the edge; there are none.
    if input.master_region.as_ref().is_some_and(|region| region != "ALL" && *region != cx.region) {
        return Ok(m::ListFunctionsOutput { functions: Some(Vec::new()), next_marker: None });
    }
    let limit = pages::limit(input.max_items, LIST_FUNCTIONS_PAGE_MAX);
    let all = input.function_version == Some(m::FunctionVersion::All);
    let (cx, marker) = (&cx, input.marker.as_deref());
    let (listed, next_marker) = lambda
        .kv
        .read(|tx| async move {
            match all {
                true => every_version(&tx, cx, marker, limit).await,
                false => latest_of_all(&tx, cx, marker, limit).await,
            }
        })
        .await?;
    let functions = listed.into_iter().map(|Listed { name, version, record }| {
        let arn = FunctionName { qualifier: all.then(|| version.clone()), name: name.clone() }.qualified_arn(cx);
        let shown = configuration(&lambda, cx, &name, &version, record);
        m::FunctionConfiguration { function_arn: Some(arn), ..shown }
    });
    Ok(m::ListFunctionsOutput { functions: Some(functions.collect()), next_marker })
}

/// One item of a listing.
struct Listed {
    name: String,
    version: String,
    record: FunctionRecord,
}

type Listing = (Vec<Listed>, Option<String>);

async fn latest_of_all(tx: &Txn, cx: &Cx, marker: Option<&str>, limit: usize) -> Result<Listing, LambdaError> {
    let range = keys::functions_of(cx.account.as_str(), &cx.region);
    let Page { records, next } = pages::read::<FunctionRecord>(tx, &range, marker, limit).await?;
    let mut listed = Vec::with_capacity(records.len());
    for (key, record) in records {
        listed.push(Listed { name: keys::last_text(&key)?, version: LATEST.to_owned(), record });
    }
    Ok((listed, next))
}

/// `FunctionVersion=ALL`: `$LATEST` of each function, then its versions. The marker is the function's name, and the
/// number of the version behind which the next page begins.
async fn every_version(tx: &Txn, cx: &Cx, marker: Option<&str>, limit: usize) -> Result<Listing, LambdaError> {
    let range = keys::functions_of(cx.account.as_str(), &cx.region);
    let mut listed = Vec::new();
    let (mut begin, mut after) = match marker {
        Some(marker) => from_marker(cx, marker)?,
        None => (range.begin.clone(), None),
    };
    loop {
        let options = RangeOptions { limit: 1, ..RangeOptions::default() };
        let Some((key, value)) = tx.range(&begin, &range.end, options).await?.pop() else { return Ok((listed, None)) };
        let name = keys::last_text(&key)?;
        let place = Place { account: cx.account.as_str(), region: &cx.region, name: &name };
        let versions = keys::versions_of(place);
        // The function that the page before ended in may have gone meanwhile: the number is not about the next one.
        let first = match after.take().filter(|_| key == begin) {
            Some(number) => pages::behind(&Key::Version(place, number).pack()),
            None => {
                listed.push(Listed { name: name.clone(), version: LATEST.to_owned(), record: keys::decode(&value)? });
                versions.begin.clone()
            }
        };
        let options = RangeOptions { limit: limit + 1, ..RangeOptions::default() };
        for (key, value) in tx.range(&first, &versions.end, options).await? {
            let version = keys::last_number(&key)?.to_string();
            listed.push(Listed { name: name.clone(), version, record: keys::decode(&value)? });
        }
        if listed.len() > limit {
            listed.truncate(limit);
            let marker = listed.last().map(marker_behind);
            return Ok((listed, marker));
        }
        begin = pages::behind(&key);
    }
}

/// The marker behind an item of [`every_version`].
fn marker_behind(last: &Listed) -> String {
    pages::marker_of(format!("{} {}", last.name, last.version).as_bytes())
}

fn from_marker(cx: &Cx, marker: &str) -> Result<(Bytes, Option<u64>), LambdaError> {
    let invalid = || LambdaError::invalid(format!("The marker {marker:?} is not one that this operation gave."));
    let text = pages::unmarked(marker).and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(invalid)?;
    let (name, version) = text.split_once(' ').ok_or_else(invalid)?;
    let place = Place { account: cx.account.as_str(), region: &cx.region, name };
    // Number 0 is before every version: numbers begin at 1.
    let number = if version == LATEST { 0 } else { version.parse().map_err(|_| invalid())? };
    Ok((Key::Function(place).pack(), Some(number)))
}

pub(crate) async fn versions(
    lambda: Lambda,
    cx: Cx,
    input: m::ListVersionsByFunctionInput,
) -> Result<m::ListVersionsByFunctionOutput, LambdaError> {
    let name = FunctionName::parse(&cx, &input.function_name, None)?.unqualified();
    let limit = pages::limit(input.max_items, LIST_FUNCTIONS_PAGE_MAX);
    let (cx, name, marker) = (&cx, &name, input.marker.as_deref());
    let (latest, page) = lambda
        .kv
        .read(|tx| async move {
            let latest = record(&tx, cx, name).await?;
            let range = keys::versions_of(name.place(cx));
            if marker.is_some() {
                return Ok((None, pages::read::<FunctionRecord>(&tx, &range, marker, limit).await?));
            }
            // `$LATEST` comes first and takes a place of the first page.
            let mut page = pages::read::<FunctionRecord>(&tx, &range, None, (limit - 1).max(1)).await?;
            if limit == 1 && !page.records.is_empty() {
                page.records.clear();
                page.next = Some(pages::marker_of(&Key::Version(name.place(cx), 0).pack()));
            }
            Ok::<_, LambdaError>((Some(latest), page))
        })
        .await?;
    let mut versions: Vec<_> = latest
        .into_iter()
        .map(|record| m::FunctionConfiguration {
            function_arn: Some(name.at(LATEST).qualified_arn(cx)),
            ..configuration(&lambda, cx, &name.name, LATEST, record)
        })
        .collect();
    for (key, record) in page.records {
        let version = keys::last_number(&key)?.to_string();
        versions.push(configuration(&lambda, cx, &name.name, &version, record));
    }
    Ok(m::ListVersionsByFunctionOutput { versions: Some(versions), next_marker: page.next })
}
