//! Files and folders in memory, and the changes that make them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

/// Number of the folder that all others are in.
pub(crate) const ROOT: u64 = 1;
/// A file is written out without pages of zeros.
const PAGE: usize = 4096;

/// What has a number.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    /// With the bits of its type, as in `st_mode`.
    pub(crate) mode: u32,
    /// Since 1970, in microseconds.
    pub(crate) modified_us: u64,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    File(Vec<u8>),
    Folder(BTreeMap<OsString, u64>),
    /// A socket or a pipe: a name without bytes.
    Other,
}

impl Node {
    pub(crate) fn new(mode: u32, modified_us: u64) -> Self {
        let kind = match mode & libc::S_IFMT {
            libc::S_IFDIR => Kind::Folder(BTreeMap::new()),
            libc::S_IFREG => Kind::File(Vec::new()),
            _ => Kind::Other,
        };
        Self { kind, mode, modified_us }
    }

    pub(crate) fn length(&self) -> usize {
        match &self.kind {
            Kind::File(bytes) => bytes.len(),
            Kind::Folder(_) | Kind::Other => 0,
        }
    }
}

/// A name in a folder.
pub(crate) type Name = (u64, OsString);

/// One change of a disk, or a barrier.
#[derive(Clone, Debug)]
pub enum Change {
    /// A new file, folder or other node, and its name.
    Make { name: (u64, OsString), node: u64, mode: u32, at_us: u64 },
    /// A further name.
    Link { name: (u64, OsString), node: u64 },
    /// A name goes.
    Unlink { name: (u64, OsString) },
    /// A name becomes another and replaces it, in one step.
    Rename { from: (u64, OsString), to: (u64, OsString) },
    /// Bytes of a file.
    Write { node: u64, at: usize, bytes: Vec<u8> },
    /// A file is cut, or grows by zeros.
    Resize { node: u64, length: usize },
    /// When it was changed last.
    Touch { node: u64, at_us: u64 },
    /// `fsync` or `fdatasync` of a file or folder has returned.
    Sync { node: u64 },
}

impl Change {
    /// The folders whose names this changes.
    pub(crate) fn folders(&self) -> Vec<u64> {
        match self {
            Self::Make { name, .. } | Self::Link { name, .. } | Self::Unlink { name } => vec![name.0],
            Self::Rename { from, to } => vec![from.0, to.0],
            Self::Write { .. } | Self::Resize { .. } | Self::Touch { .. } | Self::Sync { .. } => Vec::new(),
        }
    }

    /// The file whose content this changes.
    pub(crate) fn content_of(&self) -> Option<u64> {
        match self {
            Self::Write { node, .. } | Self::Resize { node, .. } | Self::Touch { node, .. } => Some(*node),
            _ => None,
        }
    }
}

/// All files of a disk. Nodes without a name stay until the next image: a file that is open lives on without one.
#[derive(Clone, Debug)]
pub struct Tree {
    nodes: BTreeMap<u64, Node>,
}

impl Default for Tree {
    /// An empty disk.
    fn default() -> Self {
        Self { nodes: BTreeMap::from([(ROOT, Node::new(libc::S_IFDIR | 0o755, 0))]) }
    }
}

impl Tree {
    pub(crate) fn node(&self, node: u64) -> Option<&Node> {
        self.nodes.get(&node)
    }

    pub(crate) fn node_mut(&mut self, node: u64) -> Option<&mut Node> {
        self.nodes.get_mut(&node)
    }

    /// A number that no node has ever had.
    pub(crate) fn next(&self) -> u64 {
        self.nodes.last_key_value().map_or(ROOT, |(last, _)| *last) + 1
    }

    pub(crate) fn names(&self, folder: u64) -> Option<&BTreeMap<OsString, u64>> {
        match &self.nodes.get(&folder)?.kind {
            Kind::Folder(names) => Some(names),
            Kind::File(_) | Kind::Other => None,
        }
    }

    pub(crate) fn find(&self, folder: u64, name: &OsStr) -> Option<u64> {
        self.names(folder)?.get(name).copied()
    }

