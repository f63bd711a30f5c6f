//! What an init may be asked for beside itself. Our bootstraps learn of it by a variable that nobody else can set, and answer with
//! a GIVEN frame before they are ready: before any event, and so before any caller, has come to the environment.

use std::path::PathBuf;

use sandbox::Mount;

use super::code_caches::CACHE_BYTES_MAX;

/// Where the cache of compiled code is seen inside.
const CACHE: &str = "/var/code-cache";
/// Where the host's bundler is seen inside.
const BUNDLER: &str = "/var/bundler/esbuild";
/// The variable's name. A function cannot have one that begins with an underscore.
pub(super) const VARIABLE: &str = "_TINDERBOX_INIT";
/// Bytes of an answer in JSON.
const JSON_BYTES_MAX: usize = 8 << 20;

/// What one init is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Beside {
    /// Nothing, as ever.
    Nothing,
    /// How long each module took.
    Modules,
    /// To bundle the package with this program of the host, and to load that instead.
    Bundle(PathBuf),
    /// For what the language has compiled of the function's modules.
    MakeCache,
    /// To use what an earlier environment of the version has compiled: this file.
    UseCache(PathBuf),
}

impl Beside {
    pub(super) fn variable(&self) -> Option<(String, String)> {
        let word = match self {
            Self::Nothing => return None,
            Self::Modules => "modules",
            Self::Bundle(_) => "bundle",
            Self::MakeCache => "make",
            Self::UseCache(_) => "use",
        };
        Some((VARIABLE.to_owned(), word.to_owned()))
    }

    /// What it needs inside.
    pub(super) fn mount(&self) -> Option<Mount> {
        let (source, target) = match self {
            Self::Nothing | Self::Modules | Self::MakeCache => return None,
            Self::Bundle(program) => (program, BUNDLER),
            Self::UseCache(file) => (file, CACHE),
        };
        Some(Mount { source: source.clone(), target: PathBuf::from(target) })
    }

    pub(super) fn given_bytes_max(&self) -> usize {
        match self {
            Self::Nothing | Self::UseCache(_) => 0,
            Self::MakeCache => CACHE_BYTES_MAX,
            Self::Modules | Self::Bundle(_) => JSON_BYTES_MAX,
        }
    }
}
