//! Reads the tar archives that layers of images are (POSIX.1-2001 pax and GNU; formats: `tar(5)`).
//!
//! ```text
//!  header(512) data, padded to 512 │ header … │ two blocks of zeros, then nothing that counts
//!  'x' the next entry's path, linkpath, size, mtime      'L' 'K' the next entry's path, link target (GNU)
//! ```
//! One reader for everything: no two of its parts can disagree about where an entry ends (fault test E4; RUSTSEC-2025-0110).
//! What it holds in memory is bounded, whatever the archive says.

use std::io::{self, Read};

/// Bytes of a block.
const BLOCK: usize = 512;
/// Longest extended header in bytes: names of up to `PATH_MAX`, some times and the attributes that Docker writes.
const EXTENDED_BYTES_MAX: u64 = 1 << 20;
/// Longest name or link target in bytes (`PATH_MAX`).
const NAME_BYTES_MAX: usize = 4_095;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    /// To a file that came before, by its path in the image.
    HardLink,
    Symlink,
    Directory,
    /// A device or a named pipe.
    Special,
}

/// The head of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// As it stands there: relative or absolute, with or without `./` in front.
    pub(super) path: Vec<u8>,
    pub(super) kind: Kind,
    /// Target of a link.
    pub(super) target: Vec<u8>,
    /// Permission bits, setuid and the like included.
    pub(super) mode: u32,
    /// Bytes of data; 0 for everything but files.
    pub(super) length: u64,
    /// Seconds since the Unix epoch.
    pub(super) modified_s: i64,
}

/// An archive that is read once, front to back.
pub(super) struct Tar<R> {
    source: R,
    /// Data of the current entry that was not read yet, and the padding behind it.
    left: u64,
    padding: u64,
    ended: bool,
}

/// What extended headers say about the entry behind them.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    length: Option<u64>,
    modified_s: Option<i64>,
}

impl<R: Read> Tar<R> {
    pub(super) fn new(source: R) -> Self {
        Self { source, left: 0, padding: 0, ended: false }
    }

    /// The next entry; what was not read of the one before is passed over. `None` at the end.
    ///
    /// # Errors
    /// `InvalidData` when this is no archive, or one of a kind that layers are not; the source's errors.
    pub(super) fn next(&mut self) -> io::Result<Option<Head>> {
        let mut extended = Extended::default();
        loop {
            self.skip()?;
            let Some(block) = self.block()? else { return Ok(None) };
            let field_length = number(&block[124..136])?;
            let kind = match block[156] {
                0 | b'0' | b'7' => Kind::File,
                b'1' => Kind::HardLink,
                b'2' => Kind::Symlink,
                b'3' | b'4' | b'6' => Kind::Special,
                b'5' => Kind::Directory,
                b'x' => {
                    let text = self.text(field_length)?;
                    extended.read(&text)?;
                    continue;
                }
                // Of the whole archive: comments, as git writes them.
                b'g' => {
                    self.text(field_length)?;
                    continue;
                }
                b'L' => {
                    extended.path = Some(until_nul(&self.text(field_length)?).to_vec());
                    continue;
                }
                b'K' => {
                    extended.target = Some(until_nul(&self.text(field_length)?).to_vec());
                    continue;
                }
                b'S' => return Err(broken("it holds a sparse file")),
                _ => return Err(broken("it holds an entry of an unknown kind")),
            };
            return self.head(&block, kind, field_length, extended).map(Some);
        }
    }

    fn head(&mut self, block: &[u8; BLOCK], kind: Kind, length: u64, extended: Extended) -> io::Result<Head> {
        let length = extended.length.unwrap_or(length);
        let path = extended.path.unwrap_or_else(|| path_of(block));
        let target = extended.target.unwrap_or_else(|| until_nul(&block[157..257]).to_vec());
        if path.len() > NAME_BYTES_MAX || target.len() > NAME_BYTES_MAX {
            return Err(broken("a name in it is too long"));
        }
        // A file whose name ends in a slash is a folder in archives older than the standard.
        let kind = if kind == Kind::File && path.ends_with(b"/") { Kind::Directory } else { kind };
        let modified_s = match extended.modified_s {
            Some(modified_s) => modified_s,
            None => i64::try_from(number(&block[136..148])?).unwrap_or(i64::MAX),
        };
        // Only files have data; some writers note a length with links, and nothing follows it.
        let length = match kind {
            Kind::File => length,
            Kind::HardLink | Kind::Symlink | Kind::Directory | Kind::Special => 0,
        };
        self.expect(length);
        let mode = u32::try_from(number(&block[100..108])? & 0o7777).unwrap_or(0);
        Ok(Head { path, kind, target, mode, length, modified_s })
    }

