//! Where an entry of a package may lie, and where a symbolic link of a package may point.

use std::path::{Path, PathBuf};

/// Longest path of an entry in bytes; leaves room for the folder that it is unpacked into below `PATH_MAX`.
pub(super) const PATH_LENGTH_MAX: usize = 2_048;
/// Longest name of one file in bytes (`NAME_MAX`).
const COMPONENT_LENGTH_MAX: usize = 255;
/// Deepest path in components.
const DEPTH_MAX: usize = 64;

/// A path that stays below the folder it is joined to: relative, no `.` and no `..`, at least one component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EntryPath(PathBuf);

impl EntryPath {
    /// Reads an entry's name.
    ///
    /// # Errors
    /// The reason for a refusal: not UTF-8 (overlong forms are not), NUL, backslash, absolute, drive letter, `..`, too long, too deep.
    /// `Ok(None)` when the name is the package's own folder (`./`).
    pub(super) fn parse(name: &[u8]) -> Result<Option<Self>, &'static str> {
        let name = std::str::from_utf8(name).map_err(|_| "its name is not UTF-8")?;
        let drive = name.as_bytes().get(1) == Some(&b':') && name.as_bytes()[0].is_ascii_alphabetic();
        match name {
            "" => return Err("it has no name"),
            _ if name.len() > PATH_LENGTH_MAX => return Err("its path is too long"),
            _ if name.contains('\0') => return Err("its name contains a NUL"),
            _ if name.contains('\\') => return Err("its name contains a backslash"),
            _ if name.starts_with('/') || drive => return Err("its path is absolute"),
            _ => {}
        }
        let mut path = PathBuf::new();
        let mut depth = 0;
        for component in name.split('/').filter(|component| !matches!(*component, "" | ".")) {
            if component == ".." {
                return Err("its path leaves the package");
            }
            if component.len() > COMPONENT_LENGTH_MAX {
                return Err("its name is too long");
            }
            depth += 1;
            if depth > DEPTH_MAX {
                return Err("its path is too deep");
            }
            path.push(component);
        }
        Ok((depth > 0).then_some(Self(path)))
    }

    /// The relative path.
    pub(super) fn as_path(&self) -> &Path {
        &self.0
    }

    /// Number of components.
    fn depth(&self) -> usize {
        self.0.components().count()
    }

    /// Checks the target of a symbolic link that lies at this path.
    ///
    /// `..` may stand only at the front and may climb only as far as the package's folder. Links are created after all
    /// folders, so the folders that a link's own path goes through are real ones: climbing from there stays inside.
    /// The names that follow may be links again, for which the same holds. A `..` behind a name could be
    /// resolved behind another link, above the package: that is why it is refused.
    ///
    /// # Errors
    /// The reason for a refusal.
    pub(super) fn link_target(&self, target: &[u8]) -> Result<PathBuf, &'static str> {
        let target = std::str::from_utf8(target).map_err(|_| "its target is not UTF-8")?;
        if target.is_empty() || target.len() > PATH_LENGTH_MAX || target.contains('\0') {
            return Err("its target is malformed");
        }
        if target.starts_with('/') {
            return Err("its target is absolute");
        }
        let mut climb = 0;
        let mut named = false;
        for component in target.split('/').filter(|component| !matches!(*component, "" | ".")) {
            match component {
                ".." if named => return Err("its target has `..` behind a name"),
                ".." => climb += 1,
                _ => named = true,
            }
        }
        if climb >= self.depth() {
            return Err("its target leaves the package");
        }
        Ok(PathBuf::from(target))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e1_names_that_could_leave_the_package_are_refused() {
        let long = "a".repeat(256);
        let deep = "a/".repeat(65);
        type Expected = Result<Option<&'static str>, &'static str>;
        let cases: &[(&[u8], Expected)] = &[
            (b"index.js", Ok(Some("index.js"))),
            (b"./a//b/./c.js", Ok(Some("a/b/c.js"))),
            (b"..a/b..", Ok(Some("..a/b.."))),
            ("päckchen/ß".as_bytes(), Ok(Some("päckchen/ß"))),
            (b"dir/", Ok(Some("dir"))),
            (b"./", Ok(None)),
            (b"", Err("it has no name")),
            (b"../x", Err("its path leaves the package")),
            (b"a/../../x", Err("its path leaves the package")),
            (b"a/..", Err("its path leaves the package")),
            (b"/etc/passwd", Err("its path is absolute")),
            (b"//host/share", Err("its path is absolute")),
            (b"C:/x", Err("its path is absolute")),
            (b"c:x", Err("its path is absolute")),
            (b"..\\x", Err("its name contains a backslash")),
            (b"a\0b", Err("its name contains a NUL")),
            (b"\xc0\xae\xc0\xae/x", Err("its name is not UTF-8")),
            (b"\xe0\x80\xaf", Err("its name is not UTF-8")),
            (long.as_bytes(), Err("its name is too long")),
            (deep.as_bytes(), Err("its path is too deep")),
        ];
        for (name, expected) in cases {
            let parsed = EntryPath::parse(name);
            let text = parsed.as_ref().map(|path| path.as_ref().and_then(|path| path.as_path().to_str()));
            assert_eq!(text, expected.as_ref().map(|name| *name), "{}", String::from_utf8_lossy(name));
        }
    }

    #[test]
    fn e2_link_targets_stay_inside_the_package() {
        let cases: &[(&str, &str, bool)] = &[
            ("node_modules/.bin/tsc", "../typescript/bin/tsc", true),
            ("libx.so", "libx.so.1", true),
            ("a/b/c", "../../d", true),
            ("a/b", ".", true),
            ("a", "..", false),
            ("a/b", "../../x", false),
            ("a/b/c", "../../../x", false),
            ("a", "/etc/shadow", false),
            ("a", "x/../../y", false),
            ("a/b", "x/..", false),
            ("a", "", false),
            ("a", "x\0y", false),
        ];
        for (link, target, allowed) in cases {
            let path = EntryPath::parse(link.as_bytes()).expect("well formed").expect("has a name");
            assert_eq!(path.link_target(target.as_bytes()).is_ok(), *allowed, "{link} -> {target}");
        }
    }
}
