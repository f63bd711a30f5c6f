//! The programs of one sandbox, as its pid 1 sees them: who runs, who has ended.

use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, WaitOptions};

use crate::process::held::Held;
use crate::process::init::{exit_of, receive, report};
use crate::protocol::{Order, Report};
use crate::{Exit, StepError};

/// The programs that run, the main one first; `None` for those that have ended.
pub(super) struct Programs(Vec<Option<Pid>>);

impl Programs {
    /// Of these processes: the main program first.
    pub(super) fn new(pids: Vec<Pid>) -> Self {
        Self(pids.into_iter().map(Some).collect())
    }

    /// The main program's process, before anything was reaped.
    pub(super) fn main(&self) -> Pid {
        self.0[0].expect("nothing was reaped yet")
    }

    /// Descriptors that stand for the programs, before anything was reaped.
    pub(super) fn pidfds(&self) -> Result<Vec<OwnedFd>, StepError> {
        let open = |pid: &Pid| rustix::process::pidfd_open(*pid, PidfdFlags::empty());
        let pidfds = self.0.iter().flatten().map(open).collect::<Result<Vec<_>, _>>();
        pidfds.map_err(|error| StepError::new("clone", "pidfd", error))
    }

    /// Waits for the order to execute the main program, and tells of companions that end before. False when there is
    /// nothing more to do: the helper has gone, or the program could not be executed.
    pub(super) fn begin(&mut self, control: &OwnedFd, held: Held, pidfds: &[OwnedFd]) -> Result<bool, StepError> {
        loop {
            let running = self.0.iter().zip(pidfds).skip(1).filter(|(pid, _)| pid.is_some());
            let ends = running.map(|(_, pidfd)| PollFd::new(pidfd, PollFlags::IN));
            let mut awaited: Vec<PollFd<'_>> =
                std::iter::once(PollFd::new(control, PollFlags::IN)).chain(ends).collect();
            rustix::io::retry_on_intr(|| rustix::event::poll(&mut awaited, None))
                .map_err(|error| StepError::new("begin", "poll", error))?;
            if awaited[0].revents().is_empty() {
                while let Some((pid, status)) = rustix::process::wait(WaitOptions::NOHANG)
                    .map_err(|error| StepError::new("wait", "children", error))?
                {
                    self.ended(control, pid, exit_of(status))?;
                }
                continue;
            }
            let Some((Order::Begin, _)) = receive::<Order>(control)? else { return Ok(false) };
            let begun = held.go();
            let runs = begun.is_ok();
            report(control, &Report::Begun(begun), &[])?;
            return Ok(runs);
        }
    }

    /// Waits for children, own and adopted ones, until all programs have ended. Returns the main one's end.
    pub(super) fn reap(&mut self, control: &OwnedFd) -> Result<Exit, StepError> {
        let mut main = None;
        while self.0.iter().any(Option::is_some) {
            match rustix::process::wait(WaitOptions::empty()) {
                Ok(Some((pid, status))) => {
                    let exit = exit_of(status);
                    if self.ended(control, pid, exit)? == Some(0) {
                        main = Some(exit);
                    }
                }
                Ok(None) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(StepError::new("wait", "children", error)),
            }
        }
        Ok(main.expect("it was running, and has been reaped here"))
    }

    /// Takes note of a child that has ended, and tells of it where there are several programs. Returns which it was.
    fn ended(&mut self, control: &OwnedFd, child: Pid, exit: Exit) -> Result<Option<usize>, StepError> {
        let Some(program) = self.0.iter().position(|pid| *pid == Some(child)) else { return Ok(None) };
        self.0[program] = None;
        if self.0.len() > 1 {
            report(control, &Report::ProgramEnded { program, exit }, &[])?;
        }
        Ok(Some(program))
    }
}