    /// The data of the current entry.
    pub(super) fn data(&mut self) -> impl Read + '_ {
        Data(self)
    }

    /// Reads to the end of the source, and gives it back: what is behind the archive counts for its checksum.
    pub(super) fn drain(mut self) -> io::Result<R> {
        self.skip()?;
        io::copy(&mut self.source, &mut io::sink())?;
        Ok(self.source)
    }

    fn expect(&mut self, length: u64) {
        self.left = length;
        self.padding = (BLOCK as u64 - length % BLOCK as u64) % BLOCK as u64;
    }

    fn skip(&mut self) -> io::Result<()> {
        let rest = self.left.saturating_add(self.padding);
        let passed = io::copy(&mut (&mut self.source).take(rest), &mut io::sink())?;
        (self.left, self.padding) = (0, 0);
        if passed == rest { Ok(()) } else { Err(broken("it ends too early")) }
    }

    /// The next header; `None` at the end of the archive.
    fn block(&mut self) -> io::Result<Option<[u8; BLOCK]>> {
        if self.ended {
            return Ok(None);
        }
        let mut block = [0; BLOCK];
        let read = read_up_to(&mut self.source, &mut block)?;
        // Some writers leave the blocks of zeros away.
        if read == 0 || block.iter().all(|byte| *byte == 0) {
            self.ended = true;
            return Ok(None);
        }
        if read < BLOCK {
            return Err(broken("it ends too early"));
        }
        let claimed = number(&block[148..156])?;
        let sum = |cast: fn(u8) -> i64| {
            let bytes = block.iter().enumerate();
            bytes.map(|(at, byte)| if (148..156).contains(&at) { i64::from(b' ') } else { cast(*byte) }).sum::<i64>()
        };
        // Old writers summed signed bytes.
        let sums = [sum(i64::from), sum(|byte| i64::from(byte.cast_signed()))];
        match sums.contains(&i64::try_from(claimed).unwrap_or(-1)) {
            true => Ok(Some(block)),
            false => Err(broken("the checksum of a header is wrong")),
        }
    }

    /// The data of an extended header.
    fn text(&mut self, length: u64) -> io::Result<Vec<u8>> {
        if length > EXTENDED_BYTES_MAX {
            return Err(broken("an extended header in it is too long"));
        }
        self.expect(length);
        let mut text = Vec::new();
        self.data().read_to_end(&mut text)?;
        if text.len() as u64 == length { Ok(text) } else { Err(broken("it ends too early")) }
    }
}

struct Data<'a, R>(&'a mut Tar<R>);

impl<R: Read> Read for Data<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(usize::try_from(self.0.left).unwrap_or(usize::MAX));
        let read = self.0.source.read(&mut buffer[..length])?;
        if read == 0 && length > 0 {
            return Err(broken("it ends too early"));
        }
        self.0.left -= read as u64;
        Ok(read)
    }
}

impl Extended {
    /// Reads records `LENGTH KEYWORD=VALUE\n`; the length counts the whole record.
    fn read(&mut self, mut text: &[u8]) -> io::Result<()> {
        let malformed = || broken("an extended header in it is malformed");
        while !text.is_empty() {
            let space = text.iter().position(|byte| *byte == b' ').ok_or_else(malformed)?;
            let length: usize = decimal(&text[..space]).and_then(|n| usize::try_from(n).ok()).ok_or_else(malformed)?;
            if length <= space + 1 || length > text.len() || text[length - 1] != b'\n' {
                return Err(malformed());
            }
            let record = &text[space + 1..length - 1];
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(malformed)?;
            let (keyword, value) = (&record[..equals], &record[equals + 1..]);
            match keyword {
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.target = Some(value.to_vec()),
                b"size" => self.length = Some(decimal(value).ok_or_else(malformed)?),
                b"mtime" => self.modified_s = Some(seconds(value).ok_or_else(malformed)?),
                keyword if keyword.starts_with(b"GNU.sparse") => return Err(broken("it holds a sparse file")),
                // Owners, finer times, attributes: nothing that is kept.
                _ => {}
            }
            text = &text[length..];
        }
        Ok(())
    }
}

/// `name`, behind `prefix` where the header is ustar's.
fn path_of(block: &[u8; BLOCK]) -> Vec<u8> {
    let name = until_nul(&block[..100]);
    // GNU's magic is "ustar  ": there is no prefix in its headers.
    let prefix = if block[257..263] == *b"ustar\0" { until_nul(&block[345..500]) } else { &[] };
    match prefix.is_empty() {
        true => name.to_vec(),
        false => [prefix, b"/", name].concat(),
    }
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A number of a header: octal digits, or 63 bits in two's complement behind a set first bit (GNU). A negative one is 0.
fn number(field: &[u8]) -> io::Result<u64> {
    if field[0] & 0x80 != 0 {
        if field[0] & 0x40 != 0 {
            return Ok(0);
        }
        let (first, rest) = (u64::from(field[0] & 0x3f), &field[1..]);
        let folded = rest.iter().try_fold(first, |sum, byte| sum.checked_mul(256)?.checked_add(u64::from(*byte)));
        return folded.ok_or_else(|| broken("a number in a header is too large"));
    }
    let digits = until_nul(field).trim_ascii();
    let value = digits.iter().try_fold(0u64, |sum, byte| match byte {
        b'0'..=b'7' => Some(sum * 8 + u64::from(byte - b'0')),
        _ => None,
    });
    value.ok_or_else(|| broken("a number in a header is malformed"))
}

fn decimal(text: &[u8]) -> Option<u64> {
    let plain = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| plain)?.parse().ok()
}

/// Whole seconds of a time with or without a fraction, and with or without a sign.
fn seconds(text: &[u8]) -> Option<i64> {
    let whole = text.split(|byte| *byte == b'.').next()?;
    std::str::from_utf8(whole).ok()?.parse().ok()
}

/// Fills `buffer` as far as the source goes.
fn read_up_to(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// What is wrong with an archive: the end of a sentence about a layer.
pub(super) fn broken(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
