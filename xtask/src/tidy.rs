//! The rules of the house that no compiler checks. Each is a test too, so `cargo test` holds them.

mod dependencies;
mod links;
mod names;
mod operations;
mod sizes;

use anyhow::bail;

use crate::commands::say;
use crate::paths;

/// One broken rule.
pub(crate) type Finding = String;

/// `cargo xtask tidy`.
pub(crate) fn run() -> anyhow::Result<()> {
    let root = paths::root();
    let mut findings = dependencies::check(&root)?;
    findings.extend(sizes::check(&root)?);
    findings.extend(names::check(&root)?);
    findings.extend(operations::check(&root)?);
    findings.extend(links::check(&root)?);
    findings.extend(crate::compat::check(&root)?);
    for finding in &findings {
        say(finding);
    }
    match findings.len() {
        0 => Ok(()),
        count => bail!("tidy: {count} findings"),
    }
}

/// The files below `folder` that git tracks or would track, as paths relative to the repository's root.
fn files(root: &std::path::Path, pattern: &str) -> anyhow::Result<Vec<String>> {
    let output = std::process::Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "--", pattern])
        .current_dir(root)
        .output()?;
    if !output.status.success() {
        bail!("git ls-files failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let listed = String::from_utf8(output.stdout)?;
    Ok(listed.lines().filter(|path| root.join(path).is_file()).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_house_is_tidy() {
        run().expect("every rule holds; `cargo xtask tidy` prints what does not");
    }
}
