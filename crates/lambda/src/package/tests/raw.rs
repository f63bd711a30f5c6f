//! A zip writer that writes what it is told, also lies.

use std::io::Write as _;

use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};

/// One entry.
#[derive(Clone, Debug)]
pub(super) struct Raw {
    pub(super) name: Vec<u8>,
    data: Vec<u8>,
    mode: u32,
    deflate: bool,
    claimed: Option<u32>,
    crc: Option<u32>,
}

impl Raw {
    pub(super) fn file(name: &str, data: &[u8]) -> Self {
        Self::named(name.as_bytes(), data)
    }

    pub(super) fn named(name: &[u8], data: &[u8]) -> Self {
        Self { name: name.to_vec(), data: data.to_vec(), mode: 0, deflate: false, claimed: None, crc: None }
    }

    pub(super) fn mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    pub(super) fn deflated(self) -> Self {
        Self { deflate: true, ..self }
    }

    pub(super) fn claiming(self, length: u32) -> Self {
        Self { claimed: Some(length), ..self }
    }

    pub(super) fn crc(self, crc: u32) -> Self {
        Self { crc: Some(crc), ..self }
    }
}

/// The zip file with these entries.
pub(super) fn raw_zip(entries: &[Raw]) -> Vec<u8> {
    let mut zip = Vec::new();
    let mut directory = Vec::new();
    for entry in entries {
        let offset = u32::try_from(zip.len()).unwrap();
        let stored = match entry.deflate {
            true => {
                let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
                encoder.write_all(&entry.data).unwrap();
                encoder.finish().unwrap()
            }
            false => entry.data.clone(),
        };
        let mut crc = Crc::new();
        crc.update(&entry.data);
        let method: u16 = if entry.deflate { 8 } else { 0 };
        let mut shared = Vec::new();
        for half in [20, 0, method, 0, 0] {
            shared.extend(half.to_le_bytes());
        }
        let length = u32::try_from(entry.data.len()).unwrap();
        for word in
            [entry.crc.unwrap_or(crc.sum()), u32::try_from(stored.len()).unwrap(), entry.claimed.unwrap_or(length)]
        {
            shared.extend(word.to_le_bytes());
        }
        shared.extend(u16::try_from(entry.name.len()).unwrap().to_le_bytes());
        shared.extend([0; 2]);
        zip.extend(b"PK\x03\x04");
        zip.extend(&shared);
        zip.extend(&entry.name);
        zip.extend(stored);
        directory.extend(b"PK\x01\x02\x14\x03");
        directory.extend(&shared);
        directory.extend([0; 6]);
        directory.extend((entry.mode << 16).to_le_bytes());
        directory.extend(offset.to_le_bytes());
        directory.extend(&entry.name);
    }
    let start = u32::try_from(zip.len()).unwrap();
    let count = u16::try_from(entries.len()).unwrap();
    zip.extend(&directory);
    zip.extend(b"PK\x05\x06\0\0\0\0");
    zip.extend(count.to_le_bytes());
    zip.extend(count.to_le_bytes());
    zip.extend(u32::try_from(directory.len()).unwrap().to_le_bytes());
    zip.extend(start.to_le_bytes());
    zip.extend([0; 2]);
    zip
}
