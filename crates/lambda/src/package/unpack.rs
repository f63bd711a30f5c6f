//! Writing a package's entries into a fresh folder.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use flate2::Crc;
use flate2::read::DeflateDecoder;

use super::PackageError;
use super::archive::{Archive, Entry, Kind, Method};
use super::path::{EntryPath, PATH_LENGTH_MAX};

/// How much a package may become. Counted while unpacking; what the file claims is only a first hint.
#[derive(Clone, Copy, Debug)]
pub struct UnpackLimits {
    /// Bytes of all files together.
    pub bytes_max: u64,
    /// Files, folders (also those that only appear in paths) and links together.
    pub nodes_max: u64,
}

/// What was unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Bytes of all files together.
    pub bytes: u64,
    /// Number of files and links.
    pub files: u64,
}

const CHUNK_LENGTH: usize = 64 << 10;
const DIRECTORY_MODE: u32 = 0o755;

/// Unpacks the zip file `bytes` into `root`, a folder that exists, is empty and that nobody else can write to.
/// On an error `root` holds a part and must be removed.
///
/// Nothing is written through a symbolic link: `root` starts without any, and links are created last.
///
/// # Errors
/// What is wrong with the package, or the disk's error.
pub fn unpack(bytes: &[u8], root: &Path, limits: UnpackLimits) -> Result<Unpacked, PackageError> {
    let archive = Archive::open(bytes)?;
    check_claims(&archive, limits)?;
    let mut target = Target { root, limits, nodes: 0, bytes: 0, last_folder: PathBuf::new() };
    let mut unpacked = Unpacked::default();
    let mut chunk = vec![0; CHUNK_LENGTH];
    for entry in archive.entries() {
        let entry = entry?;
        match (entry_path(&entry)?, entry.kind) {
            (Some(path), Kind::Directory) => target.folder(path.as_path(), &entry)?,
            (Some(path), Kind::File { executable }) => {
                target.file(path.as_path(), executable, &entry, &mut chunk)?;
                unpacked.files += 1;
            }
            (Some(_), Kind::Symlink) | (None, Kind::Directory) => {}
            (None, _) => return Err(PackageError::refused(entry.name, "it has no name")),
        }
    }
    for entry in archive.entries() {
        let entry = entry?;
        if let (Some(path), Kind::Symlink) = (entry_path(&entry)?, entry.kind) {
            target.link(&path, &entry)?;
            unpacked.files += 1;
        }
    }
    if unpacked.files == 0 {
        return Err(PackageError::Empty);
    }
    unpacked.bytes = target.bytes;
    Ok(unpacked)
}

fn entry_path(entry: &Entry<'_>) -> Result<Option<EntryPath>, PackageError> {
    EntryPath::parse(entry.name).map_err(|reason| PackageError::refused(entry.name, reason))
}

/// Refuses, before anything is written, what the headers alone give away.
fn check_claims(archive: &Archive<'_>, limits: UnpackLimits) -> Result<(), PackageError> {
    if archive.count() > limits.nodes_max {
        return Err(PackageError::TooManyFiles { max: limits.nodes_max });
    }
    let mut extents = Vec::new();
    let mut total = 0u64;
    for entry in archive.entries() {
        let entry = entry?;
        if extents.len() as u64 >= limits.nodes_max {
            return Err(PackageError::TooManyFiles { max: limits.nodes_max });
        }
        entry_path(&entry)?;
        total = total.saturating_add(entry.length);
        extents.push(entry.extent);
    }
    if total > limits.bytes_max {
        return Err(PackageError::TooLarge { max: limits.bytes_max });
    }
    extents.sort_unstable_by_key(|extent| extent.start);
    match extents.windows(2).any(|pair| pair[0].end > pair[1].start) {
        true => Err(PackageError::Overlap),
        false => Ok(()),
    }
}

struct Target<'a> {
    root: &'a Path,
    limits: UnpackLimits,
    nodes: u64,
    bytes: u64,
    /// The folder that was made last, because entries of one folder stand together.
    last_folder: PathBuf,
}

