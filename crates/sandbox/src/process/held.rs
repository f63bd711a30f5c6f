//! Forked children that wait for the word before they execute a program.

use std::convert::Infallible;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Pid, WaitOptions};
use seccompiler::BpfProgram;

use crate::StepError;
use crate::process::init::leave;
use crate::process::raw::{self, Fork};
use crate::process::seccomp;

/// Tells a forked child to go on.
const GO: [u8; 1] = *b"!";
/// What the child says once it is confined. An error is JSON and begins otherwise.
const CONFINED: [u8; 1] = *b"=";

/// Forks; the child takes on descriptors 0–4, runs `prepare` and loads the filter. When `lock_down` is over in this process,
/// the child executes the command. Returns when it has been executed, or with the step that failed; nothing is executed
/// when `lock_down` fails.
pub(crate) fn fork_program(
    descriptors: &[OwnedFd],
    prepare: impl FnOnce() -> Result<Command, StepError>,
    lock_down: impl FnOnce() -> Result<(), StepError>,
    filter: Option<&BpfProgram>,
) -> Result<Pid, StepError> {
    let descriptors: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
    let held = fork_held(&descriptors, prepare, filter)?;
    let pid = held.pid();
    if let Err(error) = lock_down() {
        held.end();
        return Err(error);
    }
    held.go().map(|()| pid)
}

/// A child that is confined, and waits for the word before it executes its command. It ends when the parent does.
pub(crate) struct Held {
    pid: Pid,
    /// One byte comes when it is confined and one goes to it, what failed comes back. `execve` closes its end.
    status: UnixStream,
    is_confined: bool,
}

impl Held {
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Returns when the child has given up every privilege, or has failed to, which [`Held::go`] tells.
    pub(crate) fn await_confined(&mut self) {
        if self.is_confined {
            return;
        }
        let mut first = [0; CONFINED.len()];
        // Looked at and not taken: what else it is belongs to the error.
        let peeked = rustix::io::retry_on_intr(|| {
            rustix::net::recv(&self.status, &mut first[..], rustix::net::RecvFlags::PEEK).map(|(_, length)| length)
        });
        if peeked == Ok(first.len()) && first == CONFINED {
            self.is_confined = self.status.read_exact(&mut first).is_ok();
        }
    }

    /// Has the command executed. Returns when that is done, or with the step that failed; then the child has been reaped.
    pub(crate) fn go(mut self) -> Result<(), StepError> {
        let mut failure = Vec::new();
        self.await_confined();
        // A child that could not be confined has ended before the word, and has said why.
        let told = self.status.write_all(&GO);
        let heard = self.status.read_to_end(&mut failure);
        if failure.is_empty() && told.is_ok() && heard.is_ok() {
            return Ok(());
        }
        self.end();
        if failure.is_empty() {
            told.and(heard.map(drop)).map_err(|error| StepError::new("exec", "status", error))?;
        }
        Err(serde_json::from_slice(&failure).unwrap_or(StepError {
            step: "exec".to_owned(),
            detail: "the child failed without a word".to_owned(),
            errno: 0,
        }))
    }

    /// Reaps a child that has said why it fails, or hears now that it may not go on.
    fn end(self) {
        drop(self.status);
        let _ = rustix::process::waitpid(Some(self.pid), WaitOptions::empty());
    }
}

