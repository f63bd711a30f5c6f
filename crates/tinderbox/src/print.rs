//! The only place that prints: data to stdout, talk to stderr.

use std::io::{IsTerminal, Write};

/// How results are shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Print {
    /// Whether results are JSON instead of text.
    pub(crate) json: bool,
}

impl Print {
    /// A result in text form; nothing when JSON was asked for.
    pub(crate) fn text(self, text: &str) {
        if !self.json {
            line(text);
        }
    }

    /// A result in JSON form; nothing when text was asked for.
    pub(crate) fn json(self, value: &serde_json::Value) {
        if self.json {
            line(&value.to_string());
        }
    }
}

/// One line of data on stdout. A reader that went away (`| head`) is no error.
pub(crate) fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Bytes of data on stdout, as they are.
pub(crate) fn bytes(data: &[u8]) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(data).and_then(|()| out.flush());
}

/// One line of talk on stderr.
pub(crate) fn talk(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Whether stdout shows colours: a terminal without `NO_COLOR` (no-color.org).
pub(crate) fn color() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
