//! What an invocation used and what it cost: the numbers behind the `REPORT` line, the span and the bill.
//!
//! Billing follows AWS: duration is rounded up to the next millisecond and, since August 2025, includes the
//! init phase of a cold start (AWS Compute Blog, "AWS Lambda standardizes billing for INIT phase").

use std::fmt::Write as _;
use std::time::Duration;

/// How an invocation ended, as the `REPORT` line says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// The runtime gave an answer, be it a result or the handler's own error.
    Answered,
    /// The function ran out of time.
    TimedOut,
    /// The runtime ended or failed; the text is AWS's error type, such as `Runtime.ExitError`.
    Failed(String),
}

/// The four terms of a cold start (architecture, section 4). Their sum is what the caller waited before the handler ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ColdStart {
    /// Getting the package onto this node and unpacked.
    pub code_download: Duration,
    /// Namespaces, root file system, limits, and handing them over.
    pub sandbox_start: Duration,
    /// The language runtime's own start, until it begins to load the function's code. Zero where the package
    /// brings the runtime (`provided.*`): then all of it is the user's.
    pub runtime_init: Duration,
    /// The function's code outside the handler.
    pub user_init: Duration,
}

impl ColdStart {
    /// All four terms together.
    pub fn total(&self) -> Duration {
        self.code_download + self.sandbox_start + self.init()
    }

    /// What AWS calls the init phase: runtime and user init.
    pub fn init(&self) -> Duration {
        self.runtime_init + self.user_init
    }
}

/// The restore phase of an environment that was initialised ahead (SnapStart).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restore {
    /// From taking it until it could take the event.
    pub duration: Duration,
    /// What of it is billed: the function's own hooks.
    pub billed: Duration,
}

impl Restore {
    /// Whole milliseconds of what is billed, rounded up.
    pub fn billed_ms(&self) -> u64 {
        whole_ms(self.billed)
    }
}

/// Prices in US dollars. The default is AWS's list price for x86_64 in us-east-1 (aws.amazon.com/lambda/pricing).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PriceTable {
    /// Price of one request.
    pub request_usd: f64,
    /// Price of one GB of configured memory (1,024 MB) during one second.
    pub gb_second_usd: f64,
}

impl Default for PriceTable {
    fn default() -> Self {
        Self { request_usd: 0.20 / 1e6, gb_second_usd: 0.000_016_666_7 }
    }
}

impl PriceTable {
    /// Cost of one invocation: request + billed time × configured memory.
    pub fn cost_usd(&self, billed_ms: u64, memory_mb: u32) -> f64 {
        self.cost_of_share_usd(billed_ms, memory_mb, 1)
    }

    /// Cost of one of `slots` invocations that an environment serves at once: request + billed time × its share of the memory.
    pub fn cost_of_share_usd(&self, billed_ms: u64, memory_mb: u32, slots: u32) -> f64 {
        let gb_seconds = (billed_ms as f64 / 1e3) * (f64::from(memory_mb) / 1024.0) / f64::from(slots.max(1));
        self.request_usd + gb_seconds * self.gb_second_usd
    }
}

/// What one invocation used.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// From handing the event over until the answer.
    pub duration: Duration,
    /// Time on the bill, in whole milliseconds: duration, init and the billed part of a restore together, rounded up.
    pub billed_ms: u64,
    /// The init phase of this invocation's environment; `None` on a warm start.
    pub init: Option<Duration>,
    /// The restore phase before this invocation; `None` without one.
    pub restore: Option<Restore>,
    /// The environment's peak so far, in MB, rounded up.
    pub max_memory_mb: u32,
    /// Configured memory in MB.
    pub memory_mb: u32,
    /// The parts of the cold start; `None` on a warm start.
    pub cold: Option<ColdStart>,
    /// What it costs by the price table.
    pub cost_usd: f64,
    /// How it ended.
    pub status: Status,
}

/// Raw measurements of one invocation, before billing.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) duration: Duration,
    pub(crate) init: Option<Duration>,
    pub(crate) restore: Option<Restore>,
    pub(crate) cold: Option<ColdStart>,
    pub(crate) memory_peak_bytes: u64,
    pub(crate) memory_mb: u32,
    /// Events that share the memory.
    pub(crate) slots: u32,
    pub(crate) status: Status,
}

impl Measured {
    /// Applies the billing rules and the prices.
    pub(crate) fn bill(self, prices: &PriceTable) -> Report {
        let billed_ms = billed_ms(
            self.duration
                + self.init.unwrap_or_default()
                + self.restore.map_or(Duration::ZERO, |restore| restore.billed),
        );
        Report {
            duration: self.duration,
            billed_ms,
            init: self.init,
            restore: self.restore,
            max_memory_mb: megabytes(self.memory_peak_bytes).min(self.memory_mb),
            memory_mb: self.memory_mb,
            cold: self.cold,
            cost_usd: prices.cost_of_share_usd(billed_ms, self.memory_mb, self.slots),
            status: self.status,
        }
    }
}

