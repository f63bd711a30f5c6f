//! One program on its way from a zygote into a sandbox.
//!
//! ```text
//!   assign ─▶ pid 1 makes room ─"furnished"─▶ zygote forks ─"pid", "held"─▶ looked at ─"!"─▶ runs
//!                                               │ "failed", or an end without a word      │ not what it should be
//!                                               ▼                                         ▼
//!                                    pid 1 executes the program                 the sandbox is killed
//! ```

use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::process::Pid;

use crate::process::init::Network;
use crate::{Spec, StepError};

/// Most that is heard of one birth.
const WORDS_BYTES_MAX: usize = 1024;
/// Tells a program to go on.
const GO: &[u8] = b"!";

pub(crate) struct Birth {
    pub(crate) zygote: u64,
    pub(crate) spec: Box<Spec>,
    /// Of the program, 1–4.
    pub(crate) descriptors: Vec<OwnedFd>,
    /// Once pid 1 has made it.
    pub(crate) room: Option<Network>,
    /// Once the zygote has been asked: where its fork answers. Not blocking.
    pub(crate) status: Option<UnixStream>,
    words: Vec<u8>,
    pub(crate) pid: Option<Pid>,
    is_told: bool,
}

/// What is to be done about a birth.
pub(crate) enum Step {
    /// Nothing yet.
    Wait,
    /// To look at this process, and to let it go on.
    Look(Pid),
    /// It runs.
    Runs(Pid),
    /// There will be no program, for this reason.
    Failed(String),
}

impl Birth {
    pub(crate) fn new(zygote: u64, spec: Box<Spec>, descriptors: Vec<OwnedFd>) -> Self {
        let (room, status, words, pid, is_told) = (None, None, Vec::new(), None, false);
        Self { zygote, spec, descriptors, room, status, words, pid, is_told }
    }

    /// The descriptors that the program is to have as 1, 2, …
    pub(crate) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.descriptors.iter().map(AsFd::as_fd).collect()
    }

    /// Hears what the fork has to say.
    pub(crate) fn hear(&mut self) -> Step {
        let Some(status) = &mut self.status else { return Step::Wait };
        let mut is_over = false;
        loop {
            let mut bytes = [0; 256];
            match status.read(&mut bytes) {
                Ok(0) => is_over = true,
                Ok(count) if self.words.len() + count <= WORDS_BYTES_MAX => {
                    self.words.extend(&bytes[..count]);
                    continue;
                }
                Ok(_) => return Step::Failed("it says too much".to_owned()),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Step::Failed(error.to_string()),
            }
            break;
        }
        let words = String::from_utf8_lossy(&self.words);
        // What has no end of line yet is not whole.
        let lines = || words.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        let pid = lines().find_map(|line| line.strip_prefix("pid ")?.parse().ok()).and_then(Pid::from_raw);
        self.pid = pid;
        if let Some(failure) = lines().find(|line| line.starts_with("failed")) {
            return Step::Failed(failure.to_owned());
        }
        let is_held = lines().any(|line| line == "held");
        match (pid, is_held, is_over) {
            (Some(pid), true, true) if self.is_told => Step::Runs(pid),
            (Some(pid), true, false) if !self.is_told => Step::Look(pid),
            (_, _, true) => Step::Failed(format!("it ended after {words:?}")),
            _ => Step::Wait,
        }
    }

    /// Lets the program go on.
    pub(crate) fn go(&mut self) -> Result<(), StepError> {
        self.is_told = true;
        let status = self.status.as_mut().expect("it has been heard");
        status.write_all(GO).map_err(|error| StepError::new("zygote", "status", error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn birth() -> (Birth, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let spec = Spec::new(vec!["/bin/true".to_owned()]);
        (Birth { status: Some(ours), ..Birth::new(1, Box::new(spec), Vec::new()) }, theirs)
    }

    #[test]
    fn a_program_runs_when_it_was_told_to_and_nobody_has_its_status_any_more() {
        let (mut birth, mut theirs) = birth();
        assert!(matches!(birth.hear(), Step::Wait));
        theirs.write_all(b"held\npid 1").unwrap();
        assert!(matches!(birth.hear(), Step::Wait), "that may not be the whole number");
        theirs.write_all(b"2\n").unwrap();
        assert!(matches!(birth.hear(), Step::Look(pid) if pid.as_raw_nonzero().get() == 12));
        birth.go().unwrap();
        assert!(matches!(birth.hear(), Step::Wait));
        theirs.read_exact(&mut [0]).unwrap();
        drop(theirs);
        assert!(matches!(birth.hear(), Step::Runs(_)));
    }

    #[test]
    fn an_end_before_that_is_a_failure() {
        for said in ["", "pid 12\n", "held\n", "pid 12\nheld\n", "failed at call 3: errno 1\n"] {
            let (mut birth, mut theirs) = birth();
            theirs.write_all(said.as_bytes()).unwrap();
            drop(theirs);
            assert!(matches!(birth.hear(), Step::Failed(_)), "{said:?}");
        }
        let (mut birth, mut theirs) = birth();
        theirs.write_all(&[b'x'; WORDS_BYTES_MAX + 1]).unwrap();
        assert!(matches!(birth.hear(), Step::Failed(_)));
    }
}
