//! An OCI runtime (`runc`, `crun`, gVisor's `runsc`, …): how it is found, what it is told, and what its answers mean.
//! Source: the OCI runtime specification 1.0.2, and the manual pages of the runtimes.
//!
//! ```text
//!   /run/tinderbox-oci/tinderbox.<helper pid>.<its start>/
//!     state/      the runtime's own
//!     b<id>/      one container: config.json, rootfs, dev, pid, log
//! ```

mod bundle;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, PidfdFlags, Signal};

pub(super) use bundle::{Bundle, INIT, Surroundings};

use crate::StepError;
use crate::process::cgroup;
use crate::process::held;
use crate::process::init::CONTROL;

/// Where all helpers of a host keep what their runtimes need: gone after a boot, as are the containers.
const BASE: &str = "/run/tinderbox-oci";
/// What a runtime finds on `PATH`: it asks for little more than `iptables`, and for nothing of the server's.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Most that is read of what a runtime says about a failure, in bytes.
const COMPLAINT_BYTES_MAX: usize = 4096;

/// How a runtime is told which descriptors a container gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passing {
    /// `--preserve-fds COUNT`: those from 3 on, as runc, crun and youki have it.
    Preserve,
    /// `--pass-fd HERE:THERE` for each, as gVisor has it.
    Each,
}

/// A runtime, and where this helper keeps its state.
pub(super) struct Runtime {
    program: PathBuf,
    version: String,
    passing: Passing,
    folder: PathBuf,
}

/// A process of the runtime's.
pub(super) struct Running {
    pub(super) pid: Pid,
    pub(super) pidfd: OwnedFd,
}

/// The path and the version of the runtime `name`, a path or the name of a program on `PATH`.
///
/// # Errors
/// One sentence that says what is wrong with it.
pub(crate) fn version(name: &str) -> Result<(PathBuf, String), String> {
    let program = find(name).ok_or_else(|| {
        format!("the OCI runtime {name:?} is not there: install one (apt-get install runc), or name another")
    })?;
    let output = Command::new(&program).arg("--version").env_clear().env("PATH", PATH).output();
    let output = output.map_err(|error| format!("the OCI runtime {} does not run: {error}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    match (output.status.success(), text.lines().next()) {
        (true, Some(first)) => Ok((program, first.to_owned())),
        _ => Err(format!("{} --version failed: it is no OCI runtime", program.display())),
    }
}

fn find(name: &str) -> Option<PathBuf> {
    let is_program = |path: &PathBuf| path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok();
    if name.contains('/') {
        // The helper's own folder is another one.
        return Some(PathBuf::from(name)).filter(|path| path.is_absolute()).filter(is_program);
    }
    let own = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&own).chain(std::env::split_paths(PATH));
    folders.filter(|folder| folder.is_absolute()).map(|folder| folder.join(name)).find(is_program)
}

impl Runtime {
    /// Finds the runtime, and makes the folder of the helper whose leftovers are called `own_name`; removes those of helpers
    /// that no longer live. Their processes have been ended with their cgroups.
    pub(super) fn set_up(name: &str, own_name: &str) -> Result<Self, String> {
        let (program, version) = version(name)?;
        let passing = if version.starts_with("runsc") { Passing::Each } else { Passing::Preserve };
        let folder = Path::new(BASE).join(own_name);
        // Modes are as they are written here, whatever the server's own are.
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        let made = fs::create_dir_all(&folder).and_then(|()| {
            // Others may pass through to a root that is theirs, and see no names.
            let passable: fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o711);
            fs::set_permissions(BASE, passable.clone())?;
            fs::set_permissions(&folder, passable)
        });
        made.map_err(|error| format!("{}: {error}", folder.display()))?;
        for entry in fs::read_dir(BASE).into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_some_and(cgroup::is_left_over) {
                // What cannot be removed now is tried again at the next start.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        Ok(Self { program, version, passing, folder })
    }

    /// The path and the version, for people.
    pub(super) fn description(&self) -> String {
        format!("{} ({})", self.version, self.program.display())
    }

    /// Where the bundle of a container goes.
    pub(super) fn bundle_folder(&self, id: u64) -> PathBuf {
        self.folder.join(format!("b{id}"))
    }

    /// What the runtime calls a container.
    fn name(&self, id: u64) -> String {
        let own = self.folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        format!("{own}.s{id}")
    }

    fn command(&self, log: &Path) -> Command {
        let mut command = Command::new(&self.program);
        // Nothing of the server's environment is the runtime's business.
        command.env_clear().env("PATH", PATH);
        command.arg("--root").arg(self.folder.join("state"));
        command.arg("--log").arg(log).args(["--log-format", "json"]);
        command
    }

