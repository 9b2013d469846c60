//! TensorBoard's event files: protobuf messages in checked records.
//!
//! The fields that are written, of tensorboard's `compat/proto/event.proto` and `summary.proto`; the
//! framing is `compat/tensorflow_stub/pywrap_tensorflow.py`'s.

use prost::{Message, Oneof};

use crate::store::CurvePoint;

/// What the first event of a file says (`EventsWriter::kCurrentVersion` of TensorFlow).
const VERSION: &str = "brain.Event:2";

#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(oneof = "What", tags = "3, 5")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, Oneof)]
enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Scalar>,
}

#[derive(Clone, PartialEq, Message)]
struct Scalar {
    #[prost(string, tag = "1")]
    tag: String,
    /// Of a oneof, whose chosen member is written even where it is 0.
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

/// The record that a file begins with.
pub(super) fn file_version_record(wall_time: f64) -> Vec<u8> {
    let what = Some(What::FileVersion(VERSION.to_owned()));
    record(&Event {
        wall_time,
        step: 0,
        what,
    })
}

/// The record of a point: a scalar a value.
pub(super) fn scalars_record(wall_time: f64, point: &CurvePoint) -> Vec<u8> {
    let value = point.values.iter().map(|(name, &value)| Scalar {
        tag: format!("{}/{name}", point.kind.name()),
        simple_value: Some(value as f32),
    });
    let summary = Summary {
        value: value.collect(),
    };
    record(&Event {
        wall_time,
        step: point.step as i64,
        what: Some(What::Summary(summary)),
    })
}

/// Length, checksum of the length, message, checksum of the message.
fn record(event: &Event) -> Vec<u8> {
    let message = event.encode_to_vec();
    let length = (message.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(message.len() + 16);
    record.extend_from_slice(&length);
    record.extend_from_slice(&masked_crc(&length).to_le_bytes());
    record.extend_from_slice(&message);
    record.extend_from_slice(&masked_crc(&message).to_le_bytes());
    record
}

/// CRC-32C, turned and shifted, so that checksums of data with checksums in it stay apart.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}
