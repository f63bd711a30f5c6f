//! Words that say nothing may not name things (layout: "Words").

use std::path::Path;

use super::{Finding, files};

const BANNED: &[&str] = &["manager", "helper", "util", "utils", "common", "misc", "provider", "processor", "wrapper"];

/// Keywords that introduce a name.
const INTRODUCES: &[&str] = &["fn", "struct", "enum", "trait", "mod", "type", "const", "static"];

/// Checks file names and the names that Rust sources declare.
pub(super) fn check(root: &Path) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for file in files(root, "*.rs")? {
        if let Some(word) = banned_in(&file.replace(['/', '.'], "_")) {
            findings.push(format!("{file}: \"{word}\" in a file's name; name it by its content"));
        }
        if file.starts_with("crates/model/") {
            continue; // AWS chose those names
        }
        let text = std::fs::read_to_string(root.join(&file))?;
        findings.extend(declared(&text).filter_map(|(line, name)| {
            let word = banned_in(name)?;
            Some(format!("{file}:{line}: \"{word}\" in the name {name}"))
        }));
    }
    Ok(findings)
}

fn declared(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().filter_map(|(at, line)| {
        let mut words = line.trim_start().split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|w| !w.is_empty());
        let first = words.next()?;
        let introducer = if first == "pub" { words.find(|w| INTRODUCES.contains(w))? } else { first };
        INTRODUCES.contains(&introducer).then(|| words.next().map(|name| (at + 1, name)))?
    })
}

/// The banned word among the words of an identifier in snake or camel case.
fn banned_in(name: &str) -> Option<&'static str> {
    let mut snake = String::new();
    for c in name.chars() {
        if c.is_uppercase() {
            snake.push('_');
        }
        snake.extend(c.to_lowercase());
    }
    BANNED.iter().find(|banned| snake.split('_').any(|word| word == **banned)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn banned_words_are_found_in_either_case_but_not_inside_words() {
        assert_eq!(banned_in("PoolManager"), Some("manager"));
        assert_eq!(banned_in("crates_x_src_util_rs"), Some("util"));
        assert_eq!(banned_in("utility_of_common_sense"), Some("common"));
        assert_eq!(banned_in("utilisation"), None);
    }

    #[test]
    fn declarations_are_found_with_their_visibility() {
        let text = "use a::helper;\npub(crate) fn helper() {}\nstruct A;\n    let fn_helper = 1;";
        assert_eq!(declared(text).collect::<Vec<_>>(), [(2, "helper"), (3, "A")]);
    }
}
