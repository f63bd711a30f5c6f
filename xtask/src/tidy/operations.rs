//! Every operation in a service's table has a test that names it: as `GetFunction` in Rust, or as `.get_function(` where
//! boto3 calls it.

use std::path::Path;

use super::{Finding, files};

/// Checks each `crates/<service>/src/api.rs` against the tests of that service and the black-box suites.
pub(super) fn check(root: &Path) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for table in files(root, "crates/*/src/api.rs")? {
        let service = table.split('/').nth(1).unwrap_or_default().to_owned();
        let mut tests = String::new();
        for file in files(root, &format!("crates/{service}/tests/*.rs"))? {
            tests.push_str(&std::fs::read_to_string(root.join(file))?);
        }
        for file in files(root, "tests/conformance/*.py")? {
            tests.push_str(&std::fs::read_to_string(root.join(file))?);
        }
        let served = operations(&std::fs::read_to_string(root.join(&table))?);
        let untested = served.into_iter().filter(|operation| !is_named(operation, &tests));
        findings.extend(untested.map(|operation| format!("{table}: no test names {operation}")));
    }
    Ok(findings)
}

fn is_named(operation: &str, tests: &str) -> bool {
    let mut boto3 = String::new();
    for c in operation.chars() {
        if c.is_uppercase() && !boto3.is_empty() {
            boto3.push('_');
        }
        boto3.extend(c.to_lowercase());
    }
    // Called, or handed to a paginator.
    let forms = [operation.to_owned(), format!(".{boto3}("), format!("\"{boto3}\"")];
    forms.iter().any(|form| tests.contains(form))
}

/// The operations that a table serves: the last path segment of each `.op::<…>` and `.stream::<…>`.
fn operations(table: &str) -> Vec<String> {
    let lines = table.split(".op::<").skip(1).chain(table.split(".stream::<").skip(1));
    let name = |rest: &str| {
        let path = rest.split([',', '>']).next()?;
        path.rsplit("::").next().map(|name| name.trim().to_owned())
    };
    lines.filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_spelling_names_an_operation() {
        assert!(is_named("GetFunction", "client.get_function(FunctionName=name)"));
        assert!(is_named("Invoke", "call::<Invoke>()"));
        assert!(!is_named("GetFunction", "client.get_function_configuration()"));
    }

    #[test]
    fn operations_are_read_off_the_table() {
        let table = "Service::table(x)\n .op::<model::CreateFunction, _, _>(a)\n .op::<Invoke, _, _>(b)";
        assert_eq!(operations(table), ["CreateFunction", "Invoke"]);
    }
}
