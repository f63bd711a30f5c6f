//! Byte sizes with their units.

use std::fmt;

/// A number of bytes. Printed in binary units (`512 MiB`); AWS's "MB" of memory and packages are these too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// `n` KiB.
    pub const fn kib(n: u64) -> Self {
        Self(n << 10)
    }

    /// `n` MiB.
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// `n` GiB.
    pub const fn gib(n: u64) -> Self {
        Self(n << 30)
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] {
            if self.0 >= 1 << shift {
                let value = self.0 as f64 / (1u64 << shift) as f64;
                return match value.fract() == 0.0 {
                    true => write!(f, "{value} {unit}"),
                    false => write!(f, "{value:.1} {unit}"),
                };
            }
        }
        write!(f, "{} B", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_the_largest_unit_that_fits() {
        for (size, text) in [
            (ByteSize(0), "0 B"),
            (ByteSize(1023), "1023 B"),
            (ByteSize::mib(512), "512 MiB"),
            (ByteSize(1536), "1.5 KiB"),
            (ByteSize::gib(10), "10 GiB"),
        ] {
            assert_eq!(size.to_string(), text);
        }
    }
}
