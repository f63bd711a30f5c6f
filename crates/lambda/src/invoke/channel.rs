//! The channel to our own bootstraps: length-prefixed frames on a unix stream socket.
//!
//! ```text
//!   u32 length (big-endian, of what follows) │ u8 kind │ payload
//!
//!   server → runtime   1 INVOKE      u32 header length │ header JSON │ event
//!   runtime → server   2 READY       init is done; JSON [name]: what of the runtime's AWS SDK it has loaded, or nothing
//!                      3 RESPONSE    36 bytes request id │ body
//!                      4 ERROR       36 bytes request id │ error JSON
//!                      5 INIT_ERROR  error JSON
//!                      6 LOADING     nothing; the runtime is up and begins to load the function's code (optional)
//!                      7 CHUNK       36 bytes request id │ bytes of an answer that streams; RESPONSE (empty) or ERROR end it
//!                      8 HEAD        36 bytes request id │ content type of an answer that streams
//!   server → runtime  16 ASSIGN      JSON {"environment": {name: value}}: the function of a generic runtime
//!   runtime → server  17 STANDBY     nothing, or why it has not all that it was to load; a generic runtime is up and knows no function
//!   server → runtime  18 RESTORE     nothing; a suspended environment is about to be used
//!   runtime → server  19 SUSPENDED   nothing; in READY's place: something is to be done once more before the first INVOKE
//!                     20 RESTORED    nothing; it is done
//!                     21 RESTORE_ERROR  error JSON; it went wrong
//!                     22 GIVEN       what an init was asked for beside itself; only where it was, and once
//!   server → runtime  23 PLACED      nothing, after ASSIGN: the function's code and folders are in their places
//! ```
//!
//! The peer is untrusted: every length is checked before anything is kept, and a frame that fits nothing ends the
//! environment.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use serde::Serialize;

use super::stream::{CHUNK_BYTES_MAX, HEAD_BYTES_MAX};
use super::{PayloadLimits, StreamSink};

const REQUEST_ID_BYTES: usize = 36;
/// Of what READY or STANDBY says.
const SAID_BYTES_MAX: usize = 4 << 10;

/// What the runtime learns beside the event. Absent fields are left out of the JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InvokeHeader {
    pub(crate) request_id: String,
    pub(crate) deadline_ms: i64,
    pub(crate) invoked_function_arn: String,
    pub(crate) trace_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_context: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cognito_identity: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tenant_id: Option<String>,
    /// Where an answer goes that streams. The runtime hears only that there is a place.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_true")]
    pub(crate) stream: Option<StreamSink>,
}

fn as_true<S: serde::Serializer>(_: &Option<StreamSink>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bool(true)
}

/// A frame from the runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// With what of the runtime's AWS SDK init has loaded, in JSON; empty where it does not say.
    Ready {
        used: Bytes,
    },
    Loading,
    Standby {
        lacks: Bytes,
    },
    Response {
        request_id: String,
        body: Bytes,
    },
    Error {
        request_id: String,
        json: Bytes,
    },
    InitError {
        json: Bytes,
    },
    Suspended,
    Restored,
    RestoreError {
        json: Bytes,
    },
    Given {
        bytes: Bytes,
    },
    Head {
        request_id: String,
        content_type: Bytes,
    },
    Chunk {
        request_id: String,
        bytes: Bytes,
    },
}

/// Why bytes are no frame. The environment that sent them is not used again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("a frame of {0} bytes is longer than the largest answer")]
    TooLong(usize),
    #[error("a frame of kind {kind} has {length} bytes, which is more than its kind may have")]
    PartTooLong { kind: u8, length: usize },
    #[error("a frame of kind {0} does not exist in this direction")]
    Kind(u8),
    #[error("a frame is too short for its kind, or its request id is not text")]
    Malformed,
}

#[cfg(test)]
impl InvokeHeader {
    /// Of an event about which nothing matters but its id.
    pub(crate) fn plain() -> Self {
        Self {
            request_id: "8476a536-e9f4-11e8-9739-2dfe598c3fcd".to_owned(),
            deadline_ms: 0,
            invoked_function_arn: String::new(),
            trace_id: String::new(),
            client_context: None,
            cognito_identity: None,
            tenant_id: None,
            stream: None,
        }
    }
}

