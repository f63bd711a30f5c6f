//! The corpus of tests/conformance/iam-simulate: our answers here, the foreign oracle's there, to one expectation.

use serde_json::Value;

use crate::case::{answer, text};
use crate::naive;

const CORPUS: &str = include_str!("../../../../tests/conformance/iam-simulate/corpus.json");

#[test]
fn i1_to_i6_the_corpus_is_decided_as_expected() {
    let cases: Vec<Value> = serde_json::from_str(CORPUS).expect("valid JSON");
    assert!(cases.len() >= 150, "{}", cases.len());
    let wrong: Vec<String> = cases
        .iter()
        .filter(|case| answer(case) != text(case, "expect") || naive::answer(case) != text(case, "expect"))
        .map(|case| {
            format!(
                "{}: engine {}, naive {}, expected {}",
                case["name"],
                answer(case),
                naive::answer(case),
                case["expect"]
            )
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
