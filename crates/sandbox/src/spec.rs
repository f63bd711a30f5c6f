//! What runs in a sandbox, and with how much of each resource.

use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Most host directories or files that one sandbox may see beside the base root.
pub const MOUNTS_MAX: usize = 64;
/// Most listeners that one sandbox may have.
pub const LISTENERS_MAX: usize = 16;
/// Most programs that one sandbox may run beside the main one.
pub const COMPANIONS_MAX: usize = 16;
/// Most sockets of one sandbox's network that the server gets.
pub const SOCKETS_MAX: usize = 16;
/// Most bytes of arguments, environment and paths together.
pub const SPEC_BYTES_MAX: usize = 96 << 10;

/// One program, what it sees of the host and its limits.
///
/// The program starts with exactly five open descriptors: 0 reads nothing (`/dev/null`), 1 and 2 are the output pipes,
/// 3 is the channel (a unix stream socket), 4 is the log pipe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// A host folder that is the whole root in place of the host's programs, read-only: a container image, unpacked. It must
    /// hold the folders `proc`, `dev` and `tmp`, which the sandbox covers with its own, and no symbolic links in their
    /// places; where it has the files `etc/hosts`, `etc/hostname` and `etc/resolv.conf`, the sandbox's own cover them. Nothing
    /// can be made in it, so targets of mounts must be there. Only with `Isolation::Process`, and not together with
    /// [`Spec::awaits_rest`], [`Spec::folders`] or [`Spec::links`].
    pub root: Option<PathBuf>,
    /// Host paths shown read-only, without devices and setuid bits. Missing parents of a target are made with mode 0755.
    pub mounts: Vec<Mount>,
    /// The program (absolute, or found through the `PATH` of `env`) and its arguments; at least one element.
    pub argv: Vec<String>,
    /// The whole environment; nothing is inherited.
    pub env: Vec<(String, String)>,
    /// Variables whose value is the address of a listener. They exist because `Isolation::None` must take
    /// whatever port is free, so that the address is not known before the launch.
    pub address_env: Vec<AddressVariable>,
    /// Working directory inside the sandbox; absolute.
    pub cwd: PathBuf,
    /// Memory that the program may use, in bytes, beside what it keeps in `/tmp`.
    pub memory_bytes: u64,
    /// CPU time per second in milliseconds: 1000 is one CPU.
    pub cpu_millis: u32,
    /// Most processes and threads at one time.
    pub processes_max: u32,
    /// Most open descriptors per process; lowered to the host's own hard limit where that is smaller.
    pub open_files_max: u32,
    /// Size of `/tmp` in bytes.
    pub scratch_bytes: u64,
    /// Loopback TCP addresses to listen on inside the sandbox's own network.
    pub listeners: Vec<SocketAddr>,
    /// Empty folders that are made before the program starts.
    pub folders: Vec<PathBuf>,
    /// Symbolic links that are made before the program starts.
    pub links: Vec<Link>,
    /// The program is started ahead: what it will work for is not known yet, and comes by [`crate::Sandbox::complete`].
    /// Until then it has a small share of the CPU. Only with `Isolation::Process`.
    pub awaits_rest: bool,
    /// Programs (absolute paths inside) that run beside the main one: same user, same walls, same limits, in `/`. They are
    /// executed first; the main program waits for [`crate::Sandbox::begin`], and the sandbox ends when all have ended.
    /// Only with `Isolation::Process`, and not together with [`Spec::awaits_rest`].
    pub companions: Vec<PathBuf>,
    /// Names of variables of [`Spec::env`] that companions do not see.
    pub companions_miss: Vec<String>,
    /// Unconnected TCP sockets (IPv4) of the sandbox's own network that the server gets: with them it reaches what listens
    /// inside, and nothing else. Without isolation they are the host's.
    pub sockets: usize,
}