/// The header as a frame has it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Framed<'header> {
    #[serde(flatten)]
    header: &'header InvokeHeader,
    /// Where the operator has raised AWS's limit, which our bootstraps know.
    #[serde(skip_serializing_if = "Option::is_none")]
    answer_bytes_max: Option<usize>,
}

/// The bytes of an INVOKE frame.
pub(crate) fn encode_invoke(header: &InvokeHeader, limits: PayloadLimits, event: &[u8]) -> Bytes {
    let answer_bytes_max = (limits != PayloadLimits::AWS).then_some(limits.sync_bytes);
    let framed = Framed { header, answer_bytes_max };
    let json = serde_json::to_vec(&framed).expect("strings and numbers are always JSON");
    let length = 1 + 4 + json.len() + event.len();
    let mut frame = BytesMut::with_capacity(4 + length);
    frame.put_u32(u32::try_from(length).expect("an event is at most 256 MB"));
    frame.put_u8(1);
    frame.put_u32(u32::try_from(json.len()).expect("a header is far below 4 GiB"));
    frame.put_slice(&json);
    frame.put_slice(event);
    frame.freeze()
}

/// The bytes of an ASSIGN frame.
pub(crate) fn encode_assign(environment: &[(String, String)]) -> Bytes {
    let environment: std::collections::BTreeMap<_, _> = environment.iter().map(|(name, value)| (name, value)).collect();
    let json = serde_json::json!({ "environment": environment }).to_string();
    let mut frame = BytesMut::with_capacity(5 + json.len());
    frame.put_u32(u32::try_from(1 + json.len()).expect("variables are a few KB"));
    frame.put_u8(16);
    frame.put_slice(json.as_bytes());
    frame.freeze()
}

/// The bytes of a PLACED frame.
pub(crate) const PLACED: [u8; 5] = [0, 0, 0, 1, 23];

/// The bytes of a RESTORE frame.
pub(crate) const RESTORE: [u8; 5] = [0, 0, 0, 1, 18];

/// What the length of a frame says at most that carries `bytes_max` of a stream.
const fn part_bytes_max(bytes_max: usize) -> usize {
    1 + REQUEST_ID_BYTES + bytes_max
}

