//! The message of `ListAndWatch`, by hand: the only one that is long, sent again and again, and to several streams.
//!
//! On the wire a list is nothing but its devices one after the other. So whoever sends it may encode them wherever there is
//! time for it, once for all streams, and keep the bytes instead of the values.

use prost::bytes::{Buf, BufMut, Bytes};
use prost::encoding::{DecodeContext, WireType, message, skip_field};
use prost::{DecodeError, Message};

use crate::device_plugin::Device;

/// The number of the only field.
const DEVICES: u32 = 1;

/// The whole list: `ListAndWatchResponse` of `proto/device_plugin.proto`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListAndWatchResponse {
    /// Devices that were encoded before, as [`encode_device`] does it. What is received has none.
    pub encoded: Bytes,
    /// All others.
    pub devices: Vec<Device>,
}

/// Appends a device to those that a list has encoded.
pub fn encode_device(device: &Device, encoded: &mut Vec<u8>) {
    message::encode(DEVICES, device, encoded);
}

impl Message for ListAndWatchResponse {
    fn encode_raw(&self, buffer: &mut impl BufMut) {
        buffer.put_slice(&self.encoded);
        message::encode_repeated(DEVICES, &self.devices, buffer);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buffer: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            DEVICES => message::merge_repeated(wire_type, &mut self.devices, buffer, context),
            _ => skip_field(wire_type, tag, buffer, context),
        }
    }

    fn encoded_len(&self) -> usize {
        self.encoded.len() + message::encoded_len_repeated(DEVICES, &self.devices)
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device_plugin::{HEALTHY, NumaNode, TopologyInfo};

    #[test]
    fn what_was_encoded_before_is_received_like_any_other() {
        let device = |id: &str| {
            let topology = Some(TopologyInfo { nodes: vec![NumaNode { id: 1 }] });
            Device { id: id.to_owned(), health: HEALTHY.to_owned(), topology }
        };
        let mut encoded = Vec::new();
        for id in ["a", "b"] {
            encode_device(&device(id), &mut encoded);
        }
        let list = ListAndWatchResponse { encoded: encoded.into(), devices: vec![device("c")] };
        let bytes = list.encode_to_vec();
        assert_eq!(bytes.len(), list.encoded_len());
        let received = ListAndWatchResponse::decode(&*bytes).expect("it is a list");
        assert_eq!(
            received,
            ListAndWatchResponse { encoded: Bytes::new(), devices: ["a", "b", "c"].map(device).into() }
        );
    }
}