    /// Begins to start a container. Its first process gets the control socket and the program's descriptors, and outlives
    /// the runtime's process, which ends when it runs.
    pub(super) fn run(
        &self,
        id: u64,
        bundle: &Bundle,
        control: &OwnedFd,
        descriptors: &[OwnedFd],
    ) -> Result<Running, StepError> {
        let prepare = || {
            // If the helper is killed while a container is being started, nobody else would end it.
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
                .map_err(|error| StepError::new("runtime", "parent death signal", error))?;
            let mut command = self.command(&bundle.log());
            command.args(["run", "--detach", "--bundle"]).arg(bundle.folder());
            command.arg("--pid-file").arg(bundle.pid_file());
            command.args(self.passing(1 + descriptors.len())).arg(self.name(id));
            Ok(command)
        };
        let theirs: Vec<BorrowedFd<'_>> = std::iter::once(control).chain(descriptors).map(AsFd::as_fd).collect();
        start(&theirs, prepare)
    }

    /// Begins to clear away a container, in whatever state it is.
    pub(super) fn delete(&self, id: u64, bundle: &Bundle) -> Result<Running, StepError> {
        let prepare = || {
            let mut command = self.command(&bundle.log());
            command.args(["delete", "--force"]).arg(self.name(id));
            Ok(command)
        };
        start(&[], prepare)
    }

    fn passing(&self, count: usize) -> Vec<OsString> {
        match self.passing {
            Passing::Preserve => vec!["--preserve-fds".into(), count.to_string().into()],
            Passing::Each => {
                let numbers = (CONTROL..).take(count);
                numbers.flat_map(|number| ["--pass-fd".into(), format!("{number}:{number}").into()]).collect()
            }
        }
    }

    /// Removes everything that this helper kept.
    pub(super) fn remove(&self) {
        // What cannot be removed is swept at the next start.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Executes a runtime; it gets the descriptors from 3 on.
fn start(
    descriptors: &[BorrowedFd<'_>],
    prepare: impl FnOnce() -> Result<Command, StepError>,
) -> Result<Running, StepError> {
    let null = fs::File::options().write(true).open("/dev/null");
    let null = null.map_err(|error| StepError::new("runtime", "/dev/null", error))?;
    // What it complains of is in its log; the first process of a container keeps the same two.
    let stderr = io::stderr();
    let mut all = vec![null.as_fd(), stderr.as_fd()];
    all.extend_from_slice(descriptors);
    let held = held::fork_held(&all, prepare, None)?;
    let pid = held.pid();
    held.go().map_err(|error| StepError { step: "runtime".to_owned(), ..error })?;
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())
        .map_err(|error| StepError::new("runtime", "pidfd", error))?;
    Ok(Running { pid, pidfd })
}

/// The first process of a container that its runtime says it has started.
pub(super) fn first_process(bundle: &Bundle) -> Result<Running, StepError> {
    let fail = |what: &'static str| move |error: io::Error| StepError::new("runtime", what, error);
    let text = fs::read_to_string(bundle.pid_file()).map_err(fail("pid file"))?;
    let pid = text.trim().parse().ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| fail("pid file")(io::ErrorKind::InvalidData.into()))?;
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(|error| fail("pidfd")(error.into()))?;
    Ok(Running { pid, pidfd })
}

/// Why a runtime did not do what it was told: what its log says last.
pub(super) fn complaint(bundle: &Bundle) -> StepError {
    let text = fs::read(bundle.log()).unwrap_or_default();
    let text = String::from_utf8_lossy(&text[text.len().saturating_sub(COMPLAINT_BYTES_MAX)..]).into_owned();
    let message = |line: &str| -> Option<String> {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(line.get("msg")?.as_str()?.to_owned())
    };
    let last = text.lines().rev().find(|line| !line.trim().is_empty());
    let detail = last.map(|line| message(line).unwrap_or_else(|| line.to_owned()));
    let detail = detail.unwrap_or_else(|| "the OCI runtime failed without a word".to_owned());
    StepError { step: "runtime".to_owned(), detail, errno: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime(passing: Passing) -> Runtime {
        let (program, folder) = ("/usr/sbin/runc".into(), "/run/x/tinderbox.1.2".into());
        Runtime { program, version: "runc version 1".to_owned(), passing, folder }
    }

    #[test]
    fn descriptors_are_passed_in_the_runtimes_own_way() {
        assert_eq!(runtime(Passing::Preserve).passing(5), ["--preserve-fds", "5"]);
        assert_eq!(runtime(Passing::Each).passing(2), ["--pass-fd", "3:3", "--pass-fd", "4:4"]);
    }

    #[test]
    fn a_runtime_that_is_missing_or_is_none_is_named() {
        for (name, expect) in [
            ("no-such-runtime", "\"no-such-runtime\" is not there"),
            ("/no/such/runc", "\"/no/such/runc\" is not there"),
            ("bin/runc", "\"bin/runc\" is not there"),
            ("/bin/false", "is no OCI runtime"),
        ] {
            let error = version(name).expect_err(expect);
            assert!(error.contains(expect), "{error}");
        }
    }
}
