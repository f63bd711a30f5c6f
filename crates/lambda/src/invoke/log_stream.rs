//! One log stream: what an execution environment writes and what the platform writes about it, in order.
//!
//! ```text
//!   stdout ─┐
//!   stderr ─┼─► lines ─┐              (each external extension's output likewise)
//!   log fd ─┴─► frames ┼─► allowance ─► log events (written behind)
//!   platform: START …  ┘              └► tail (LogType=Tail)
//! ```
//!
//! Nobody reads in the background: whoever runs the environment calls [`LogStream::pump`] while it waits and
//! [`LogStream::drain`] when the answer is there. What was written before the answer is in the pipe by then, so it
//! always precedes `END`. What is written after it waits in the pipe for the next invocation, as on AWS.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use sandbox::Sandbox;
use sys::Clock;
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::unix::pipe;

use super::log_lines::{Allowance, Assembler, Record, Tail};
use super::log_records::PlatformRecords;
use super::telemetry::{Event, Kind, Telemetry, events};
use super::{InvokeLimits, LogSink};
use crate::{FunctionVersion, LogFormat};

/// Most bytes that one pump takes from a descriptor, so that a flood does not starve the others.
const PUMP_BYTES_MAX: usize = 256 * 1024;
/// Most bytes that a drain takes from a descriptor: the largest pipe that Linux allows without privileges.
const DRAIN_BYTES_MAX: usize = 1 << 20;

/// The writing end of one environment's log stream.
pub(crate) struct LogStream {
    pub(crate) platform: PlatformRecords,
    clock: Clock,
    sink: LogSink,
    function: Arc<FunctionVersion>,
    /// Name of the log stream.
    name: String,
    sources: Vec<Source>,
    telemetry: Option<Telemetry>,
    tail: Tail,
    allowance: Allowance,
    buffer: Box<[u8]>,
}

struct Source {
    kind: Kind,
    pipe: pipe::Receiver,
    assembler: Assembler,
}

/// One event on its way to the log store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Milliseconds since 1970.
    pub timestamp_ms: i64,
    /// One record; may hold several lines.
    pub message: String,
}

impl LogStream {
    pub(crate) fn new(
        function: Arc<FunctionVersion>,
        name: String,
        platform: PlatformRecords,
        limits: &InvokeLimits,
        clock: Clock,
        sink: LogSink,
    ) -> Self {
        Self {
            platform,
            clock,
            sink,
            function,
            name,
            sources: Vec::new(),
            telemetry: None,
            tail: Tail::default(),
            allowance: Allowance::new(limits.log_burst_bytes, limits.log_bytes_per_s),
            buffer: vec![0; 64 * 1024].into_boxed_slice(),
        }
    }

    /// Whose log it is.
    pub(crate) fn function(&self) -> &FunctionVersion {
        &self.function
    }

    /// What subscribers to telemetry learn about the environment first.
    pub(super) fn facts(&self) -> serde_json::Value {
        serde_json::json!({
            "functionName": self.function.name,
            "functionVersion": self.function.version,
            "runtimeVersion": self.platform.runtime(),
            "instanceId": self.name,
            "instanceMaxMemory": u64::from(self.function.memory_mb) << 20,
        })
    }

    /// Passes an event of the platform to subscribers. It is made only when somebody listens.
    pub(super) fn publish(&self, event: impl FnOnce() -> Event) {
        if let Some(telemetry) = &self.telemetry {
            telemetry.publish(event);
        }
    }

    /// Passes an event about an invocation to subscribers: it says for which tenant it was, where there is one.
    pub(super) fn publish_of_invocation(&self, event: impl FnOnce() -> Event) {
        self.publish(|| {
            let mut event = event();
            self.platform.set_tenant(&mut event.record);
            event
        });
    }

    /// The name of the log stream.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Reads `sandbox`'s output from now on, and passes it on as `telemetry`. What an earlier sandbox of this stream left
    /// unfinished is written first.
    pub(super) fn attach(&mut self, sandbox: &mut Sandbox, telemetry: Telemetry) {
        self.finish();
        self.telemetry = Some(telemetry);
        let lines = |kind| move |pipe| Source { kind, pipe, assembler: Assembler::lines() };
        self.sources.extend(sandbox.take_stdout().map(lines(Kind::Function)));
        self.sources.extend(sandbox.take_stderr().map(lines(Kind::Function)));
        self.sources.extend(sandbox.take_companion_outputs().into_iter().map(lines(Kind::Extension)));
        let frames = |pipe| Source { kind: Kind::Function, pipe, assembler: Assembler::frames() };
        self.sources.extend(sandbox.take_log().map(frames));
    }

