//! Atomic operations: changes whose result depends on the stored value, computed at commit without reading it first,
//! so that writers of one counter do not conflict. Meaning as in FoundationDB
//! (<https://apple.github.io/foundationdb/api-general.html>, "atomic operations").

use bytes::Bytes;

/// An atomic operation. Operand and stored value are little-endian unsigned integers of the operand's length:
/// a shorter stored value is extended with zeros, a longer one cut; a missing one counts as zeros for `Add` and
/// is replaced by the operand for `Min` and `Max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Atomic {
    /// Adds; wraps on overflow. Two's complement makes it right for signed numbers as well.
    Add,
    /// Keeps the smaller one.
    Min,
    /// Keeps the larger one.
    Max,
}

impl Atomic {
    /// The value to store, given the stored one.
    pub(crate) fn apply(self, stored: Option<&[u8]>, operand: &[u8]) -> Bytes {
        let Some(stored) = stored else { return Bytes::copy_from_slice(operand) };
        let mut value = vec![0; operand.len()];
        let kept = stored.len().min(operand.len());
        value[..kept].copy_from_slice(&stored[..kept]);
        match self {
            Self::Add => {
                let mut carry = 0;
                for (digit, add) in value.iter_mut().zip(operand) {
                    let sum = u16::from(*digit) + u16::from(*add) + carry;
                    carry = sum >> 8;
                    *digit = sum.to_le_bytes()[0];
                }
            }
            Self::Min if value.iter().rev().gt(operand.iter().rev()) => value.copy_from_slice(operand),
            Self::Max if value.iter().rev().lt(operand.iter().rev()) => value.copy_from_slice(operand),
            Self::Min | Self::Max => {}
        }
        Bytes::from(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_follow_the_length_of_the_operand() {
        use Atomic::{Add, Max, Min};
        type Case<'a> = (Atomic, Option<&'a [u8]>, &'a [u8], &'a [u8]);
        let cases: &[Case<'_>] = &[
            (Add, None, &[5, 0], &[5, 0]),
            (Add, Some(&[250]), &[10, 0], &[4, 1]),
            (Add, Some(&[255, 255]), &[1, 0], &[0, 0]),
            (Add, Some(&[1, 2, 3]), &[1], &[2]),
            (Min, None, &[9], &[9]),
            (Min, Some(&[0, 1]), &[255, 0], &[255, 0]),
            (Min, Some(&[3, 0]), &[0, 1], &[3, 0]),
            (Max, None, &[9], &[9]),
            (Max, Some(&[0, 1]), &[255, 0], &[0, 1]),
            (Max, Some(&[0, 1]), &[7], &[7]),
        ];
        for (operation, stored, operand, expected) in cases {
            assert_eq!(operation.apply(*stored, operand), *expected, "{operation:?} {stored:?} {operand:?}");
        }
    }

    #[test]
    fn adding_minus_one_in_twos_complement_subtracts() {
        let three = 3i64.to_le_bytes();
        assert_eq!(Atomic::Add.apply(Some(&three), &(-1i64).to_le_bytes()), 2i64.to_le_bytes().as_slice());
    }
}
