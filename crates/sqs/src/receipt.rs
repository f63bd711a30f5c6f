//! Receipt handles: which message of which queue, and which of its receives.
//!
//! ```text
//!   base64: 01 · queue id 8 · due 8 · versionstamp 10 · index 2 · receive number 4 · CRC-32 4
//! ```
//! A handle is no secret: the queue's policy decides who may use it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::SqsError;
use crate::keys::{QueueId, Seq};

const FORMAT: u8 = 1;
const BYTES: usize = 37;

/// What a receipt handle says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Receipt {
    pub(crate) queue: QueueId,
    pub(crate) seq: Seq,
    /// The message's receive count in this queue when the handle was made.
    pub(crate) receives: u32,
}

impl Receipt {
    pub(crate) fn encode(&self) -> String {
        let mut bytes = Vec::with_capacity(BYTES);
        bytes.push(FORMAT);
        bytes.extend_from_slice(&self.queue.to_be_bytes());
        bytes.extend_from_slice(&self.seq.to_bytes());
        bytes.extend_from_slice(&self.receives.to_be_bytes());
        bytes.extend_from_slice(&checksum(&bytes).to_be_bytes());
        STANDARD.encode(bytes)
    }

    /// The handle `text` of the queue `queue`.
    ///
    /// # Errors
    /// `ReceiptHandleIsInvalid` when it was not made by this queue.
    pub(crate) fn decode(queue: QueueId, text: &str) -> Result<Self, SqsError> {
        let invalid = || SqsError::ReceiptHandleIsInvalid;
        let bytes = STANDARD.decode(text).map_err(|_| invalid())?;
        let bytes: [u8; BYTES] = bytes.try_into().map_err(|_| invalid())?;
        let (content, sum) = bytes.split_at(BYTES - 4);
        let number = |from: usize, to: usize| content[from..to].iter().fold(0u64, |n, byte| n << 8 | u64::from(*byte));
        let receipt = Self {
            queue: number(1, 9),
            seq: Seq::from_bytes(&content[9..29]).ok_or_else(invalid)?,
            receives: u32::try_from(number(29, 33)).map_err(|_| invalid())?,
        };
        let whole = content[0] == FORMAT && checksum(content).to_be_bytes() == sum;
        if whole && receipt.queue == queue { Ok(receipt) } else { Err(invalid()) }
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, bytes);
    u32::try_from(sum).expect("a CRC-32 fits 32 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_survives_the_round_trip_and_no_change() {
        let receipt = Receipt { queue: 7, seq: Seq { due_ms: 5, stamp: [9; 10], index: 3 }, receives: 2 };
        let text = receipt.encode();
        assert_eq!(Receipt::decode(7, &text).expect("our own"), receipt);
        assert!(Receipt::decode(8, &text).is_err(), "of another queue");
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("ASCII");
            assert!(Receipt::decode(7, &changed).is_err(), "changed at {at}");
        }
        for text in ["", "x", "AQEB", "not base64!"] {
            assert!(Receipt::decode(7, text).is_err(), "{text}");
        }
    }
}
