//! The server's hold on one sandbox's process tree: kill, freeze, measure. Dropping it kills the tree.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use sys::Clock;
use tokio::sync::watch;

use crate::connection::{Connection, End};
use crate::protocol::{Handle, Request};
use crate::{Exit, Isolation, LaunchError, ProgramEnd, Rest, Usage};

/// Longest that the kernel may take to freeze a tree.
const FREEZE_TIME_MAX: Duration = Duration::from_secs(1);
/// Looks at the freezer that are made back to back before sleeping between them: freezing takes some 50 µs.
const EAGER_LOOKS: u32 = 20;

#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) id: u64,
    connection: Arc<Connection>,
    isolation: Isolation,
    files: Vec<(Handle, OwnedFd)>,
    end: watch::Receiver<End>,
    programs: watch::Receiver<Vec<ProgramEnd>>,
    cpu_us_at_start: u64,
    /// The program was started ahead and has not got the rest of its spec.
    pub(crate) awaits_rest: bool,
}

impl Tree {
    pub(crate) fn new(
        id: u64,
        connection: Arc<Connection>,
        isolation: Isolation,
        files: Vec<(Handle, OwnedFd)>,
        end: watch::Receiver<End>,
        programs: watch::Receiver<Vec<ProgramEnd>>,
    ) -> Self {
        Self { id, connection, isolation, files, end, programs, cpu_us_at_start: 0, awaits_rest: false }
    }

    /// Takes on what came for a tree that was begun without.
    pub(crate) fn hold(&mut self, files: Vec<(Handle, OwnedFd)>) {
        self.files = files;
        self.start_counting();
    }

    fn file(&self, wanted: Handle) -> Option<&OwnedFd> {
        self.files.iter().find(|(handle, _)| *handle == wanted).map(|(_, file)| file)
    }

    /// True when every process is gone.
    pub(crate) fn has_ended(&self) -> bool {
        self.end.borrow().is_some() || self.end.has_changed().is_err()
    }

    pub(crate) async fn exited(&self) -> Exit {
        let mut end = self.end.clone();
        // An error means that the launcher has ended, and it takes every sandbox with it.
        let end = end.wait_for(Option::is_some).await.ok().and_then(|end| *end);
        end.map_or(Exit::Signal(Signal::KILL.as_raw()), |(exit, _)| exit)
    }

    /// The programs that have ended so far, and that will end.
    pub(crate) fn programs(&self) -> watch::Receiver<Vec<ProgramEnd>> {
        self.programs.clone()
    }

    /// Has the main program executed that waited for its companions.
    pub(crate) async fn begin(&self) -> Result<(), LaunchError> {
        let begun = self.connection.await_begun(self.id);
        self.connection.send(&Request::Begin { id: self.id }, &[]).await?;
        Ok(begun.await.map_err(|_| LaunchError::LauncherGone)??)
    }

    pub(crate) fn kill(&self) {
        if self.has_ended() {
            return;
        }
        if let Some(pidfd) = self.file(Handle::Pidfd) {
            // It may have ended since.
            let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
        }
        // A frozen tree does not even die (cgroup v1).
        let _ = self.write_freezer(false);
        // Where the helper has to do the rest, or has the only hold on it so far.
        if self.isolation == Isolation::None || self.files.is_empty() {
            self.connection.send_now(&Request::Kill { id: self.id });
        }
    }

    /// Gives the running program the rest of its spec and counts what it uses from here.
    pub(crate) async fn complete(&mut self, rest: Rest) -> Result<(), LaunchError> {
        if !std::mem::take(&mut self.awaits_rest) {
            return Err(LaunchError::Invalid("the sandbox does not await anything".to_owned()));
        }
        let completed = self.connection.await_completed(self.id);
        self.connection.send(&Request::Complete { id: self.id, rest: Box::new(rest) }, &[]).await?;
        completed.await.map_err(|_| LaunchError::LauncherGone)??;
        self.start_counting();
        Ok(())
    }