/// What a program that was started ahead (see [`Spec::awaits_rest`]) gets later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rest {
    /// As in [`Spec::mounts`]. A target may be a folder of [`Spec::folders`].
    pub mounts: Vec<Mount>,
    /// As in [`Spec::memory_bytes`].
    pub memory_bytes: u64,
    /// As in [`Spec::cpu_millis`].
    pub cpu_millis: u32,
    /// As in [`Spec::scratch_bytes`].
    pub scratch_bytes: u64,
}

/// The amounts that a sandbox's cgroups enforce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Amounts {
    pub(crate) memory_bytes: u64,
    pub(crate) scratch_bytes: u64,
    pub(crate) cpu_millis: u32,
    pub(crate) processes_max: u32,
    /// Work ahead must not take the CPU from work that somebody waits for.
    pub(crate) background: bool,
}

/// A host directory or file, shown read-only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path on the host.
    pub source: PathBuf,
    /// Absolute path inside, without `..`.
    pub target: PathBuf,
}

/// A symbolic link inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Where it stands: absolute, without `..`. Missing parents are made with mode 0755.
    pub path: PathBuf,
    /// Where it leads: absolute, without `..`. Nothing has to be there.
    pub to: PathBuf,
}

/// An environment variable that holds `prefix` followed by the `address:port` of a listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressVariable {
    /// Name of the variable.
    pub name: String,
    /// Text before the address, for example `http://`.
    pub prefix: String,
    /// Index into [`Spec::listeners`].
    pub listener: usize,
}

