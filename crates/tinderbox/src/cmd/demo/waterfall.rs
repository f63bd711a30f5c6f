//! What a trace says about one call: the four terms of its cold start, and its cost.

use serde_json::{Value, json};

/// The spans that are the terms of a cold start, in their order.
const COLD_TERMS: [&str; 4] = ["code download", "sandbox start", "runtime init", "user init"];

/// The figures of one call.
pub(super) struct Figures {
    /// Name and milliseconds of each term; empty on a warm start.
    cold: Vec<(&'static str, f64)>,
    handler_ms: Option<f64>,
    cost_usd: Option<f64>,
    billed_ms: Option<u64>,
    memory_mb: Option<u64>,
}

impl Figures {
    /// Reads them off the JSON form of a trace.
    pub(super) fn read(trace: &Value) -> Self {
        let spans = trace["spans"].as_array().map(Vec::as_slice).unwrap_or_default();
        let ms = |name: &str| {
            let span = spans.iter().find(|span| span["name"] == name)?;
            Some(span["duration_us"].as_f64()? / 1e3)
        };
        let attribute = |name: &str| spans.iter().map(|span| &span["attributes"][name]).find(|value| !value.is_null());
        Self {
            cold: COLD_TERMS.iter().filter_map(|term| Some((*term, ms(term)?))).collect(),
            handler_ms: ms("handler"),
            cost_usd: attribute("cost_usd").and_then(Value::as_f64),
            billed_ms: attribute("billed_ms").and_then(Value::as_u64),
            memory_mb: attribute("memory_mb").and_then(Value::as_u64),
        }
    }

    /// One line on the cost: the total, and requests × price + GB-seconds × price behind it.
    pub(super) fn cost_line(&self) -> String {
        let (Some(cost), Some(billed), Some(memory)) = (self.cost_usd, self.billed_ms, self.memory_mb) else {
            return "no cost recorded".to_owned();
        };
        let gb_seconds = billed as f64 / 1e3 * memory as f64 / 1024.0;
        format!("cost ${cost:.10} = 1 request + {gb_seconds:.4} GB-s (billed {billed} ms at {memory} MB)")
    }

    /// The four terms and their sum, a line each; nothing for a warm start.
    pub(super) fn cold_lines(&self) -> Vec<String> {
        if self.cold.is_empty() {
            return Vec::new();
        }
        let total: f64 = self.cold.iter().map(|(_, ms)| ms).sum();
        let mut lines: Vec<String> =
            self.cold.iter().map(|(term, ms)| format!("      {term:<16} {ms:>9.2} ms")).collect();
        lines.push(format!("      {:<16} {total:>9.2} ms", "= cold start"));
        lines.extend(self.handler_ms.map(|ms| format!("      {:<16} {ms:>9.2} ms", "handler")));
        lines
    }

    /// The same for programs.
    pub(super) fn to_json(&self) -> Value {
        let cold: serde_json::Map<String, Value> =
            self.cold.iter().map(|(term, ms)| ((*term).to_owned(), json!(ms))).collect();
        json!({
            "coldMs": cold,
            "handlerMs": self.handler_ms,
            "costUsd": self.cost_usd,
            "billedMs": self.billed_ms,
            "memoryMb": self.memory_mb,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cold_call_shows_its_terms_and_their_sum() {
        let span = |name: &str, us: u64| json!({ "name": name, "duration_us": us, "attributes": {} });
        let mut trace =
            json!({ "spans": [span("sandbox start", 2_000), span("user init", 3_000), span("handler", 500)] });
        trace["spans"][2]["attributes"] = json!({ "cost_usd": 4.0e-7, "billed_ms": 6, "memory_mb": 512 });
        let figures = Figures::read(&trace);
        let lines = figures.cold_lines();
        assert_eq!(lines.len(), 4, "{lines:?}");
        assert!(lines[2].contains("5.00 ms"), "{lines:?}");
        assert!(figures.cost_line().contains("0.0030 GB-s"), "{}", figures.cost_line());
    }

    #[test]
    fn a_warm_call_has_no_terms() {
        assert!(Figures::read(&json!({ "spans": [] })).cold_lines().is_empty());
    }
}
