//! When a delivery that failed is tried again (sem:N1).
//!
//! ```text
//!  queues, functions   3 at once · 2 after 1 s each · 10 from 1 s to 20 s · 100,000 after 20 s each = 100,015 in 23 days
//!  HTTP and HTTPS      by the delivery policy: at once · at the minimum · backing off · at the maximum, ≤ 3,600 s in all
//! ```
//!
//! Pure functions of the retry's number, and of chance for the jitter. Source: developer guide, "Amazon SNS message
//! delivery retries" and "Creating an HTTP/S delivery policy".

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::SnsError;
use crate::limits::{HTTP_RETRIES_MAX, HTTP_RETRIES_S_MAX};

/// Share by which jitter shortens or lengthens a pause: pauses of many deliveries that failed together spread out.
const JITTER: f64 = 0.1;

/// What follows a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// One more try, after this pause.
    After(Duration),
    /// No more tries: to the dead-letter queue.
    GiveUp,
}

/// Which schedule a delivery follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Schedule {
    /// Queues and functions.
    Managed,
    /// HTTP and HTTPS.
    Http(HttpRetries),
}

/// How retries of an HTTP delivery grow apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backoff {
    /// In equal steps.
    #[default]
    Linear,
    /// In steps that grow themselves.
    Arithmetic,
    /// By a constant factor.
    Geometric,
    /// Most of the growth at the end.
    Exponential,
}

/// `healthyRetryPolicy` of a delivery policy. Pauses are in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRetries {
    /// Shortest pause, 1 to the longest one.
    pub min_delay_target: u64,
    /// Longest pause, up to 3,600.
    pub max_delay_target: u64,
    /// All retries, 0 to 100.
    pub num_retries: u32,
    /// Retries at the longest pause.
    pub num_max_delay_retries: u32,
    /// Retries at once.
    pub num_no_delay_retries: u32,
    /// Retries at the shortest pause.
    pub num_min_delay_retries: u32,
    /// How the pauses between grow.
    pub backoff_function: Backoff,
}

impl Default for HttpRetries {
    fn default() -> Self {
        Self {
            min_delay_target: 20,
            max_delay_target: 20,
            num_retries: 3,
            num_max_delay_retries: 0,
            num_no_delay_retries: 0,
            num_min_delay_retries: 0,
            backoff_function: Backoff::Linear,
        }
    }
}

impl Schedule {
    /// What follows when `failures` attempts (1 or more) have failed. `chance` in 0..1 is the jitter.
    pub fn after(&self, failures: u32, chance: f64) -> Next {
        let pause = match self {
            Self::Managed => managed_pause_s(failures),
            Self::Http(retries) => retries.pause_s(failures),
        };
        match pause {
            Some(pause_s) => Next::After(Duration::from_secs_f64(pause_s * (1.0 + JITTER * (2.0 * chance - 1.0)))),
            None => Next::GiveUp,
        }
    }
}

/// The pause before retry `number` (from 1) of a queue or function, in seconds, without jitter.
fn managed_pause_s(number: u32) -> Option<f64> {
    match number {
        ..=3 => Some(0.0),
        4..=5 => Some(1.0),
        // From 1 s to 20 s in ten steps, each longer by the same factor.
        6..=15 => Some(20_f64.powf(f64::from(number - 6) / 9.0)),
        16..=100_015 => Some(20.0),
        _ => None,
    }
}

impl HttpRetries {
    /// The policy in a text of JSON, as `DeliveryPolicy` of a subscription has it; `None` when it says nothing of
    /// retries.
    ///
    /// # Errors
    /// `InvalidParameter` when it is no delivery policy, or its retries take more than 3,600 s together.
    pub(crate) fn parse(text: &str, prefix: &str) -> Result<Option<Self>, SnsError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Policy {
            healthy_retry_policy: Option<HttpRetries>,
            http: Option<Http>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Http {
            default_healthy_retry_policy: Option<HttpRetries>,
        }
        let refuse = |reason: &str| SnsError::invalid(format!("{prefix}DeliveryPolicy: {reason}"));
        let policy: Policy = serde_json::from_str(text).map_err(|_| refuse("failed to parse JSON."))?;
        let retries = policy.healthy_retry_policy.or(policy.http.and_then(|http| http.default_healthy_retry_policy));
        let Some(retries) = retries else { return Ok(None) };
        retries.check().map_err(refuse)?;
        Ok(Some(retries))
    }

    fn check(&self) -> Result<(), &'static str> {
        let phases = u64::from(self.num_no_delay_retries)
            + u64::from(self.num_min_delay_retries)
            + u64::from(self.num_max_delay_retries);
        if self.num_retries > HTTP_RETRIES_MAX {
            return Err("healthyRetryPolicy.numRetries must be less than or equal to 100");
        }
        if phases > u64::from(self.num_retries) {
            return Err("healthyRetryPolicy: the retries of all phases must not exceed numRetries");
        }
        if self.min_delay_target < 1 || self.min_delay_target > self.max_delay_target {
            return Err("healthyRetryPolicy.minDelayTarget must be between 1 and maxDelayTarget");
        }
        if self.max_delay_target > HTTP_RETRIES_S_MAX {
            return Err("healthyRetryPolicy.maxDelayTarget must be less than or equal to 3600");
        }
        let all_s: f64 = (1..=self.num_retries).filter_map(|number| self.pause_s(number)).sum();
        if all_s > HTTP_RETRIES_S_MAX as f64 {
            return Err("the total time of all retries must not exceed 3600 seconds");
        }
        Ok(())
    }

    /// The pause before retry `number` (from 1), in seconds, without jitter.
    fn pause_s(&self, number: u32) -> Option<f64> {
        if number == 0 || number > self.num_retries {
            return None;
        }
        let (min_s, max_s) = (self.min_delay_target as f64, self.max_delay_target as f64);
        let growing = self.num_retries
            - (self.num_no_delay_retries + self.num_min_delay_retries + self.num_max_delay_retries)
                .min(self.num_retries);
        let first_growing = self.num_no_delay_retries + self.num_min_delay_retries;
        Some(match number {
            n if n <= self.num_no_delay_retries => 0.0,
            n if n <= first_growing => min_s,
            n if n <= first_growing + growing => {
                let steps = f64::from(growing.saturating_sub(1).max(1));
                let share = f64::from(n - first_growing - 1) / steps;
                self.backoff_function.between(min_s, max_s, share)
            }
            _ => max_s,
        })
    }
}