impl Target<'_> {
    fn count_node(&mut self) -> Result<(), PackageError> {
        self.nodes += 1;
        match self.nodes > self.limits.nodes_max {
            true => Err(PackageError::TooManyFiles { max: self.limits.nodes_max }),
            false => Ok(()),
        }
    }

    /// Makes `path` and the folders above it, where they are not there yet.
    fn folder(&mut self, path: &Path, entry: &Entry<'_>) -> Result<(), PackageError> {
        if path == self.last_folder {
            return Ok(());
        }
        let mut full = self.root.to_owned();
        for component in path.components() {
            full.push(component);
            match DirBuilder::new().mode(DIRECTORY_MODE).create(&full) {
                // The umask may have taken bits away.
                Ok(()) => {
                    self.count_node()?;
                    fs::set_permissions(&full, Permissions::from_mode(DIRECTORY_MODE))?;
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    if !fs::symlink_metadata(&full)?.is_dir() {
                        return Err(PackageError::refused(
                            entry.name,
                            "another entry is a file where it needs a folder",
                        ));
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.last_folder = path.to_owned();
        Ok(())
    }

    fn folder_of(&mut self, path: &Path, entry: &Entry<'_>) -> Result<PathBuf, PackageError> {
        if let Some(parent) = path.parent() {
            self.folder(parent, entry)?;
        }
        self.count_node()?;
        Ok(self.root.join(path))
    }

    fn file(&mut self, path: &Path, executable: bool, entry: &Entry<'_>, chunk: &mut [u8]) -> Result<(), PackageError> {
        let full = self.folder_of(path, entry)?;
        let mode = if executable { 0o755 } else { 0o644 };
        // `create_new` is O_EXCL: it neither replaces a file nor follows a link.
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(full);
        let mut file = file.map_err(|error| taken(error, entry))?;
        file.set_permissions(Permissions::from_mode(mode))?;
        self.bytes += inflate(entry, self.limits.bytes_max - self.bytes, self.limits, &mut file, chunk)?;
        Ok(())
    }

    fn link(&mut self, path: &EntryPath, entry: &Entry<'_>) -> Result<(), PackageError> {
        let mut target = Vec::new();
        let mut chunk = [0; PATH_LENGTH_MAX];
        let limits = UnpackLimits { bytes_max: PATH_LENGTH_MAX as u64, ..self.limits };
        match inflate(entry, limits.bytes_max, limits, &mut target, &mut chunk) {
            Err(PackageError::TooLarge { .. }) => {
                return Err(PackageError::refused(entry.name, "its target is malformed"));
            }
            other => other?,
        };
        let target = path.link_target(&target).map_err(|reason| PackageError::refused(entry.name, reason))?;
        let full = self.folder_of(path.as_path(), entry)?;
        std::os::unix::fs::symlink(target, full).map_err(|error| taken(error, entry))
    }
}

fn taken(error: io::Error, entry: &Entry<'_>) -> PackageError {
    match error.kind() {
        io::ErrorKind::AlreadyExists => PackageError::refused(entry.name, "its name stands there twice"),
        _ => error.into(),
    }
}

/// Copies an entry's data to `out`; counts what really comes out, and stops at `room` and at the claimed length.
fn inflate(
    entry: &Entry<'_>,
    room: u64,
    limits: UnpackLimits,
    out: &mut impl Write,
    chunk: &mut [u8],
) -> Result<u64, PackageError> {
    let lies = || PackageError::refused(entry.name, "its size or checksum is not what its header says");
    let mut stored = entry.data;
    let mut deflated;
    let data: &mut dyn Read = match entry.method {
        Method::Stored => &mut stored,
        Method::Deflated => {
            deflated = DeflateDecoder::new(entry.data);
            &mut deflated
        }
    };
    let mut crc = Crc::new();
    let mut length = 0u64;
    loop {
        let read = data.read(chunk).map_err(|_| lies())?;
        if read == 0 {
            break;
        }
        length += read as u64;
        if length > room {
            return Err(PackageError::TooLarge { max: limits.bytes_max });
        }
        if length > entry.length {
            return Err(lies());
        }
        crc.update(&chunk[..read]);
        out.write_all(&chunk[..read])?;
    }
    match length == entry.length && crc.sum() == entry.crc32 {
        true => Ok(length),
        false => Err(lies()),
    }
}
