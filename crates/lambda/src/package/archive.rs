//! Reading a zip file that nobody vouches for.
//!
//! Source: PKWARE APPNOTE 6.3.10. Written here and not taken from the `zip` crate for three reasons: that crate keeps
//! entries in a map by name, so duplicates vanish before we can refuse them; it reserves memory for as many entries as
//! the file claims; and it does not compare what the two headers of an entry say. This reader keeps nothing in memory
//! but the file itself and believes nothing that it can check.
//!
//! ```text
//!  ┌ local header + data ┐ ┌ local header + data ┐ …  ┌ central directory ┐ ┌ (zip64 end) ┐ ┌ end ┐
//!            ▲────────────── offset in the central directory's entry ┘
//! ```

use std::ops::Range;

use super::PackageError;

const LOCAL_HEADER: u32 = 0x0403_4b50;
const CENTRAL_HEADER: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const ZIP64_END: u32 = 0x0606_4b50;
const ZIP64_END_LOCATOR: u32 = 0x0706_4b50;
const END_LENGTH: usize = 22;
const ZIP64_LOCATOR_LENGTH: usize = 20;
const LOCAL_HEADER_LENGTH: usize = 30;
const COMMENT_LENGTH_MAX: usize = u16::MAX as usize;
/// General purpose bits: encrypted, strong encryption, masked headers.
const FLAGS_ENCRYPTED: u16 = 1 | 1 << 6 | 1 << 13;
const ZIP64_EXTRA: u16 = 0x0001;

/// A zip file in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Archive<'a> {
    bytes: &'a [u8],
    /// The central directory's bytes.
    directory: &'a [u8],
    /// Where the central directory starts: no entry's data may reach beyond.
    directory_start: usize,
    /// How many entries the end record claims.
    count: u64,
}

/// What an entry becomes on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File { executable: bool },
    Directory,
    Symlink,
}

/// How an entry's data is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Stored,
    Deflated,
}

/// One entry, with both its headers read and compared.
#[derive(Clone, Debug)]
pub(super) struct Entry<'a> {
    /// The name as stored: not yet checked for tricks.
    pub(super) name: &'a [u8],
    pub(super) kind: Kind,
    pub(super) method: Method,
    pub(super) crc32: u32,
    /// The stored, possibly compressed, data.
    pub(super) data: &'a [u8],
    /// The length that the entry claims to have once inflated.
    pub(super) length: u64,
    /// Local header and data, as a range of the file: ranges of two entries must not overlap.
    pub(super) extent: Range<usize>,
}

impl<'a> Archive<'a> {
    /// Finds the central directory.
    ///
    /// # Errors
    /// [`PackageError::NotAZip`] when there is none, or it spans several disks, or it is not where the file says.
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, PackageError> {
        let end = find_end(bytes).ok_or(PackageError::NotAZip)?;
        let (count, length, start, records) = read_end(bytes, end).ok_or(PackageError::NotAZip)?;
        let start = usize::try_from(start).map_err(|_| PackageError::NotAZip)?;
        let length = usize::try_from(length).map_err(|_| PackageError::NotAZip)?;
        let stop = start.checked_add(length).filter(|stop| *stop == records).ok_or(PackageError::NotAZip)?;
        let directory = bytes.get(start..stop).ok_or(PackageError::NotAZip)?;
        Ok(Self { bytes, directory, directory_start: start, count })
    }

    /// The number of entries that the file claims; walking the entries checks the claim.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The entries in the order of the central directory. Ends after the first error.
    pub(super) fn entries(&self) -> Entries<'a> {
        Entries { archive: *self, rest: Fields(self.directory), seen: 0, failed: false }
    }

    fn read_entry(&self, fields: &mut Fields<'a>) -> Option<Result<Entry<'a>, PackageError>> {
        let central = CentralHeader::read(fields)?;
        let name = central.name;
        let refuse = |reason: &'static str| Some(Err(PackageError::refused(name, reason)));
        if central.flags & FLAGS_ENCRYPTED != 0 {
            return refuse("it is encrypted");
        }
        let method = match central.method {
            0 => Method::Stored,
            8 => Method::Deflated,
            _ => return refuse("its compression method is neither stored nor deflated"),
        };
        if method == Method::Stored && central.compressed != central.length {
            return refuse("its sizes contradict each other");
        }
        let Some(kind) = central.kind() else {
            return refuse("it is neither a file, a directory nor a symbolic link");
        };
        let header_start = usize::try_from(central.offset).ok()?;
        let mut local = Fields(self.bytes.get(header_start..self.directory_start)?);
        if local.u32()? != LOCAL_HEADER {
            return None;
        }
        let _version = local.u16()?;
        let (flags, local_method) = (local.u16()?, local.u16()?);
        let _time_crc_sizes = local.take(16)?;
        let (name_length, extra_length) = (usize::from(local.u16()?), usize::from(local.u16()?));
        if local.take(name_length)? != name || local_method != central.method || flags & FLAGS_ENCRYPTED != 0 {
            return refuse("its two headers contradict each other");
        }
        local.take(extra_length)?;
        let data_length = usize::try_from(central.compressed).ok()?;
        let data = local.take(data_length)?;
        let data_start = header_start + LOCAL_HEADER_LENGTH + name_length + extra_length;
        Some(Ok(Entry {
            name,
            kind,
            method,
            crc32: central.crc32,
            data,
            length: central.length,
            extent: header_start..data_start + data_length,
        }))
    }
}

