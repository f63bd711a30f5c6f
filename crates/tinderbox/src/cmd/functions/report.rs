//! `tinderbox functions report NAME`: where the time of a cold start goes.

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::client::{self, Client};
use crate::print::Print;

/// Packages that the text shows; `--json` has all of them.
const ROWS_MAX: usize = 25;

pub(crate) async fn run(client: &Client, function: &str, print: Print) -> anyhow::Result<ExitCode> {
    let path = format!("/_tinderbox/functions/report/{}", client::path_segment(function));
    let report = client.administer("POST", &path, &json!({ "region": client.region() })).await?;
    print.json(&report);
    let word = |name: &str| report[name].as_str().unwrap_or_default();
    print.text(&format!("{} ({}) {}, {} MB", word("function"), word("version"), word("runtime"), report["memoryMb"]));
    let cold = &report["coldStarts"];
    print.text(&format!(
        "\nCOLD STARTS  {} in the newest {} traces{}; milliseconds",
        cold["count"],
        cold["tracesRead"],
        match cold["initialisedAhead"].as_u64() {
            Some(ahead) if ahead > 0 => format!(", and {ahead} that took an environment initialised ahead"),
            _ => String::new(),
        }
    ));
    terms(print, &cold["terms"]);
    let runs = &report["inits"];
    print.text(&format!(
        "\nINIT NOW  {} inits run for this report, without compiled code of earlier ones; milliseconds",
        runs["count"]
    ));
    terms(print, &runs["terms"]);
    dependencies(print, &report["dependencies"]);
    bundle(print, &report["bundle"]);
    let missing: Vec<_> = report["notMeasured"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !missing.is_empty() {
        print.text(&format!("\nNOT MEASURED  for want of time: {}", missing.join(", ")));
    }
    Ok(ExitCode::SUCCESS)
}

fn terms(print: Print, terms: &Value) {
    let Some(terms) = terms.as_array().filter(|terms| !terms.is_empty()) else { return };
    print.text(&format!("{:<16} {:>9} {:>9} {:>9}", "", "P50", "P90", "MAX"));
    for term in terms {
        let name = term["name"].as_str().unwrap_or_default();
        print.text(&format!(
            "{name:<16} {:>9} {:>9} {:>9}",
            ms(&term["p50Ms"]),
            ms(&term["p90Ms"]),
            ms(&term["maxMs"])
        ));
    }
}

fn dependencies(print: Print, found: &Value) {
    if let Some(why) = found["unavailable"].as_str() {
        return print.text(&format!("\nDEPENDENCIES  {why}"));
    }
    print.text(&format!(
        "\nDEPENDENCIES  one more init, {} ms of it loading code, each module timed (timing costs a little)",
        ms(&found["totalMs"])
    ));
    let header = format!("{:<40} {:<8} {:>7} {:>9} {:>14}", "PACKAGE", "FROM", "MODULES", "OWN MS", "WITH ITS OWN MS");
    print.text(&header);
    let packages = found["packages"].as_array().cloned().unwrap_or_default();
    for package in packages.iter().take(ROWS_MAX) {
        let word = |name: &str| package[name].as_str().unwrap_or_default();
        print.text(&format!(
            "{:<40} {:<8} {:>7} {:>9} {:>14}",
            word("name"),
            word("origin"),
            package["modules"].to_string(),
            ms(&package["ownMs"]),
            ms(&package["cumulativeMs"]),
        ));
    }
    let hidden = packages.len().saturating_sub(ROWS_MAX);
    if hidden > 0 {
        let own: f64 = packages.iter().skip(ROWS_MAX).filter_map(|package| package["ownMs"].as_f64()).sum();
        print.text(&format!("{:<49} {hidden:>7} {:>9}", "(more packages, see --json)", ms(&json!(own))));
    }
    print.text(&format!("{:<57} {:>9}", "(finding files; ES modules of node)", ms(&found["restMs"])));
}

fn bundle(print: Print, found: &Value) {
    let text = match found["unavailable"].as_str() {
        Some(why) => why.to_owned(),
        None => format!(
            "{} KB in one file load in {} ms (median of {}, {}); as it is: {} ms",
            found["bytes"].as_u64().unwrap_or_default().div_ceil(1024),
            ms(&found["loadMs"]),
            found["count"],
            found["esbuild"].as_str().unwrap_or_default(),
            ms(&found["asItIsMs"]),
        ),
    };
    print.text(&format!("\nTREE-SHAKEN BUNDLE  {text}"));
}

fn ms(value: &Value) -> String {
    value.as_f64().map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"))
}