impl Report {
    /// The `REPORT` line as CloudWatch shows it, without a line end.
    pub fn line(&self, request_id: &str) -> String {
        let mut line = format!(
            "REPORT RequestId: {request_id}\tDuration: {} ms\tBilled Duration: {} ms\tMemory Size: {} MB\tMax Memory Used: {} MB",
            milliseconds(self.duration),
            self.billed_ms,
            self.memory_mb,
            self.max_memory_mb,
        );
        // Writing to a String cannot fail.
        if let Some(init) = self.init {
            let _ = write!(line, "\tInit Duration: {} ms", milliseconds(init));
        }
        if let Some(restore) = self.restore {
            let (whole, billed) = (milliseconds(restore.duration), restore.billed_ms());
            let _ = write!(line, "\tRestore Duration: {whole} ms\tBilled Restore Duration: {billed} ms");
        }
        match &self.status {
            Status::Answered => {}
            Status::TimedOut => line.push_str("\tStatus: timeout"),
            Status::Failed(error_type) => {
                let _ = write!(line, "\tStatus: error\tError Type: {error_type}");
            }
        }
        line
    }
}

/// Milliseconds with two decimals, as AWS prints durations.
pub(crate) fn milliseconds(duration: Duration) -> String {
    format!("{:.2}", duration.as_secs_f64() * 1e3)
}

/// Whole milliseconds, rounded up; at least 1, because an invocation that ran is never free of duration.
fn billed_ms(duration: Duration) -> u64 {
    whole_ms(duration).max(1)
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

fn megabytes(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1 << 20)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(duration_us: u64, init_us: Option<u64>, memory_mb: u32) -> Measured {
        Measured {
            duration: Duration::from_micros(duration_us),
            init: init_us.map(Duration::from_micros),
            restore: None,
            cold: None,
            memory_peak_bytes: 20 << 20,
            memory_mb,
            slots: 1,
            status: Status::Answered,
        }
    }

    #[test]
    fn billing_rounds_up_to_the_millisecond_and_includes_init() {
        for (duration_us, init_us, memory_mb, billed, gb_ms) in [
            (1, None, 128, 1, 0.125),
            (0, None, 1024, 1, 1.0),
            (1_000, None, 1024, 1, 1.0),
            (1_001, None, 1024, 2, 2.0),
            (100_000, Some(250_400), 1024, 351, 351.0),
            (999_999, Some(1), 2048, 1_000, 2_000.0),
            (900_000_000, None, 10_240, 900_000, 9_000_000.0),
        ] {
            let report = measured(duration_us, init_us, memory_mb).bill(&PriceTable::default());
            assert_eq!(report.billed_ms, billed, "{duration_us} + {init_us:?}");
            let expected = 0.000_000_2 + gb_ms / 1e3 * 0.000_016_666_7;
            assert!((report.cost_usd - expected).abs() < 1e-15, "{} ≠ {expected}", report.cost_usd);
        }
    }

    #[test]
    fn of_a_restore_only_the_hooks_are_billed() {
        let (duration, billed) = (Duration::from_millis(100), Duration::from_micros(4_400));
        let measured = Measured { restore: Some(Restore { duration, billed }), ..measured(93_390, None, 512) };
        assert_eq!(measured.bill(&PriceTable::default()).billed_ms, 98, "93.39 ms and 4.4 ms");
    }

    #[test]
    fn a_price_table_of_zero_makes_every_call_free() {
        let free = PriceTable { request_usd: 0.0, gb_second_usd: 0.0 };
        assert_eq!(measured(5_000_000, None, 10_240).bill(&free).cost_usd, 0.0);
    }

    #[test]
    fn the_report_line_has_the_form_that_log_tools_parse() {
        let mut report = measured(12_345, Some(100_004), 128).bill(&PriceTable::default());
        assert_eq!(
            report.line("id"),
            "REPORT RequestId: id\tDuration: 12.35 ms\tBilled Duration: 113 ms\tMemory Size: 128 MB\t\
             Max Memory Used: 20 MB\tInit Duration: 100.00 ms"
        );
        report.init = None;
        report.restore = Some(Restore { duration: Duration::from_micros(5_250), billed: Duration::from_micros(3_001) });
        assert!(
            report
                .line("id")
                .ends_with("Max Memory Used: 20 MB\tRestore Duration: 5.25 ms\tBilled Restore Duration: 4 ms")
        );
        report.restore = None;
        report.status = Status::TimedOut;
        assert!(report.line("id").ends_with("Max Memory Used: 20 MB\tStatus: timeout"));
        report.status = Status::Failed("Runtime.ExitError".to_owned());
        assert!(report.line("id").ends_with("\tStatus: error\tError Type: Runtime.ExitError"));
    }

    #[test]
    fn peak_memory_is_never_reported_above_the_limit() {
        let mut over = measured(1, None, 128);
        over.memory_peak_bytes = 129 << 20;
        assert_eq!(over.bill(&PriceTable::default()).max_memory_mb, 128);
    }
}