impl Spec {
    /// A spec of `argv` with small limits and nothing else: 128 MiB, one CPU, 64 processes, 256 descriptors, 16 MiB of `/tmp`.
    pub fn new(argv: Vec<String>) -> Self {
        Self {
            root: None,
            mounts: Vec::new(),
            argv,
            env: vec![("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned())],
            address_env: Vec::new(),
            cwd: PathBuf::from("/"),
            memory_bytes: 128 << 20,
            cpu_millis: 1000,
            processes_max: 64,
            open_files_max: 256,
            scratch_bytes: 16 << 20,
            listeners: Vec::new(),
            folders: Vec::new(),
            links: Vec::new(),
            awaits_rest: false,
            companions: Vec::new(),
            companions_miss: Vec::new(),
            sockets: 0,
        }
    }

    pub(crate) fn amounts(&self) -> Amounts {
        Amounts {
            memory_bytes: self.memory_bytes,
            scratch_bytes: self.scratch_bytes,
            cpu_millis: self.cpu_millis,
            processes_max: self.processes_max,
            background: self.awaits_rest,
        }
    }

    /// Checks what the kernel would otherwise refuse half way through a launch.
    ///
    /// # Errors
    /// One sentence that says what is wrong.
    pub fn check(&self) -> Result<(), String> {
        if self.argv.first().is_none_or(String::is_empty) {
            return Err("argv is empty".to_owned());
        }
        if self.listeners.len() > LISTENERS_MAX || self.folders.len().max(self.links.len()) > MOUNTS_MAX {
            return Err(format!("more than {MOUNTS_MAX} folders or links, or {LISTENERS_MAX} listeners"));
        }
        if self.companions.len() > COMPANIONS_MAX || self.sockets > SOCKETS_MAX {
            return Err(format!("more than {COMPANIONS_MAX} companions or {SOCKETS_MAX} sockets"));
        }
        if self.awaits_rest && !self.companions.is_empty() {
            return Err("what is started ahead has no companions".to_owned());
        }
        if self.root.is_some() && (self.awaits_rest || !self.folders.is_empty() || !self.links.is_empty()) {
            return Err("a root of its own is closed from the start: nothing is made in it".to_owned());
        }
        if let Some(root) = self.root.as_ref().filter(|root| !is_plain(root) || root.as_os_str() == "/") {
            return Err(format!("{} is no folder that a root could be", root.display()));
        }
        check_mounts(&self.mounts)?;
        let links = self.links.iter().flat_map(|link| [&link.path, &link.to]);
        let paths = self.folders.iter().chain(&self.companions).chain([&self.cwd]).chain(links);
        if let Some(path) = paths.into_iter().find(|path| !is_plain(path)) {
            return Err(format!("{} is not an absolute path without '..'", path.display()));
        }
        let links = self.links.iter().map(|link| &link.path);
        if let Some(path) = self.folders.iter().chain(links).find(|path| is_reserved(path)) {
            return Err(format!("{} is what the sandbox itself makes", path.display()));
        }
        let names = self.env.iter().map(|(name, _)| name).chain(self.address_env.iter().map(|a| &a.name));
        if let Some(name) = names.into_iter().find(|name| name.is_empty() || name.contains(['=', '\0'])) {
            return Err(format!("{name:?} is not a name for an environment variable"));
        }
        if self.argv.iter().chain(self.env.iter().map(|(_, value)| value)).any(|text| text.contains('\0')) {
            return Err("an argument or a variable contains a zero byte".to_owned());
        }
        if let Some(address) = self.listeners.iter().find(|address| !address.ip().is_loopback()) {
            return Err(format!("{address} is not a loopback address"));
        }
        if self.address_env.iter().any(|variable| variable.listener >= self.listeners.len()) {
            return Err("an address variable names a listener that does not exist".to_owned());
        }
        check_amounts(self.memory_bytes, self.cpu_millis)?;
        if self.processes_max < 1 || self.open_files_max < 8 {
            return Err("a limit is below what any program needs (1 process, 8 descriptors)".to_owned());
        }
        match self.bytes() <= SPEC_BYTES_MAX {
            true => Ok(()),
            false => Err(format!("arguments, environment and paths are over {SPEC_BYTES_MAX} bytes")),
        }
    }

    fn bytes(&self) -> usize {
        let paths = self.mounts.iter().map(Mount::bytes).chain(self.folders.iter().map(|path| path.as_os_str().len()));
        let links = self.links.iter().map(|link| link.path.as_os_str().len() + link.to.as_os_str().len());
        let env = self.env.iter().map(|(name, value)| name.len() + value.len());
        let addresses = self.address_env.iter().map(|a| a.name.len() + a.prefix.len());
        let companions = self.companions.iter().map(|path| path.as_os_str().len());
        let companions = companions.chain(self.root.iter().map(|root| root.as_os_str().len()));
        let addresses = addresses.chain(companions).chain(self.companions_miss.iter().map(String::len));
        paths.chain(links).chain(env).chain(addresses).chain(self.argv.iter().map(String::len)).sum()
    }
}

impl Rest {
    /// Checks what the kernel would otherwise refuse half way.
    ///
    /// # Errors
    /// One sentence that says what is wrong.
    pub fn check(&self) -> Result<(), String> {
        check_mounts(&self.mounts)?;
        check_amounts(self.memory_bytes, self.cpu_millis)?;
        match self.mounts.iter().map(Mount::bytes).sum::<usize>() <= SPEC_BYTES_MAX {
            true => Ok(()),
            false => Err(format!("paths are over {SPEC_BYTES_MAX} bytes")),
        }
    }
}

impl Mount {
    fn bytes(&self) -> usize {
        self.source.as_os_str().len() + self.target.as_os_str().len()
    }
}

fn check_mounts(mounts: &[Mount]) -> Result<(), String> {
    if mounts.len() > MOUNTS_MAX {
        return Err(format!("more than {MOUNTS_MAX} mounts"));
    }
    if let Some(path) = mounts.iter().flat_map(|m| [&m.source, &m.target]).find(|path| !is_plain(path)) {
        return Err(format!("{} is not an absolute path without '..'", path.display()));
    }
    match mounts.iter().find(|m| is_reserved(&m.target)) {
        Some(mount) => Err(format!("{} is a mount target that the sandbox itself needs", mount.target.display())),
        None => Ok(()),
    }
}

fn check_amounts(memory_bytes: u64, cpu_millis: u32) -> Result<(), String> {
    match memory_bytes >= 4 << 20 && cpu_millis >= 10 {
        true => Ok(()),
        false => Err("a limit is below what any program needs (4 MiB, 10 millis)".to_owned()),
    }
}

/// True for an absolute UTF-8 path that climbs nowhere.
fn is_plain(path: &Path) -> bool {
    let climbs = path.components().any(|part| !matches!(part, Component::RootDir | Component::Normal(_)));
    let text = path.to_str().is_some_and(|text| !text.contains('\0'));
    path.is_absolute() && text && !climbs
}

/// True for the root itself and for what the sandbox builds: a mount there would hide it, and is refused (not so with
/// [`Isolation::None`](crate::Isolation::None), where nothing is mounted).
pub fn is_reserved(target: &Path) -> bool {
    let own = ["/proc", "/dev", "/tmp", "/sys"];
    target == Path::new("/") || own.iter().any(|path| target.starts_with(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(path: &str, to: &str) -> Link {
        Link { path: path.into(), to: to.into() }
    }

    fn spec() -> Spec {
        Spec::new(vec!["/bin/true".to_owned()])
    }

    #[test]
    fn a_plain_spec_passes() {
        assert_eq!(spec().check(), Ok(()));
    }

    #[test]
    fn what_the_kernel_would_refuse_is_refused_first() {
        let mount = |source: &str, target: &str| Mount { source: source.into(), target: target.into() };
        type Spoil = Box<dyn Fn(&mut Spec)>;
        let cases: Vec<(&str, Spoil)> = vec![
            ("argv is empty", Box::new(|s| s.argv.clear())),
            ("without '..'", Box::new(move |s| s.mounts.push(mount("/usr", "/var/../etc")))),
            ("without '..'", Box::new(move |s| s.mounts.push(mount("usr", "/var/task")))),
            ("itself needs", Box::new(move |s| s.mounts.push(mount("/usr", "/proc/self")))),
            ("itself needs", Box::new(move |s| s.mounts.push(mount("/usr", "/")))),
            ("not a name", Box::new(|s| s.env.push(("A=B".into(), String::new())))),
            ("zero byte", Box::new(|s| s.env.push(("A".into(), "\0".into())))),
            ("not a loopback", Box::new(|s| s.listeners.push(([10, 0, 0, 1], 80).into()))),
            (
                "does not exist",
                Box::new(|s| {
                    s.address_env.push(AddressVariable { name: "A".into(), prefix: String::new(), listener: 0 })
                }),
            ),
            ("a limit is below", Box::new(|s| s.processes_max = 0)),
            ("over 98304 bytes", Box::new(|s| s.argv.push("x".repeat(SPEC_BYTES_MAX)))),
            ("more than 16 companions", Box::new(|s| s.companions = vec!["/bin/true".into(); 17])),
            ("or 16 sockets", Box::new(|s| s.sockets = 17)),
            ("without '..'", Box::new(|s| s.companions.push("bin/true".into()))),
            ("has no companions", Box::new(|s| (s.awaits_rest, s.companions) = (true, vec!["/bin/true".into()]))),
            ("no folder that a root", Box::new(|s| s.root = Some("/".into()))),
            ("no folder that a root", Box::new(|s| s.root = Some("/images/../etc".into()))),
            ("nothing is made in it", Box::new(|s| (s.root, s.folders) = (Some("/i".into()), vec!["/x".into()]))),
            ("nothing is made in it", Box::new(|s| (s.root, s.links) = (Some("/i".into()), vec![link("/x", "/y")]))),
            ("not an absolute path", Box::new(|s| s.links = vec![link("/x", "../y")])),
            ("the sandbox itself makes", Box::new(|s| s.links = vec![link("/tmp/x", "/y")])),
            ("more than 64 mounts", Box::new(move |s| s.mounts = vec![mount("/usr", "/opt"); 65])),
        ];
        for (expect, spoil) in cases {
            let mut spec = spec();
            spoil(&mut spec);
            let error = spec.check().expect_err(expect);
            assert!(error.contains(expect), "{error:?} does not say {expect:?}");
        }
    }
}