/// Iterator over an archive's entries.
#[derive(Debug)]
pub(super) struct Entries<'a> {
    archive: Archive<'a>,
    rest: Fields<'a>,
    seen: u64,
    failed: bool,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, PackageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        if self.rest.0.is_empty() {
            // The claim is checked once, at the end: more or fewer entries than claimed is a damaged file.
            self.failed = true;
            return (self.seen != self.archive.count).then_some(Err(PackageError::NotAZip));
        }
        self.seen += 1;
        let entry = self.archive.read_entry(&mut self.rest).unwrap_or(Err(PackageError::NotAZip));
        self.failed = entry.is_err();
        Some(entry)
    }
}

/// One header of the central directory, zip64 fields already in place.
struct CentralHeader<'a> {
    made_by: u16,
    flags: u16,
    method: u16,
    crc32: u32,
    compressed: u64,
    length: u64,
    attributes: u32,
    offset: u64,
    name: &'a [u8],
}

impl<'a> CentralHeader<'a> {
    fn read(fields: &mut Fields<'a>) -> Option<Self> {
        if fields.u32()? != CENTRAL_HEADER {
            return None;
        }
        let (made_by, _needed, flags, method) = (fields.u16()?, fields.u16()?, fields.u16()?, fields.u16()?);
        let _modified = fields.u32()?;
        let (crc32, compressed, length) = (fields.u32()?, fields.u32()?, fields.u32()?);
        let (name_length, extra_length, comment_length) = (fields.u16()?, fields.u16()?, fields.u16()?);
        let (disk, _internal, attributes, offset) = (fields.u16()?, fields.u16()?, fields.u32()?, fields.u32()?);
        let name = fields.take(name_length.into())?;
        let extra = fields.take(extra_length.into())?;
        fields.take(comment_length.into())?;
        if disk != 0 && disk != u16::MAX {
            return None;
        }
        let mut zip64 = Fields(find_extra(extra, ZIP64_EXTRA).unwrap_or_default());
        // APPNOTE 4.5.3: a field stands in the extra block only when its 32-bit place is full of ones, in this order.
        let mut widen = |narrow: u32| if narrow == u32::MAX { zip64.u64() } else { Some(u64::from(narrow)) };
        let length = widen(length)?;
        let compressed = widen(compressed)?;
        let offset = widen(offset)?;
        Some(Self { made_by, flags, method, crc32, compressed, length, attributes, offset, name })
    }

    /// `None` for devices, sockets and pipes, and for names that contradict the mode.
    fn kind(&self) -> Option<Kind> {
        const UNIX: u16 = 3;
        const MACOS: u16 = 19;
        let named_directory = self.name.ends_with(b"/");
        let mode = match self.made_by >> 8 {
            UNIX | MACOS => self.attributes >> 16,
            _ => 0,
        };
        let file = Kind::File { executable: mode & 0o111 != 0 };
        match (mode & 0o170_000, named_directory) {
            (0o040_000, _) | (0 | 0o100_000, true) => Some(Kind::Directory),
            (0 | 0o100_000, false) => Some(file),
            (0o120_000, false) => Some(Kind::Symlink),
            _ => None,
        }
    }
}

/// The last end record whose comment reaches exactly to the end of the file.
fn find_end(bytes: &[u8]) -> Option<usize> {
    let last = bytes.len().checked_sub(END_LENGTH)?;
    (last.saturating_sub(COMMENT_LENGTH_MAX)..=last).rev().find(|at| {
        let mut fields = Fields(&bytes[*at..]);
        let comment = bytes.len() - at - END_LENGTH;
        fields.u32() == Some(END)
            && fields.take(16).is_some()
            && fields.u16().is_some_and(|length| usize::from(length) == comment)
    })
}

/// Count, length and start of the central directory, and where the end records begin.
fn read_end(bytes: &[u8], end: usize) -> Option<(u64, u64, u64, usize)> {
    let mut fields = Fields(bytes.get(end + 4..)?);
    let (disk, first_disk) = (fields.u16()?, fields.u16()?);
    let (here, count, length, start) = (fields.u16()?, fields.u16()?, fields.u32()?, fields.u32()?);
    let locator = end.checked_sub(ZIP64_LOCATOR_LENGTH);
    let mut located = Fields(locator.and_then(|at| bytes.get(at..end)).unwrap_or_default());
    if located.u32() != Some(ZIP64_END_LOCATOR) {
        let one_disk = disk == 0 && first_disk == 0 && here == count;
        return one_disk.then_some((count.into(), length.into(), start.into(), end));
    }
    let (_disk, at, disks) = (located.u32()?, usize::try_from(located.u64()?).ok()?, located.u32()?);
    let mut fields = Fields(bytes.get(at..locator?)?);
    if fields.u32()? != ZIP64_END || disks > 1 {
        return None;
    }
    let _length_versions_disks = fields.take(8 + 4 + 8)?;
    let (here, count, length, start) = (fields.u64()?, fields.u64()?, fields.u64()?, fields.u64()?);
    (here == count).then_some((count, length, start, at))
}

/// The data of the extra field `wanted`.
fn find_extra(extra: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut fields = Fields(extra);
    loop {
        let (id, length) = (fields.u16()?, fields.u16()?);
        let data = fields.take(length.into())?;
        if id == wanted {
            return Some(data);
        }
    }
}

/// Little-endian fields from the front of a slice; `None` once it is used up.
#[derive(Clone, Copy, Debug)]
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(front)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}