impl Backoff {
    /// Where between `min_s` and `max_s` a pause is when `share` (0 to 1) of the growth is over.
    fn between(self, min_s: f64, max_s: f64, share: f64) -> f64 {
        let span = max_s - min_s;
        match self {
            Self::Linear => min_s + span * share,
            Self::Arithmetic => min_s + span * share * (share + 1.0) / 2.0,
            Self::Geometric => min_s * (max_s / min_s).powf(share),
            Self::Exponential => min_s + span * (share.exp2() - 1.0).powi(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(schedule: &Schedule, chance: f64) -> Vec<f64> {
        let pause = |failures| match schedule.after(failures, chance) {
            Next::After(pause) => Some(pause.as_secs_f64()),
            Next::GiveUp => None,
        };
        (1..).map_while(pause).collect()
    }

    #[test]
    fn n1_queues_and_functions_are_tried_again_100_015_times_over_23_days() {
        let pauses = pauses(&Schedule::Managed, 0.5);
        assert_eq!(pauses.len(), 100_015);
        assert_eq!(pauses[..5], [0.0, 0.0, 0.0, 1.0, 1.0]);
        assert!((pauses[5] - 1.0).abs() < 1e-9 && (pauses[14] - 20.0).abs() < 1e-9, "{:?}", &pauses[5..15]);
        assert!(pauses[5..15].windows(2).all(|pair| pair[0] < pair[1]), "{:?}", &pauses[5..15]);
        assert!(pauses[15..].iter().all(|pause| (pause - 20.0).abs() < 1e-9));
        let days = pauses.iter().sum::<f64>() / 86_400.0;
        assert!((23.0..23.3).contains(&days), "{days} days");
    }

    #[test]
    fn n1_pauses_are_jittered_by_a_tenth() {
        for (chance, wanted) in [(0.0, 18.0), (0.5, 20.0), (0.999_999, 22.0)] {
            let Next::After(pause) = Schedule::Managed.after(16, chance) else { panic!("there are retries left") };
            assert!((pause.as_secs_f64() - wanted).abs() < 0.001, "{chance}: {pause:?}");
        }
    }

    #[test]
    fn n1_http_is_tried_three_times_by_default() {
        assert_eq!(pauses(&Schedule::Http(HttpRetries::default()), 0.5), [20.0, 20.0, 20.0]);
    }

    #[test]
    fn n1_http_follows_the_phases_of_its_policy() {
        let policy = r#"{"healthyRetryPolicy":{"minDelayTarget":1,"maxDelayTarget":60,"numRetries":8,
            "numNoDelayRetries":1,"numMinDelayRetries":2,"numMaxDelayRetries":2,"backoffFunction":"linear"}}"#;
        let retries = HttpRetries::parse(policy, "").expect("a policy").expect("with retries");
        assert_eq!(pauses(&Schedule::Http(retries.clone()), 0.5), [0.0, 1.0, 1.0, 1.0, 30.5, 60.0, 60.0, 60.0]);
        for backoff_function in [Backoff::Arithmetic, Backoff::Geometric, Backoff::Exponential] {
            let grown = pauses(&Schedule::Http(HttpRetries { backoff_function, ..retries.clone() }), 0.5);
            assert!((grown[3] - 1.0).abs() < 1e-6 && (grown[5] - 60.0).abs() < 1e-6, "{backoff_function:?}: {grown:?}");
            assert!(1.0 < grown[4] && grown[4] < 30.5, "{backoff_function:?}: {grown:?}");
        }
    }

    #[test]
    fn n1_policies_that_take_longer_than_an_hour_are_refused() {
        for (policy, fine) in [
            (r#"{"healthyRetryPolicy":{"numRetries":3,"minDelayTarget":1200,"maxDelayTarget":1200}}"#, true),
            (r#"{"healthyRetryPolicy":{"numRetries":4,"minDelayTarget":1200,"maxDelayTarget":1200}}"#, false),
            (r#"{"healthyRetryPolicy":{"numRetries":101,"minDelayTarget":1,"maxDelayTarget":1}}"#, false),
            (r#"{"healthyRetryPolicy":{"numRetries":1,"numNoDelayRetries":2}}"#, false),
            (r#"{"healthyRetryPolicy":{"minDelayTarget":30,"maxDelayTarget":20}}"#, false),
            (r#"{"healthyRetryPolicy":{"minDelayTarget":0,"maxDelayTarget":20}}"#, false),
            (r#"{"http":{"defaultHealthyRetryPolicy":{"numRetries":1}}}"#, true),
            ("{}", true),
            ("nonsense", false),
        ] {
            assert_eq!(HttpRetries::parse(policy, "").is_ok(), fine, "{policy}");
        }
    }
}