/// Takes the first whole frame, of at most `bytes_max`, from `buffer`; `None` when more bytes are needed. A GIVEN may have
/// `given_bytes_max`, which is 0 where nothing was asked for.
pub(crate) fn decode(
    buffer: &mut BytesMut,
    bytes_max: usize,
    given_bytes_max: usize,
) -> Result<Option<Frame>, FrameError> {
    let Some(prefix) = buffer.first_chunk::<4>() else { return Ok(None) };
    let length = usize::try_from(u32::from_be_bytes(*prefix)).unwrap_or(usize::MAX);
    let is_given = given_bytes_max > 0 && buffer.get(4) == Some(&22);
    if length > if is_given { 1 + given_bytes_max } else { bytes_max.max(given_bytes_max) } {
        return Err(FrameError::TooLong(length));
    }
    if length == 0 {
        return Err(FrameError::Malformed);
    }
    // The kind is known early: nothing is buffered for a frame that cannot be right.
    match buffer.get(4) {
        Some(&kind @ 7) if length > part_bytes_max(CHUNK_BYTES_MAX) => {
            return Err(FrameError::PartTooLong { kind, length });
        }
        Some(&kind @ (2 | 17)) if length > 1 + SAID_BYTES_MAX => return Err(FrameError::PartTooLong { kind, length }),
        Some(&kind @ 8) if length > part_bytes_max(HEAD_BYTES_MAX) => {
            return Err(FrameError::PartTooLong { kind, length });
        }
        Some(_) if length > bytes_max && !is_given => return Err(FrameError::TooLong(length)),
        None | Some(2..=8 | 17 | 19..=21) => {}
        Some(22) if is_given => {}
        Some(kind) => return Err(FrameError::Kind(*kind)),
    }
    if buffer.len() < 4 + length {
        return Ok(None);
    }
    buffer.advance(4);
    let kind = buffer.get_u8();
    let mut payload = buffer.split_to(length - 1).freeze();
    match kind {
        6 | 19 | 20 if !payload.is_empty() => Err(FrameError::Malformed),
        2 => Ok(Some(Frame::Ready { used: payload })),
        6 => Ok(Some(Frame::Loading)),
        17 => Ok(Some(Frame::Standby { lacks: payload })),
        19 => Ok(Some(Frame::Suspended)),
        20 => Ok(Some(Frame::Restored)),
        21 => Ok(Some(Frame::RestoreError { json: payload })),
        22 => Ok(Some(Frame::Given { bytes: payload })),
        5 => Ok(Some(Frame::InitError { json: payload })),
        3 | 4 | 7 | 8 => {
            if payload.len() < REQUEST_ID_BYTES {
                return Err(FrameError::Malformed);
            }
            let id = payload.split_to(REQUEST_ID_BYTES);
            let request_id = std::str::from_utf8(&id).map_err(|_| FrameError::Malformed)?.to_owned();
            Ok(Some(match kind {
                3 => Frame::Response { request_id, body: payload },
                7 => Frame::Chunk { request_id, bytes: payload },
                8 => Frame::Head { request_id, content_type: payload },
                _ => Frame::Error { request_id, json: payload },
            }))
        }
        other => Err(FrameError::Kind(other)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop_oneof, proptest};

    use super::*;

    const FRAME_BYTES: usize = 7 << 20;

    const ID: &str = "8476a536-e9f4-11e8-9739-2dfe598c3fcd";

    fn encode(frame: &Frame) -> Vec<u8> {
        let (kind, payload) = match frame {
            Frame::Ready { used } => (2, used.to_vec()),
            Frame::Loading => (6, Vec::new()),
            Frame::Standby { lacks } => (17, lacks.to_vec()),
            Frame::Suspended => (19, Vec::new()),
            Frame::Restored => (20, Vec::new()),
            Frame::RestoreError { json } => (21, json.to_vec()),
            Frame::Response { request_id, body } => (3, [request_id.as_bytes(), body].concat()),
            Frame::Error { request_id, json } => (4, [request_id.as_bytes(), json].concat()),
            Frame::InitError { json } => (5, json.to_vec()),
            Frame::Given { bytes } => (22, bytes.to_vec()),
            Frame::Chunk { request_id, bytes } => (7, [request_id.as_bytes(), bytes].concat()),
            Frame::Head { request_id, content_type } => (8, [request_id.as_bytes(), content_type].concat()),
        };
        let mut bytes = u32::try_from(payload.len() + 1).unwrap().to_be_bytes().to_vec();
        bytes.push(kind);
        bytes.extend(payload);
        bytes
    }

    fn any_frame() -> impl Strategy<Value = Frame> {
        let body = || proptest::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from);
        let id = || "[0-9a-f-]{36}";
        prop_oneof![
            body().prop_map(|used| Frame::Ready { used }),
            proptest::strategy::Just(Frame::Loading),
            body().prop_map(|lacks| Frame::Standby { lacks }),
            proptest::strategy::Just(Frame::Suspended),
            proptest::strategy::Just(Frame::Restored),
            body().prop_map(|json| Frame::RestoreError { json }),
            (id(), body()).prop_map(|(request_id, body)| Frame::Response { request_id, body }),
            (id(), body()).prop_map(|(request_id, json)| Frame::Error { request_id, json }),
            (id(), body()).prop_map(|(request_id, bytes)| Frame::Chunk { request_id, bytes }),
            (id(), body()).prop_map(|(request_id, content_type)| Frame::Head { request_id, content_type }),
            body().prop_map(|json| Frame::InitError { json }),
            body().prop_map(|bytes| Frame::Given { bytes }),
        ]
    }

    proptest! {
        #[test]
        fn frames_survive_any_cutting_of_the_stream(
            frames in proptest::collection::vec(any_frame(), 0..8),
            cuts in proptest::collection::vec(1usize..200, 1..50),
        ) {
            let stream: Vec<u8> = frames.iter().flat_map(encode).collect();
            let (mut buffer, mut seen, mut rest) = (BytesMut::new(), Vec::new(), &stream[..]);
            let mut cuts = cuts.iter().cycle();
            while !rest.is_empty() {
                let (now, later) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                buffer.extend_from_slice(now);
                rest = later;
                while let Some(frame) = decode(&mut buffer, FRAME_BYTES, 300).unwrap() {
                    seen.push(frame);
                }
            }
            assert_eq!((seen, buffer.len()), (frames, 0));
        }

        #[test]
        fn any_bytes_decode_or_fail_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = decode(&mut buffer, FRAME_BYTES, 100) {}
        }
    }

    #[test]
    fn what_fits_no_frame_is_refused() {
        let mut long = u32::MAX.to_be_bytes().to_vec();
        long.push(3);
        for (bytes, error) in [
            (long, FrameError::TooLong(usize::try_from(u32::MAX).unwrap())),
            (vec![0, 0, 0, 0, 2], FrameError::Malformed),
            (vec![0, 0, 0, 1, 1], FrameError::Kind(1)),
            (vec![0, 0, 0, 1, 16], FrameError::Kind(16)),
            (RESTORE.to_vec(), FrameError::Kind(18)),
            (vec![0, 0, 0, 2, 19, 0], FrameError::Malformed),
            (vec![0, 0, 0, 9, 77], FrameError::Kind(77)),
            (vec![0, 0, 0, 2, 22, 0], FrameError::Kind(22)),
            (vec![0, 0, 0, 2, 6, 0], FrameError::Malformed),
            (vec![0, 0, 0, 3, 3, b'a', b'b'], FrameError::Malformed),
            ([&[0, 0, 0, 37, 4][..], &[0xff; 36]].concat(), FrameError::Malformed),
        ] {
            assert_eq!(decode(&mut BytesMut::from(&bytes[..]), FRAME_BYTES, 0), Err(error), "{bytes:?}");
        }
    }

    #[test]
    fn a_part_of_a_stream_and_a_long_list_are_refused_by_their_length_before_they_are_buffered() {
        for (kind, max) in
            [(7, 37 + CHUNK_BYTES_MAX), (8, 37 + HEAD_BYTES_MAX), (2, 1 + SAID_BYTES_MAX), (17, 1 + SAID_BYTES_MAX)]
        {
            for (length, expected) in
                [(max, Ok(None)), (max + 1, Err(FrameError::PartTooLong { kind, length: max + 1 }))]
            {
                let mut bytes = u32::try_from(length).unwrap().to_be_bytes().to_vec();
                bytes.push(kind);
                assert_eq!(decode(&mut BytesMut::from(&bytes[..]), FRAME_BYTES, 0), expected);
            }
        }
    }

    #[test]
    fn what_was_asked_for_has_a_bound_of_its_own_and_lends_it_to_no_other_frame() {
        for (kind, length, given_bytes_max, expected) in [
            (22, 1 + 9_000_000, 9_000_000, Ok(None)),
            (22, 2 + 9_000_000, 9_000_000, Err(FrameError::TooLong(2 + 9_000_000))),
            (22, 9, 0, Err(FrameError::Kind(22))),
            (22, 9_000_000, 0, Err(FrameError::TooLong(9_000_000))),
            (22, 1 + 10, 10, Ok(None)),
            (22, 1 + 11, 10, Err(FrameError::TooLong(12))),
            (5, FRAME_BYTES + 1, 9_000_000, Err(FrameError::TooLong(FRAME_BYTES + 1))),
            (5, FRAME_BYTES, 9_000_000, Ok(None)),
        ] {
            let mut bytes = u32::try_from(length).unwrap().to_be_bytes().to_vec();
            bytes.push(kind);
            let decoded = decode(&mut BytesMut::from(&bytes[..]), FRAME_BYTES, given_bytes_max);
            assert_eq!(decoded, expected, "{kind} {length} {given_bytes_max}");
        }
    }

    #[test]
    fn an_invoke_carries_the_event_byte_for_byte_and_leaves_absent_fields_out() {
        let header = InvokeHeader {
            request_id: ID.to_owned(),
            deadline_ms: 1_700_000_003_000,
            invoked_function_arn: "arn:aws:lambda:us-east-1:000000000000:function:f".to_owned(),
            trace_id: "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1".to_owned(),
            client_context: None,
            cognito_identity: None,
            tenant_id: None,
            stream: None,
        };
        let frame = encode_invoke(&header, PayloadLimits::AWS, b" {\"a\" : 1}\n");
        let length = usize::try_from(u32::from_be_bytes(frame[..4].try_into().unwrap())).unwrap();
        assert_eq!((length, frame[4]), (frame.len() - 4, 1));
        let json_length = usize::try_from(u32::from_be_bytes(frame[5..9].try_into().unwrap())).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&frame[9..9 + json_length]).unwrap();
        assert_eq!(json["requestId"], ID);
        assert_eq!(json["deadlineMs"], 1_700_000_003_000i64);
        assert!(json.get("clientContext").is_none());
        assert_eq!(&frame[9 + json_length..], b" {\"a\" : 1}\n");
    }
}
