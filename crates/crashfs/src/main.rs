//! A disk that loses power when it is told to, for a server under test: `crashfs FOLDER` mounts it, and obeys lines:
//!
//! ```text
//!   cut                                            every access fails from now on
//!   restore ordered|strict nothing|everything|some 512|4096 SEED
//!                                                  power is back, with what that crash left
//! ```
//! Each is answered by a line. The end of the input unmounts.
#![expect(clippy::print_stdout, reason = "its answers are what the test reads")]

use std::io::BufRead;
use std::path::Path;
use std::process::ExitCode;

use crashfs::{Crash, Disk, Keep, Model, Mounted};
use sys::{Clock, Rng};

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1) else {
        println!("usage: crashfs FOLDER");
        return ExitCode::FAILURE;
    };
    let disk = Disk::default();
    let mounted = match Mounted::at(Path::new(&folder), &disk, Clock::system()) {
        Ok(mounted) => mounted,
        Err(error) => {
            println!("cannot mount: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("mounted");
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        println!("{}", obey(&disk, &line).unwrap_or_else(|| format!("not understood: {line}")));
    }
    match mounted.unmount() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("cannot unmount: {error}");
            ExitCode::FAILURE
        }
    }
}

fn obey(disk: &Disk, line: &str) -> Option<String> {
    match line.split_whitespace().collect::<Vec<_>>()[..] {
        ["cut"] => Some(format!("cut after {} changes", disk.cut())),
        ["restore", model, keep, sector, seed] => {
            let model = match model {
                "ordered" => Model::Ordered,
                "strict" => Model::Strict,
                _ => return None,
            };
            let keep = match keep {
                "nothing" => Keep::Nothing,
                "everything" => Keep::Everything,
                "some" => Keep::Some,
                _ => return None,
            };
            let sector = sector.parse().ok().filter(|sector| [512, 4096].contains(sector))?;
            let unsynced = disk.restore(Crash { model, keep, sector }, &Rng::seeded(seed.parse().ok()?));
            Some(format!("restored, {unsynced} changes were not synced"))
        }
        _ => None,
    }
}
