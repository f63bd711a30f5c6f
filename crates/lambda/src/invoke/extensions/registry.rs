//! Which extensions an environment has, and where each is in its life. Pure: no I/O, no clock.
//!
//! ```text
//!            register            next             (event)
//!   Started ─────────▶ Registered ────▶ Ready ───────────▶ Running
//!   (external)            │   │           │    ▲               │
//!                         │   │ exit/error│    └──── next ─────┘
//!              init/error │   └───────────┴───▶ ExitError ◀────┘ exit/error
//!                         ▼
//!                     InitError
//! ```
//!
//! Strict, as AWS is: a step that the diagram has not gets 403 and changes nothing. Error types and texts are those of the
//! agent that AWS publishes (aws-lambda-runtime-interface-emulator).

use super::super::apis::Refused;
use super::{Event, Failure, FailureKind};

/// Extensions of one environment, external and internal together (Lambda developer guide, "Extensions API", Init phase).
pub(crate) const EXTENSIONS_MAX: usize = 10;
/// Longest name, in bytes: that of a file.
const NAME_BYTES_MAX: usize = 255;

/// All extensions of one environment.
#[derive(Debug)]
pub(super) struct Registry {
    /// External ones first, in the order of their programs.
    extensions: Vec<Extension>,
    /// False once the runtime is ready: nobody may register any more.
    open: bool,
    /// The first failure that an extension reported.
    failure: Option<Failure>,
}

#[derive(Debug)]
pub(super) struct Extension {
    pub(super) name: String,
    /// UUID; what it calls with.
    pub(super) id: String,
    /// The companion's number among the sandbox's programs, when it is external.
    pub(super) program: Option<usize>,
    pub(super) events: Vec<EventType>,
    pub(super) phase: Phase,
    /// The event that waits for a call to `next`.
    pending: Option<Event>,
    /// True while a call to `next` waits.
    asked: bool,
    pub(super) error_type: Option<String>,
}

/// What an extension may subscribe to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventType {
    Invoke,
    Shutdown,
}

impl EventType {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Invoke => "INVOKE",
            Self::Shutdown => "SHUTDOWN",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Started,
    Registered,
    Ready,
    Running,
    InitError,
    ExitError,
}

impl Phase {
    /// AWS's name, as its error texts and its log show it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Started => "Started",
            Self::Registered => "Registered",
            Self::Ready => "Ready",
            Self::Running => "Running",
            Self::InitError => "InitError",
            Self::ExitError => "ExitError",
        }
    }
}

impl Extension {
    fn new(name: String, id: String, program: Option<usize>) -> Self {
        let (events, phase) = (Vec::new(), Phase::Started);
        Self { name, id, program, events, phase, pending: None, asked: false, error_type: None }
    }

    pub(super) fn subscribes(&self, event: EventType) -> bool {
        self.events.contains(&event)
    }

    fn transition(&self, to: Phase, who: &str) -> Refused {
        refused(
            "Extension.InvalidExtensionState",
            format!(
                "State transition from {} to {} failed for extension {who}. Error: State transition is not allowed",
                self.phase.name(),
                to.name()
            ),
        )
    }
}

impl Registry {
    /// With external extensions of these names, which have been started as the programs 1, 2, ….
    pub(super) fn new(external: impl Iterator<Item = (String, String)>) -> Self {
        let extensions = external.zip(1..).map(|((name, id), program)| Extension::new(name, id, Some(program)));
        Self { extensions: extensions.collect(), open: true, failure: None }
    }

    pub(super) fn all(&self) -> &[Extension] {
        &self.extensions
    }

    pub(super) fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// `POST /extension/register`: `id` is what a new internal extension is given. Returns the caller's identifier.
    pub(super) fn register(&mut self, name: &str, events: &[String], id: String) -> Result<String, Refused> {
        if name.is_empty() {
            return Err(refused("Extension.InvalidExtensionName", "Empty extension name".to_owned()));
        }
        if name.len() > NAME_BYTES_MAX {
            let message = format!("The extension name is longer than {NAME_BYTES_MAX} bytes");
            return Err(refused("Extension.InvalidExtensionName", message));
        }
        let external = self.extensions.iter().position(|one| one.program.is_some() && one.name == name);
        let events = parse_events(events, external.is_some())?;
        let at = match external {
            Some(at) => at,
            None => self.add_internal(name, id)?,
        };
        let extension = &mut self.extensions[at];
        if extension.phase != Phase::Started {
            return Err(extension.transition(Phase::Registered, name));
        }
        extension.phase = Phase::Registered;
        extension.events = events;
        Ok(extension.id.clone())
    }

    fn add_internal(&mut self, name: &str, id: String) -> Result<usize, Refused> {
        if !self.open {
            let message = "Extension registration closed already".to_owned();
            return Err(refused("Extension.RegistrationClosed", message));
        }
        if self.extensions.iter().any(|one| one.name == name) {
            let message = "Extension with this name already registered".to_owned();
            return Err(refused("Extension.InvalidExtensionState", message));
        }
        if self.extensions.len() >= EXTENSIONS_MAX {
            let message = format!("Extension limit ({EXTENSIONS_MAX}) reached");
            return Err(refused("Extension.TooManyExtensions", message));
        }
        self.extensions.push(Extension::new(name.to_owned(), id, None));
        Ok(self.extensions.len() - 1)
    }