/// Forks a child that takes on `descriptors` as 1, 2, …, runs `prepare`, loads the filter, and then waits: whatever runs beside it
/// after [`Held::await_confined`] finds no privilege in it.
pub(crate) fn fork_held(
    descriptors: &[BorrowedFd<'_>],
    prepare: impl FnOnce() -> Result<Command, StepError>,
    filter: Option<&BpfProgram>,
) -> Result<Held, StepError> {
    let (here, there) = UnixStream::pair().map_err(|error| StepError::new("exec", "status", error))?;
    let there = OwnedFd::from(there);
    match raw::fork().map_err(|error| StepError::new("clone", "fork", error))? {
        Fork::Parent(pid, _) => Ok(Held { pid, status: here, is_confined: false }),
        Fork::Child => leave(|| execute(descriptors, &there, prepare, filter)),
    }
}

/// The child's side of [`fork_held`]: only returns to report failure.
fn execute(
    descriptors: &[BorrowedFd<'_>],
    status: &OwnedFd,
    prepare: impl FnOnce() -> Result<Command, StepError>,
    filter: Option<&BpfProgram>,
) {
    let place = || {
        raw::reset_signals();
        let null = File::options().read(true).open("/dev/null")?;
        let mut first = vec![null.as_fd()];
        first.extend(descriptors);
        let status = raw::place_descriptors(&first, status.as_fd())?;
        std::mem::forget(null);
        Ok(UnixStream::from(status))
    };
    let status: std::io::Result<UnixStream> = place();
    let Ok(mut status) = status else { return };
    let attempt = || -> Result<Infallible, Option<StepError>> {
        rustix::process::setsid().map_err(|error| StepError::new("exec", "setsid", error))?;
        let mut command = prepare()?;
        if let Some(filter) = filter {
            seccomp::load(filter)?;
        }
        // Whoever waits for this has gone if it fails.
        let _ = (&status).write_all(&CONFINED);
        // The parent's end is closed here by now: without the byte there is an end, and nothing to say.
        (&status).read_exact(&mut [0; GO.len()]).map_err(|_| None)?;
        let error = command.exec();
        Err(Some(StepError::new("exec", command.get_program().display(), error)))
    };
    let Err(Some(error)) = attempt() else { return };
    let text = serde_json::to_vec(&error).unwrap_or_else(|_| b"{}".to_vec());
    // Nobody is left to hear if this fails; the parent then reports a failure without a word.
    let _ = status.write_all(&text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Exit;
    use crate::process::init::exit_of;

    /// Set in the process in which one test runs alone: a process with other threads must not fork.
    const ALONE: &str = "SANDBOX_TEST_ALONE";

    fn reap(pid: Pid) -> Exit {
        let (_, status) = rustix::process::waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap();
        exit_of(status)
    }

    #[test]
    fn the_program_starts_only_when_pid_1_is_locked_down() {
        if std::env::var_os(ALONE).is_none() {
            let name = "process::held::tests::the_program_starts_only_when_pid_1_is_locked_down";
            let mut alone = Command::new(std::env::current_exe().unwrap());
            let output = alone.args(["--exact", name, "--test-threads=1"]).env(ALONE, "1").output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && text.contains("1 passed"), "{text}");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let locked = folder.path().join("locked");
        let descriptors: Vec<OwnedFd> = (0..4).map(|_| File::open("/dev/null").unwrap().into()).collect();
        let test = |path: &std::path::Path| {
            let mut command = Command::new("/usr/bin/test");
            command.arg("-e").arg(path);
            Ok(command)
        };
        let slowly = || {
            // Long enough for a program that does not wait to be over first.
            assert!(Command::new("/usr/bin/sleep").arg("0.2").status().unwrap().success());
            File::create(&locked).map(drop).map_err(|error| StepError::new("test", "file", error))
        };
        let pid = fork_program(&descriptors, || test(&locked), slowly, None).unwrap();
        assert_eq!(reap(pid), Exit::Code(0), "the program finds what was done before it");
        // Where it fails nothing is executed.
        let touched = folder.path().join("touched");
        let touch = || {
            let mut command = Command::new("/usr/bin/touch");
            command.arg(&touched);
            Ok(command)
        };
        let refuse = || Err(StepError::new("privileges", "on purpose", rustix::io::Errno::PERM));
        let error = fork_program(&descriptors, touch, refuse, None).unwrap_err();
        assert_eq!((error.step.as_str(), error.errno), ("privileges", 1));
        assert!(!touched.exists());
        // Control: it would be, and what goes wrong inside is told.
        let pid = fork_program(&descriptors, touch, || Ok(()), None).unwrap();
        assert_eq!((reap(pid), touched.exists()), (Exit::Code(0), true));
        let nowhere = || Ok(Command::new("/nowhere/at/all"));
        assert_eq!(fork_program(&descriptors, nowhere, || Ok(()), None).unwrap_err().errno, 2);
    }
}
