//! Every relative link in the documents leads to a file.

use std::path::Path;

use super::{Finding, files};

/// Checks all Markdown files.
pub(super) fn check(root: &Path) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for file in files(root, "*.md")? {
        let text = std::fs::read_to_string(root.join(&file))?;
        let folder = root.join(&file).parent().map(Path::to_owned).unwrap_or_default();
        let broken = targets(&text).filter(|target| !folder.join(target).exists());
        findings.extend(broken.map(|target| format!("{file}: the link to {target} leads nowhere")));
    }
    Ok(findings)
}

/// The relative targets of `[text](target)`, without their anchors.
fn targets(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| {
        let target = rest.split([')', ' ']).next()?.split('#').next()?;
        let outside = target.contains("://") || target.starts_with("mailto:");
        (!target.is_empty() && !outside).then_some(target)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_relative_targets_are_checked() {
        let text = "[a](docs/a.md#part) [b](https://x.y/z) [c](#here) [d](../d.md \"title\")";
        assert_eq!(targets(text).collect::<Vec<_>>(), ["docs/a.md", "../d.md"]);
    }
}
