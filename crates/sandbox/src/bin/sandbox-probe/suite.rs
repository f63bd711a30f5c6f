//! The attacks of the security suite, each by its name: `name ok` when it worked, else why not.
//!
//! Which walls stand before each is in `src/security/table.rs`; the tests there take walls away and see attacks work.

mod calls;
mod files;
mod network;
mod processes;
mod resources;

use crate::{call, flags};

/// `Ok` when the attack worked, else what refused it.
type Outcome = Result<(), String>;
type Attack = (&'static str, fn() -> Outcome);

/// Longest that one attack may take, in seconds.
const SECONDS_MAX: usize = 8;

fn all() -> impl Iterator<Item = &'static Attack> {
    [calls::ATTACKS, files::ATTACKS, network::ATTACKS, processes::ATTACKS, resources::ATTACKS].into_iter().flatten()
}

/// One name a line.
pub(crate) fn list() {
    all().for_each(|(name, _)| println!("{name}"));
}

/// Makes these attacks one after the other, each in a process of its own.
pub(crate) fn run(names: &[String]) {
    for name in names {
        let Some((_, attack)) = all().find(|(known, _)| known == name) else {
            println!("{name} unknown");
            continue;
        };
        crate::apart_quietly(name, || {
            call(libc::SYS_alarm, [SECONDS_MAX, 0, 0, 0, 0]);
            match attack() {
                Ok(()) => println!("{name} ok"),
                Err(reason) => println!("{name} {}", reason.replace('\n', " ")),
            }
        });
    }
}

fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// The call succeeds.
fn works(number: libc::c_long, arguments: [usize; 5]) -> Outcome {
    match call(number, arguments) {
        ..0 => Err(format!("errno {}", errno())),
        _ => Ok(()),
    }
}

/// The call gets as far as looking at its arguments: it succeeds, or fails with an error that no wall gives.
fn gets_in(number: libc::c_long, arguments: [usize; 5]) -> Outcome {
    const REFUSALS: [i32; 6] =
        [libc::EPERM, libc::EACCES, libc::ENOSYS, libc::EAFNOSUPPORT, libc::ESRCH, libc::ENOPROTOOPT];
    match call(number, arguments) {
        ..0 if REFUSALS.contains(&errno()) => Err(format!("errno {}", errno())),
        _ => Ok(()),
    }
}

/// A descriptor made by a call.
fn opens(number: libc::c_long, arguments: [usize; 5]) -> Result<usize, String> {
    usize::try_from(call(number, arguments)).map_err(|_| format!("errno {}", errno()))
}

fn io(result: std::io::Result<()>) -> Outcome {
    result.map_err(|error| format!("errno {}", error.raw_os_error().unwrap_or(0)))
}

fn told(holds: bool, why_not: &str) -> Outcome {
    if holds { Ok(()) } else { Err(why_not.to_owned()) }
}

/// New namespaces for this process, as the exploits of the last years begin.
fn unshare(namespaces: libc::c_int) -> Outcome {
    works(libc::SYS_unshare, [flags(namespaces), 0, 0, 0, 0])
}

/// A variable of the environment that the test sets.
fn given(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|_| format!("not tried: {name} is not set"))
}
