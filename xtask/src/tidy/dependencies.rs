//! Dependency direction: which of our crates may know which.

use std::path::Path;

use anyhow::Context;

use super::Finding;

/// Crate → the crates of ours that it may know. Changing this table takes a decision record.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("sys", &[]),
    ("kv", &["sys"]),
    ("blob", &["sys"]),
    ("wire", &["sys"]),
    ("sandbox", &["sys"]),
    // A disk of tests, which nothing but tests may know.
    ("crashfs", &["sys"]),
    ("model", &["wire", "sys"]),
    ("logs", &["kv", "blob", "wire", "model", "sys"]),
    ("trace", &["kv", "blob", "wire", "model", "sys"]),
    ("sns", &["kv", "blob", "wire", "model", "sys"]),
    ("iam", &["kv", "blob", "wire", "model", "sys"]),
    ("s3", &["kv", "blob", "wire", "model", "sys"]),
    ("sqs", &["kv", "blob", "wire", "model", "sys"]),
    ("lambda", &["kv", "blob", "wire", "model", "sys", "sandbox", "logs", "trace"]),
    // Services named here exist or are on their way; nothing but the binary knows `triggers`.
    ("triggers", &["kv", "blob", "wire", "model", "sys", "lambda", "sqs", "sns", "s3", "trace"]),
    ("gateway", &["wire", "trace", "sys"]),
    (
        "tinderbox",
        &[
            "sys", "kv", "blob", "wire", "model", "sandbox", "logs", "trace", "iam", "s3", "lambda", "gateway", "sns",
            "sqs", "triggers",
        ],
    ),
];

/// Crates outside `crates/`, which may know everything and which nothing may know.
const OUTSIDE: &[&str] = &["xtask", "bench"];

/// Checks every manifest's `[dependencies]` against the table. Development dependencies are free.
pub(super) fn check(root: &Path) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for entry in std::fs::read_dir(root.join("crates"))? {
        let folder = entry?.path();
        let manifest = folder.join("Cargo.toml");
        if !manifest.is_file() {
            continue;
        }
        let text = std::fs::read_to_string(&manifest)?;
        let parsed: toml::Table = text.parse().with_context(|| manifest.display().to_string())?;
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        findings.extend(check_crate(&name, &parsed));
    }
    Ok(findings)
}

fn check_crate(name: &str, manifest: &toml::Table) -> Vec<Finding> {
    let Some((_, allowed)) = MAY_KNOW.iter().find(|(known, _)| *known == name) else {
        return vec![format!("crates/{name}: not in the table of xtask/src/tidy/dependencies.rs")];
    };
    let ours =
        |dependency: &str| MAY_KNOW.iter().any(|(known, _)| *known == dependency) || OUTSIDE.contains(&dependency);
    let dependencies = manifest.get("dependencies").and_then(toml::Value::as_table);
    dependencies
        .into_iter()
        .flat_map(toml::Table::keys)
        .filter(|dependency| ours(dependency) && !allowed.contains(&dependency.as_str()))
        .map(|dependency| format!("crates/{name}: may not know {dependency}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forbidden_edge_is_found() {
        let manifest: toml::Table =
            "[dependencies]\nsys.workspace = true\nlambda.workspace = true".parse().expect("toml");
        assert_eq!(check_crate("logs", &manifest), ["crates/logs: may not know lambda"]);
        assert_eq!(check_crate("nobody", &manifest).len(), 1);
        assert!(check_crate("tinderbox", &manifest).is_empty());
    }
}
