//! File sizes. (Functions of at most 70 lines are clippy's `too_many_lines`.)

use std::path::Path;

use super::{Finding, files};

/// Lines that a source file may have; aim for half.
const LINES_MAX: usize = 800;

/// The first line of a file that `xtask codegen` wrote starts so; such files have no limit.
const GENERATED: &str = "//! Generated";

/// Checks Rust, Python and JavaScript sources.
pub(super) fn check(root: &Path) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for pattern in ["*.rs", "*.py", "*.js", "*.mjs", "*.cjs"] {
        for file in files(root, pattern)? {
            let text = std::fs::read_to_string(root.join(&file))?;
            findings.extend(check_text(&file, &text));
        }
    }
    Ok(findings)
}

fn check_text(file: &str, text: &str) -> Option<Finding> {
    let lines = text.lines().count();
    let too_long = lines > LINES_MAX && !text.starts_with(GENERATED);
    too_long.then(|| format!("{file}: {lines} lines; at most {LINES_MAX}: look for the missing noun"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_files_are_found_unless_generated() {
        let long = "x\n".repeat(LINES_MAX + 1);
        assert!(check_text("a.rs", &long).is_some());
        assert!(check_text("a.rs", &format!("{GENERATED} by xtask\n{long}")).is_none());
        assert!(check_text("a.rs", "x\n").is_none());
    }
}
