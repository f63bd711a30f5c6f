//! How results are printed: one object a row, with `what` it is and its figures.

use serde_json::{Value, json};

/// All rows, as a table or as one JSON object below `name`.
#[expect(clippy::print_stdout, reason = "the figures are this program's output")]
pub(crate) fn print(name: &str, rows: &[Value], as_json: bool) {
    match as_json {
        true => println!("{}", json!({ name: rows })),
        false => rows.iter().for_each(|row| println!("{}", table(row))),
    }
}

fn table(row: &Value) -> String {
    let mut lines = vec![row["what"].as_str().unwrap_or_default().to_owned()];
    for (key, value) in row.as_object().into_iter().flatten().filter(|(key, _)| *key != "what") {
        lines.push(format!("  {key:<58} {}", shown(value)));
    }
    lines.join("\n")
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(shown).collect::<Vec<_>>().join(" "),
        Value::Number(number) if number.is_f64() => format!("{:.3}", number.as_f64().unwrap_or_default()),
        other => other.to_string(),
    }
}

/// `p50`, `p90` and the like of any figures; `NaN` (in JSON `null`) of none.
pub(crate) fn percentile(figures: &[f64], p: f64) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let at = (sorted.len().saturating_sub(1) as f64 * p).round() as usize;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

/// The mean; `NaN` of none.
pub(crate) fn mean(figures: &[f64]) -> f64 {
    figures.iter().sum::<f64>() / figures.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_figure() {
        let figures: Vec<f64> = (1..=101).rev().map(f64::from).collect();
        assert_eq!([0.0, 0.5, 0.99, 1.0].map(|p| percentile(&figures, p)), [1.0, 51.0, 100.0, 101.0]);
        assert!(percentile(&[], 0.5).is_nan());
    }

    #[test]
    fn a_row_shows_texts_without_quotes_and_figures_with_three_digits() {
        let row = json!({ "what": "a row", "node": "v20", "ms": 1.25, "count": 3, "raw": [1.0, 2.5] });
        let table = table(&row);
        let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert!(lines.contains(&vec!["node", "v20"]) && lines.contains(&vec!["ms", "1.250"]), "{table}");
        assert!(lines.contains(&vec!["count", "3"]) && lines.contains(&vec!["raw", "1.000", "2.500"]), "{table}");
    }
}