    /// Nobody may register any more.
    pub(super) fn close(&mut self) {
        self.open = false;
    }

    /// Whose identifier this is. An external extension that has not registered was told none.
    fn find(&mut self, id: &str, unknown: impl FnOnce() -> String) -> Result<&mut Extension, Refused> {
        let found = self.extensions.iter_mut().find(|one| one.id == id && one.phase != Phase::Started);
        found.ok_or_else(|| refused("Extension.UnknownExtensionIdentifier", unknown()))
    }

    /// The name of whoever calls with this identifier.
    pub(super) fn name_of(&self, id: &str) -> Result<String, Refused> {
        let found = self.extensions.iter().find(|one| one.id == id && one.phase != Phase::Started);
        let unknown = || refused("Extension.UnknownExtensionIdentifier", format!("Unknown extension {id}"));
        found.map(|one| one.name.clone()).ok_or_else(unknown)
    }

    /// `GET /extension/event/next` begins to wait.
    pub(super) fn ask(&mut self, id: &str) -> Result<(), Refused> {
        let extension = self.find(id, || format!("Unknown extension {id}"))?;
        // Whoever hung up while it waited may ask again.
        let again = extension.phase == Phase::Ready && !extension.asked;
        if !again && !matches!(extension.phase, Phase::Registered | Phase::Running) {
            return Err(extension.transition(Phase::Ready, id));
        }
        extension.phase = Phase::Ready;
        extension.asked = true;
        Ok(())
    }

    /// The event that a waiting call to `next` takes.
    pub(super) fn take(&mut self, id: &str) -> Option<Event> {
        let extension = self.extensions.iter_mut().find(|one| one.id == id && one.phase == Phase::Ready)?;
        let event = extension.pending.take()?;
        extension.phase = Phase::Running;
        Some(event)
    }

    /// A call to `next` waits no longer, whatever the reason.
    pub(super) fn hang_up(&mut self, id: &str) {
        if let Some(extension) = self.extensions.iter_mut().find(|one| one.id == id) {
            extension.asked = false;
        }
    }

    /// `POST /extension/init/error` and `/exit/error`. Only the first one of an extension counts.
    pub(super) fn fail(&mut self, id: &str, kind: FailureKind, error_type: &str) -> Result<(), Refused> {
        let extension = self.find(id, || "Unknown Lambda-Extension-Identifier".to_owned())?;
        let to = if kind == FailureKind::Init { Phase::InitError } else { Phase::ExitError };
        if extension.phase == to {
            return Ok(());
        }
        let allowed = match kind {
            FailureKind::Init => extension.phase == Phase::Registered,
            _ => matches!(extension.phase, Phase::Registered | Phase::Ready | Phase::Running),
        };
        if !allowed {
            return Err(extension.transition(to, id));
        }
        extension.phase = to;
        extension.error_type = Some(error_type.to_owned());
        let failure = Failure { kind, name: extension.name.clone(), text: error_type.to_owned() };
        self.failure.get_or_insert(failure);
        Ok(())
    }

    /// Puts an event where the subscribers' calls to `next` find it. A shutdown takes the place of what waits.
    pub(super) fn deliver(&mut self, event_type: EventType, event: &Event) {
        for extension in self.extensions.iter_mut().filter(|one| one.subscribes(event_type)) {
            extension.pending = Some(event.clone());
        }
    }

    /// True when every external extension has registered.
    pub(super) fn have_registered(&self) -> bool {
        self.extensions.iter().all(|one| one.phase != Phase::Started)
    }

    /// True when every extension that registered waits for its next event.
    pub(super) fn are_ready(&self) -> bool {
        self.extensions.iter().all(|one| one.phase == Phase::Ready)
    }

    /// True when no extension works on an invocation, or has yet to begin.
    pub(super) fn are_done(&self) -> bool {
        let concerned = |one: &&Extension| one.subscribes(EventType::Invoke);
        self.extensions.iter().filter(concerned).all(|one| one.phase == Phase::Ready && one.pending.is_none())
    }
}

fn parse_events(events: &[String], external: bool) -> Result<Vec<EventType>, Refused> {
    let mut parsed = Vec::new();
    for event in events {
        let known = match event.as_str() {
            "INVOKE" => Ok(EventType::Invoke),
            "SHUTDOWN" if external => Ok(EventType::Shutdown),
            "SHUTDOWN" => Err("ShutdownEventNotSupportedForInternalExtension"),
            _ => Err("ErrorInvalidEventType"),
        };
        let cut: String = event.chars().take(64).collect();
        let known = known.map_err(|why| refused("Extension.InvalidEventType", format!("{cut}: {why}")))?;
        if !parsed.contains(&known) {
            parsed.push(known);
        }
    }
    Ok(parsed)
}

fn refused(error_type: &'static str, message: String) -> Refused {
    Refused { status: 403, error_type, message }
}

#[cfg(test)]
mod tests;
