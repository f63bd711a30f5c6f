//! `cargo xtask compat`: prints `docs/compat/<service>.md` from the operation tables.
//!
//! ```text
//!  crates/model/src/<service>.rs  all operations of the model ─┐
//!  crates/*/src/api.rs            the lines that are served ───┼─► docs/compat/<service>.md
//!  tests/foreign/*/expected       what passes of a foreign suite ┘
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context;

use crate::commands::say;
use crate::paths;
use crate::tidy::Finding;

/// Writes a page for each service of which something is served.
pub(crate) fn run() -> anyhow::Result<()> {
    let root = paths::root();
    let folder = root.join("docs/compat");
    std::fs::create_dir_all(&folder)?;
    for (service, text) in pages(&root)? {
        let path = folder.join(format!("{service}.md"));
        if std::fs::read_to_string(&path).is_ok_and(|old| old == text) {
            continue;
        }
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
        say(&format!("wrote {}", path.display()));
    }
    Ok(())
}

/// What of `docs/compat` is not as [`run`] would write it.
pub(crate) fn check(root: &Path) -> anyhow::Result<Vec<Finding>> {
    let folder = root.join("docs/compat");
    let mut written = BTreeMap::new();
    for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        written.insert(name, std::fs::read_to_string(&path).with_context(|| path.display().to_string())?);
    }
    Ok(differences(written, pages(root)?))
}

fn differences(mut written: BTreeMap<String, String>, pages: Vec<(String, String)>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (service, text) in pages {
        if written.remove(&service) != Some(text) {
            findings.push(format!("docs/compat/{service}.md differs from the tables: run `cargo xtask compat`"));
        }
    }
    findings.extend(written.keys().map(|name| format!("docs/compat/{name}.md: no table serves anything of it")));
    findings
}

/// Other people's tests of a service, and how far others get with them.
struct Suite {
    service: &'static str,
    name: &'static str,
    /// The list of what passes here, one test a line, `#` before remarks.
    expected: &'static str,
    /// How many tests the suite's run selects.
    tests: usize,
    /// How, and what stands beside it.
    how: &'static str,
    /// What others pass, as the project's reference quotes it.
    others: &'static str,
}

const SUITES: [Suite; 1] = [Suite {
    service: "s3",
    name: "ceph/s3-tests",
    expected: "tests/foreign/s3-tests/expected.txt",
    tests: 616,
    how: "the core subset of run.py (none of lifecycle's actions, storage classes, websites, logging), with authorization enforced, accounts of \
          their own, `--s3-acls --s3-signature-v2` and two KMS keys, all in one run",
    others: "The best of the other emulators passed 412 of 619",
}];

impl Suite {
    /// A paragraph for the service's page, counted from the list.
    fn told(&self, root: &Path) -> anyhow::Result<String> {
        let Self { name, expected, tests, how, others, .. } = self;
        let list = std::fs::read_to_string(root.join(expected)).with_context(|| (*expected).to_owned())?;
        let passed = list.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count();
        Ok(format!(
            "\n{name}: {passed} of {tests} tests have passed: {how}. {others}. The names, and the reasons of the rest as far \
             as they are known, are in `{expected}`.\n"
        ))
    }
}

/// Service and text of every page.
fn pages(root: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let mut served: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for entry in std::fs::read_dir(root.join("crates"))? {
        let table = entry?.path().join("src/api.rs");
        if let Ok(text) = std::fs::read_to_string(&table) {
            for (service, operation) in lines(&text) {
                served.entry(service).or_default().insert(operation);
            }
        }
    }
    let mut pages = Vec::new();
    for (service, served) in served {
        let model = root.join(format!("crates/model/src/{service}.rs"));
        let model = std::fs::read_to_string(&model).with_context(|| model.display().to_string())?;
        let all = names(&model);
        let suites = SUITES.iter().filter(|suite| suite.service == service);
        let suites = suites.map(|suite| suite.told(root)).collect::<anyhow::Result<String>>()?;
        pages.push((service.clone(), page(&service, &all, &served) + &suites));
    }
    Ok(pages)
}

/// The operations that a table serves, each with its service: `.op::<m::Name` or `.stream::<m::Name`, where
/// `use model::service as m`.
fn lines(table: &str) -> Vec<(String, String)> {
    let aliases: BTreeMap<&str, &str> = table
        .lines()
        .filter_map(|line| line.trim().strip_prefix("use model::"))
        .flat_map(|imports| imports.trim_end_matches(';').trim_matches(['{', '}']).split(','))
        .filter_map(|import| import.trim().split_once(" as "))
        .map(|(service, alias)| (alias, service))
        .collect();
    let mut lines = Vec::new();
    for opening in [".op::<", ".stream::<"] {
        for rest in table.split(opening).skip(1) {
            let path = rest.split([',', '>']).next().unwrap_or_default().trim();
            let service = path.split_once("::").and_then(|(alias, name)| Some((aliases.get(alias)?, name)));
            lines.extend(service.map(|(service, name)| ((*service).to_owned(), name.to_owned())));
        }
    }
    lines
}

/// The names of all operations of a model: the first text of each `OperationName::rest(` or `rpc(`.
fn names(model: &str) -> Vec<String> {
    let table = model.split("operations: &[").nth(1).and_then(|rest| rest.split("\n    ],").next()).unwrap_or_default();
    let first_text = |rest: &str| rest.split('"').nth(1).map(str::to_owned);
    table.split("OperationName::").skip(1).filter_map(first_text).collect()
}

fn page(service: &str, all: &[String], served: &BTreeSet<String>) -> String {
    let mut text = format!(
        "# {service}: {} of {} operations\n\nPrinted from the operation table by `cargo xtask compat`; do not edit. What is \
         not served answers `NotImplemented` (501) with its name.\n\n| operation | served |\n|---|---|\n",
        served.len(),
        all.len()
    );
    for name in all {
        text.push_str(&format!("| {name} | {} |\n", if served.contains(name) { "yes" } else { "–" }));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_table_are_found_with_their_service() {
        let table = "use model::{iam as m, sts as s};\n.op::<m::GetUser, _, _>(x)\n  .stream::<s::AssumeRole, _, _>(y)";
        let expected = [("iam", "GetUser"), ("sts", "AssumeRole")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(lines(table), expected);
    }

    #[test]
    fn every_served_operation_is_one_of_its_model() {
        for (service, text) in pages(&paths::root()).expect("the tables can be read") {
            let yes = text.matches("| yes |").count();
            let head = format!("# {service}: {yes} of ");
            assert!(text.starts_with(&head) && yes > 0, "{}", text.lines().next().unwrap_or_default());
        }
    }

    #[test]
    fn a_page_that_differs_is_missing_or_has_no_table_is_found() {
        let page = |service: &str, text: &str| (service.to_owned(), text.to_owned());
        let written =
            [page("same", "as printed"), page("other", "of last week"), page("gone", "of a service that was")];
        let printed = ["same", "other", "missing"].map(|service| page(service, "as printed"));
        let findings = differences(written.into(), printed.into());
        let told: Vec<_> = findings.iter().filter_map(|finding| finding.split(['/', '.']).nth(2)).collect();
        assert_eq!(told, ["other", "missing", "gone"], "{findings:?}");
    }
}