    /// Waits for output and logs it. Never returns once every descriptor is closed. Dropping the future loses nothing.
    pub(crate) async fn pump(&mut self) {
        let (at, first) = std::future::poll_fn(|cx| self.poll_sources(cx)).await;
        let mut records = Vec::new();
        let mut taken = 0;
        let mut read = first;
        let source = &mut self.sources[at];
        let open = loop {
            match read {
                Ok(0) => break false,
                Ok(length) => {
                    source.assembler.push(&self.buffer[..length], &mut records);
                    taken += length;
                }
                Err(error) => break error.kind() == io::ErrorKind::WouldBlock,
            }
            if taken >= PUMP_BYTES_MAX {
                break true;
            }
            read = source.pipe.try_read(&mut self.buffer);
        };
        let kind = source.kind;
        if !open {
            let mut closed = self.sources.swap_remove(at);
            closed.assembler.flush(&mut records);
        }
        self.log(kind, records);
    }

    /// Reads into the buffer from the first source that has something.
    fn poll_sources(&mut self, cx: &mut Context<'_>) -> Poll<(usize, io::Result<usize>)> {
        for (at, source) in self.sources.iter_mut().enumerate() {
            let mut buffer = ReadBuf::new(&mut self.buffer);
            if let Poll::Ready(read) = Pin::new(&mut source.pipe).poll_read(cx, &mut buffer) {
                return Poll::Ready((at, read.map(|()| buffer.filled().len())));
            }
        }
        Poll::Pending
    }

    /// Logs everything that the environment has written up to now, unfinished lines included.
    pub(crate) fn drain(&mut self) {
        for at in 0..self.sources.len() {
            let mut records = Vec::new();
            let source = &mut self.sources[at];
            let mut taken = 0;
            // Past tokio's readiness, which may lag behind the kernel: what was written before now must be seen now.
            while taken < DRAIN_BYTES_MAX {
                match rustix::io::read(&source.pipe, &mut self.buffer[..]) {
                    Ok(0) => break,
                    Ok(length) => {
                        source.assembler.push(&self.buffer[..length], &mut records);
                        taken += length;
                    }
                    Err(rustix::io::Errno::INTR) => {}
                    Err(_) => break,
                }
            }
            source.assembler.flush(&mut records);
            let kind = source.kind;
            self.log(kind, records);
        }
        if let Some((records, bytes)) = self.allowance.take_dropped() {
            let message = self.platform.logs_dropped(records, bytes, self.clock.now());
            self.write(message);
        }
    }

    /// Writes one record of the platform. `None` is a record that the function's log level hides.
    pub(crate) fn write(&mut self, message: impl Into<Option<String>>) {
        self.write_all([message.into()]);
    }

    /// Writes several records of the platform at the price of one; see [`LogStream::write`].
    pub(crate) fn write_all<const N: usize>(&mut self, messages: [Option<String>; N]) {
        let timestamp_ms = self.clock.now().unix_ms();
        let lines: Vec<LogLine> =
            messages.into_iter().flatten().map(|message| LogLine { timestamp_ms, message }).collect();
        lines.iter().for_each(|line| self.tail.push(&line.message));
        if !lines.is_empty() {
            self.send(lines);
        }
    }

    /// The last 4 KB since the last call.
    pub(crate) fn take_tail(&mut self) -> Vec<u8> {
        self.tail.take()
    }

    fn finish(&mut self) {
        self.drain();
        self.sources.clear();
    }

    fn log(&mut self, kind: Kind, records: Vec<Record>) {
        if records.is_empty() {
            return;
        }
        let (now_ms, elapsed) = (self.clock.now().unix_ms(), self.clock.elapsed());
        let mut lines = Vec::with_capacity(records.len());
        for Record { time_ms, message } in records {
            if self.allowance.take(message.len(), elapsed) {
                self.tail.push(&message);
                // The function's own time is only believed when it lies in the last minute.
                let timestamp_ms = time_ms.filter(|time| (now_ms - 60_000..=now_ms).contains(time)).unwrap_or(now_ms);
                lines.push(LogLine { timestamp_ms, message });
            }
        }
        if lines.is_empty() {
            return;
        }
        if let Some(telemetry) = self.telemetry.as_ref().filter(|telemetry| telemetry.is_heard()) {
            let structured = self.function.logging.format == LogFormat::Json;
            telemetry.publish_all(lines.iter().map(|line| events::line(kind, &line.message, structured)));
        }
        self.send(lines);
    }

    fn send(&self, lines: Vec<LogLine>) {
        (self.sink)(&self.function, &self.name, lines);
    }
}

impl Drop for LogStream {
    fn drop(&mut self) {
        self.finish();
    }
}
