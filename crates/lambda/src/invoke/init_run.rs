//! The init of a function, run for what it tells: in an environment as its others, with its role, its variables and its limits,
//! which is given no event and ends when init is over.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::beside::Beside;
use super::ending::Ending;
use super::environments::StartRight;
use super::log_records::InitPhase;
use super::module_times::{ModuleTimes, shown};
use super::report::{ColdStart, Status};
use super::spares::{NotInitialised, init_max};
use super::start::{StartFailure, Started};
use super::{InvokeError, Invoker};
use crate::FunctionVersion;

/// What an init is run for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The parts of the cold start.
    Nothing,
    /// The time that each module takes to load.
    Modules,
    /// What it would take if the package were one bundle: made inside by this program of the host, an `esbuild`.
    Bundle(PathBuf),
}

/// What an init has told.
#[derive(Clone, Debug)]
pub struct InitRun {
    /// The parts of the cold start.
    pub cold: ColdStart,
    /// What was asked for, where the runtime is one of our bootstraps.
    pub told: Option<Told>,
}

/// What was asked for, as the function's own process says it.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// [`Asked::Modules`]
    Modules(ModuleTimes),
    /// [`Asked::Bundle`]
    Bundle(Bundle),
    /// It makes no sense: the process said something else than our bootstraps do.
    Nonsense(String),
}

/// A package as one bundle.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Bundle {
    /// It was made and loaded.
    Loaded {
        /// Its length.
        bytes: u64,
        /// How long it took to load, in microseconds.
        #[serde(rename = "loadUs")]
        load_us: u64,
    },
    /// It was not.
    Failed {
        /// Why.
        error: String,
    },
}

impl Invoker {
    /// Runs the init of a function for what is asked.
    ///
    /// # Errors
    /// See [`NotInitialised`].
    pub async fn run_init(&self, function: &Arc<FunctionVersion>, asked: Asked) -> Result<InitRun, NotInitialised> {
        // Until it is here nothing is held that others wait for.
        let _image = self.image_of(function).await.map_err(|cause| InvokeError::Unavailable { cause })?;
        let StartRight { slot, memory } = self.0.environments.right_to_start(function.memory_mb).await?;
        let (id, logs) = self.open_log_stream(function, None)?;
        let clock = &self.0.clock;
        let beside = match asked {
            Asked::Nothing => Beside::Nothing,
            // What serves several events at once asks for them through the Runtime API, where nothing is told beside.
            _ if function.managed.is_some() => Beside::Nothing,
            Asked::Modules => Beside::Modules,
            Asked::Bundle(program) => Beside::Bundle(program),
        };
        let started = self.start_beside(function, memory, id, logs, Some(beside.clone())).await;
        let Started { mut environment, timings } = started.map_err(|failure| match failure {
            StartFailure::Platform(error) => error.into(),
            StartFailure::Package(ending, _) => failed(&ending),
        })?;
        let start = clock.elapsed();
        let initialised = environment.initialise(InitPhase::Init, init_max(function)).await;
        drop(slot);
        let status = initialised.as_ref().map_or_else(Ending::init_status, |_| Status::Answered);
        let took = clock.elapsed() - start;
        let record = environment.logs.platform.init_report(InitPhase::Init, took, &status, clock.now());
        environment.logs.write(record);
        let initialised = initialised.map_err(|ending| match self.0.shutdown.is_cancelled() {
            true => InvokeError::Unavailable { cause: "the server is shutting down".to_owned() }.into(),
            false => failed(&ending),
        })?;
        let told = environment.given.take().map(|given| told(&beside, &given));
        environment.reclaim().await;
        environment.reclaimed().await;
        let cold = ColdStart {
            code_download: timings.code_download,
            sandbox_start: timings.sandbox_start,
            runtime_init: initialised.runtime_init,
            user_init: initialised.user_init,
        };
        Ok(InitRun { cold, told })
    }
}

/// How an init has failed that was run for what it tells: nothing comes after it.
fn failed(ending: &Ending) -> NotInitialised {
    match NotInitialised::of(ending) {
        NotInitialised::Failed { code, .. } => {
            NotInitialised::Failed { code, reason: shown(&ending.error_type().unwrap_or_default()) }
        }
        unavailable @ NotInitialised::Unavailable(_) => unavailable,
    }
}

/// Reads what was given. What is wrong with it may be in the function's own words.
fn told(beside: &Beside, given: &Bytes) -> Told {
    let nonsense = |error: &str| Told::Nonsense(shown(error));
    match beside {
        Beside::Bundle(_) => match serde_json::from_slice(given) {
            Ok(Bundle::Failed { error }) => Told::Bundle(Bundle::Failed { error: shown(&error) }),
            Ok(loaded) => Told::Bundle(loaded),
            Err(error) => nonsense(&error.to_string()),
        },
        _ => ModuleTimes::read(given).map_or_else(|error| nonsense(&error), Told::Modules),
    }
}

#[cfg(test)]
mod tests {
    use sandbox::Exit;

    use super::*;

    #[test]
    fn what_a_function_says_of_itself_steers_no_terminal() {
        let given = Bytes::from_static(br#"{"\u001b]0;evil\u0007\u202e": 1}"#);
        let Told::Nonsense(text) = told(&Beside::Modules, &given) else { panic!("it is nonsense") };
        assert!(text.contains("]0;evil") && !text.contains(|letter: char| letter.is_control() || letter == '\u{202e}'));
        let given = Bytes::from_static(br#"{"error": "\u001b]0;evil\u0007"}"#);
        let said = told(&Beside::Bundle(PathBuf::new()), &given);
        assert_eq!(said, Told::Bundle(Bundle::Failed { error: "]0;evil".to_owned() }));
    }

    #[test]
    fn an_init_that_fails_says_of_what() {
        let error = failed(&Ending::Exited(Exit::Code(1)));
        assert_eq!(error.to_string(), "Runtime.ExitError");
        assert!(matches!(failed(&Ending::Platform("full".to_owned())), NotInitialised::Unavailable(_)));
    }
}