    /// Gives it an eighth of the usual weight, or all of it. Nothing where there is no controller.
    pub(crate) fn work_ahead(&self, ahead: bool) -> io::Result<()> {
        let (file, usual) = match (self.file(Handle::CpuWeightV1), self.file(Handle::CpuWeightV2)) {
            (Some(file), _) => (file, 1024),
            (None, Some(file)) => (file, 100),
            (None, None) => return Ok(()),
        };
        let weight: u32 = if ahead { usual / 8 } else { usual };
        rustix::io::pwrite(file, weight.to_string().as_bytes(), 0)?;
        Ok(())
    }

    /// Starts counting CPU time from here.
    pub(crate) fn start_counting(&mut self) {
        self.cpu_us_at_start = self.cpu_us();
    }

    pub(crate) fn usage(&self) -> Usage {
        if let Some((_, usage)) = *self.end.borrow() {
            return usage;
        }
        let memory_peak_bytes = self
            .file(Handle::MemoryPeak)
            .and_then(|file| read(file).ok())
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0);
        Usage { memory_peak_bytes, cpu_us: self.cpu_us().saturating_sub(self.cpu_us_at_start) }
    }

    fn cpu_us(&self) -> u64 {
        let v1 =
            self.file(Handle::CpuV1).and_then(|file| read(file).ok()).and_then(|text| text.trim().parse::<u64>().ok());
        let v2 = || {
            self.file(Handle::CpuV2).and_then(|file| read(file).ok()).and_then(|text| crate::keyed(&text, "usage_usec"))
        };
        v1.map(|ns| ns / 1000).or_else(v2).unwrap_or(0)
    }

    pub(crate) async fn freeze(&self, clock: &Clock) -> io::Result<()> {
        if !self.write_freezer(true)? {
            return self.signal(true).await;
        }
        let started = clock.elapsed();
        let mut looks = 0;
        while !self.is_frozen()? {
            if clock.elapsed() - started > FREEZE_TIME_MAX {
                self.write_freezer(false)?;
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the kernel did not freeze the sandbox within a second",
                ));
            }
            looks += 1;
            match looks < EAGER_LOOKS {
                true => tokio::task::yield_now().await,
                false => clock.sleep(Duration::from_millis(1)).await,
            }
        }
        Ok(())
    }

    pub(crate) async fn thaw(&self) -> io::Result<()> {
        match self.write_freezer(false)? {
            true => Ok(()),
            false => self.signal(false).await,
        }
    }

    /// Writes to the freezer; false when there is none.
    fn write_freezer(&self, frozen: bool) -> io::Result<bool> {
        let (file, text) = match (self.file(Handle::FreezerV1), self.file(Handle::FreezerV2), frozen) {
            (Some(file), _, true) => (file, "FROZEN"),
            (Some(file), _, false) => (file, "THAWED"),
            (None, Some(file), true) => (file, "1"),
            (None, Some(file), false) => (file, "0"),
            (None, None, _) => return Ok(false),
        };
        rustix::io::pwrite(file, text.as_bytes(), 0)?;
        Ok(true)
    }

    fn is_frozen(&self) -> io::Result<bool> {
        match (self.file(Handle::FreezerV1), self.file(Handle::FreezerEventsV2)) {
            (Some(state), _) => Ok(read(state)?.trim() == "FROZEN"),
            (None, Some(events)) => Ok(crate::keyed(&read(events)?, "frozen") == Some(1)),
            (None, None) => Ok(true),
        }
    }

    /// Stops or resumes by signals, through the helper.
    async fn signal(&self, frozen: bool) -> io::Result<()> {
        let done = self.connection.await_frozen(self.id);
        self.connection.send(&Request::Freeze { id: self.id, frozen }, &[]).await.map_err(io::Error::other)?;
        match done.await {
            Ok(result) => result.map_err(io::Error::other),
            Err(_) => Err(io::Error::other("the sandbox has ended")),
        }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        self.kill();
    }
}

fn read(file: &OwnedFd) -> io::Result<String> {
    let mut bytes = [0_u8; 4096];
    let length = rustix::io::pread(file.as_fd(), &mut bytes[..], 0)?;
    Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
}