    fn names_mut(&mut self, folder: u64) -> Option<&mut BTreeMap<OsString, u64>> {
        match &mut self.nodes.get_mut(&folder)?.kind {
            Kind::Folder(names) => Some(names),
            Kind::File(_) | Kind::Other => None,
        }
    }

    /// Changes names, lengths and bytes. What a change names and is not there stays as it is: in an image, a file may have
    /// lost the folder that it was in.
    pub(crate) fn apply(&mut self, change: &Change) {
        match change {
            Change::Make { name, node, mode, at_us } => {
                self.nodes.entry(*node).or_insert_with(|| Node::new(*mode, *at_us));
                self.enter(name, *node);
            }
            Change::Link { name, node } => self.enter(name, *node),
            Change::Unlink { name } => {
                self.names_mut(name.0).and_then(|names| names.remove(&name.1));
            }
            Change::Rename { from, to } => {
                if let Some(node) = self.names_mut(from.0).and_then(|names| names.remove(&from.1)) {
                    self.enter(to, node);
                }
            }
            Change::Write { .. } | Change::Resize { .. } | Change::Touch { .. } => {
                let node = change.content_of().and_then(|node| self.nodes.get_mut(&node));
                if let Some(node) = node {
                    apply_to(node, change);
                }
            }
            Change::Sync { .. } => {}
        }
    }

    fn enter(&mut self, name: &Name, node: u64) {
        if let Some(names) = self.names_mut(name.0) {
            names.insert(name.1.clone(), node);
        }
    }

    /// Makes the node of a [`Change::Make`] without its name.
    pub(crate) fn make_node(&mut self, node: u64, mode: u32, at_us: u64) {
        self.nodes.entry(node).or_insert_with(|| Node::new(mode, at_us));
    }

    /// Drops nodes that have no name, except the one with the highest number: numbers are not used again.
    pub(crate) fn drop_nameless(&mut self) {
        let mut named = BTreeSet::from([ROOT]);
        let mut rest = vec![ROOT];
        while let Some(folder) = rest.pop() {
            for node in self.names(folder).into_iter().flat_map(BTreeMap::values) {
                if named.insert(*node) {
                    rest.push(*node);
                }
            }
        }
        let last = self.next() - 1;
        self.nodes.retain(|node, _| named.contains(node) || *node == last);
    }

    /// Bytes of all files.
    pub(crate) fn bytes(&self) -> usize {
        self.nodes.values().map(Node::length).sum()
    }

    /// Writes all files into `folder`, which is there and empty.
    ///
    /// # Errors
    /// Of the file system that `folder` is in.
    pub fn write_to(&self, folder: &Path) -> io::Result<()> {
        self.write_folder(ROOT, folder)
    }

    fn write_folder(&self, number: u64, folder: &Path) -> io::Result<()> {
        for (name, number) in self.names(number).into_iter().flatten() {
            let path = folder.join(name);
            let Some(node) = self.node(*number) else { continue };
            match &node.kind {
                Kind::Folder(_) => {
                    std::fs::create_dir(&path)?;
                    self.write_folder(*number, &path)?;
                }
                Kind::File(bytes) => {
                    let file = File::create(&path)?;
                    file.set_len(bytes.len() as u64)?;
                    for (at, page) in bytes.chunks(PAGE).enumerate().filter(|(_, page)| page.iter().any(|b| *b != 0)) {
                        file.write_all_at(page, (at * PAGE) as u64)?;
                    }
                    file.set_modified(UNIX_EPOCH + Duration::from_micros(node.modified_us))?;
                }
                Kind::Other => {}
            }
        }
        Ok(())
    }
}

/// Changes the content of one file.
pub(crate) fn apply_to(node: &mut Node, change: &Change) {
    match (change, &mut node.kind) {
        (Change::Write { at, bytes, .. }, Kind::File(content)) => {
            if content.len() < at + bytes.len() {
                content.resize(at + bytes.len(), 0);
            }
            content[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        (Change::Resize { length, .. }, Kind::File(content)) => content.resize(*length, 0),
        (Change::Touch { at_us, .. }, _) => node.modified_us = *at_us,
        _ => {}
    }
}
