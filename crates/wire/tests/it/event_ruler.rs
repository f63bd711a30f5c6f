//! Event patterns against what event-ruler publishes: rules with the numbers of events that they match in a file of
//! 213,068 records (its `Benchmarks.java` and `citylots2.json.gz`), and its named cases about lists
//! (`correctness-cases.json`; which of them match follows from their names and from a matcher of our own, in Python).
//!
//! Nothing of the library is here: `TINDERBOX_EVENT_RULER` names a folder with a checkout of
//! <https://github.com/aws/event-ruler>. Without it this says that it was skipped.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde_json::Value;
use wire::EventPattern;

/// The named cases that do not match; all others do.
const NO_MATCH: &[&str] = &[
    "empty array",
    "empty object",
    "exists-false: present",
    "flat: 2-field exists, one missing",
    "flat: exact mismatch",
    "mixed: array+scalar fail",
    "mixed: obj-array split + prim-array",
    "nested2: split leaf",
    "nested: inner split",
    "nested: outer split",
    "objarray: 3-field, split 3 ways",
    "objarray: exact split",
    "objarray: prefix split",
    "objarray: split",
    "primarray: empty prim array",
    "primarray: large + scalar, no match",
    "primarray: no match",
    "suffix match split",
];
/// Named cases and rules with a published count that pass. May only grow.
const CASES: usize = 51;
const RULES: usize = 70;

fn checkout() -> Option<PathBuf> {
    let named = std::env::var_os("TINDERBOX_EVENT_RULER").map(PathBuf::from);
    if named.is_none() {
        eprintln!("skipped: TINDERBOX_EVENT_RULER names no checkout of aws/event-ruler");
    }
    named
}

#[test]
fn named_cases_match_as_their_names_say() {
    let Some(checkout) = checkout() else { return };
    let text = std::fs::read_to_string(checkout.join("src/test/resources/correctness-cases.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
    let mut none = BTreeSet::new();
    for case in &cases {
        let pattern = EventPattern::compile(&case["rule"]).unwrap();
        if !pattern.matches(&case["event"]) {
            none.insert(case["name"].as_str().unwrap());
        }
    }
    assert_eq!(none, NO_MATCH.iter().copied().collect());
    assert!(cases.len() >= CASES, "{} cases", cases.len());
}

#[test]
fn published_counts_are_met() {
    let Some(checkout) = checkout() else { return };
    let source =
        std::fs::read_to_string(checkout.join("src/test/software/amazon/event/ruler/Benchmarks.java")).unwrap();
    let rules = rules(&source);
    assert!(rules.len() >= RULES, "{} rules", rules.len());
    let data = checkout.join("src/test/data/citylots2.json.gz");
    if !data.is_file() {
        eprintln!("skipped: the checkout has no {}", data.display());
        return;
    }
    let mut counts = vec![0u64; rules.len()];
    for event in events(&data) {
        for ((_, pattern, _), count) in rules.iter().zip(&mut counts) {
            *count += u64::from(pattern.matches(&event));
        }
    }
    let wrong: Vec<_> = rules
        .iter()
        .zip(&counts)
        .filter(|((_, _, expected), count)| expected != *count)
        .map(|((name, _, expected), count)| format!("{name}: {count} instead of {expected}"))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn events(path: &Path) -> impl Iterator<Item = Value> {
    let file = flate2::read::MultiGzDecoder::new(std::fs::File::open(path).unwrap());
    BufReader::new(file).lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap())
}

/// `NAME_RULES = { "…" + "…", … }` with `NAME_MATCHES = { 1, … }`.
fn rules(source: &str) -> Vec<(String, EventPattern, u64)> {
    let mut rules = Vec::new();
    for (at, _) in source.match_indices("_RULES = {") {
        let name = source[..at].rsplit(' ').next().unwrap();
        let block = &source[at..at + source[at..].find("};").unwrap()];
        let Some(matches) = source.find(&format!("{name}_MATCHES = {{")) else { continue };
        let numbers = source[matches..].split(['{', '}']).nth(1).unwrap();
        let numbers: Vec<u64> = numbers.split(',').map(|number| number.trim().parse().unwrap()).collect();
        let texts = java_strings(block);
        assert_eq!(texts.len(), numbers.len(), "{name}");
        for (text, number) in texts.iter().zip(numbers) {
            let pattern = EventPattern::parse(text).unwrap_or_else(|error| panic!("{name}: {error}: {text}"));
            rules.push((format!("{name} {text}"), pattern, number));
        }
    }
    rules
}

/// The string expressions of a block of Java, those joined by `+` as one.
fn java_strings(block: &str) -> Vec<String> {
    let (mut strings, mut joins) = (Vec::<String>::new(), false);
    let mut characters = block.chars();
    while let Some(character) = characters.next() {
        match character {
            '+' => joins = true,
            ',' => joins = false,
            '"' => {
                let mut text = String::new();
                while let Some(inner) = characters.next().filter(|inner| *inner != '"') {
                    match inner {
                        '\\' => match characters.next() {
                            Some('n') => text.push('\n'),
                            Some(other) => text.push(other),
                            None => break,
                        },
                        plain => text.push(plain),
                    }
                }
                match strings.last_mut().filter(|_| joins) {
                    Some(last) => last.push_str(&text),
                    None => strings.push(text),
                }
                joins = false;
            }
            _ => {}
        }
    }
    strings
}
