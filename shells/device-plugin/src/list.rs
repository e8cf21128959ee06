//! The list of a resource's devices, and how much of it fits into one message.
//!
//! A kubelet takes messages of at most 4 MiB and drops the whole resource at a larger one. There is no paging. So what does
//! not fit is withheld: the list is in the order of its ids, and its end is cut off, so that the same devices stay withheld
//! from one list to the next. A device counts with the longer of its two healths, so that a change of health moves nothing.
//!
//! What it does not do: it decides about no device.

use outrigger_kubelet_api::MAX_MESSAGE;
use outrigger_kubelet_api::device_plugin::{self as wire, HEALTHY, UNHEALTHY};

/// One unit of a resource, as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// At most 63 characters, the same over restarts of everything.
    pub id: String,
    /// Whether it may be given.
    pub healthy: bool,
    /// The NUMA nodes that it is nearest to; empty where none is nearer than the others.
    pub numa: Vec<u32>,
}

/// All devices of a resource, in the order of their ids, no id twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceList {
    devices: Vec<Device>,
}

/// How much of a list fits into one message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fit {
    /// How many devices, from the first, are listed.
    pub listed: usize,
    /// How many are not.
    pub withheld: usize,
    /// Bytes that the whole list would take.
    pub bytes: usize,
}

impl Device {
    /// Bytes that the device takes in a list, with the longer of its two healths.
    pub fn size(&self) -> usize {
        let nodes: usize =
            self.numa.iter().map(|&node| field(if node == 0 { 0 } else { 1 + varint(node as usize) })).sum();
        let topology = if self.numa.is_empty() { 0 } else { field(nodes) };
        field(field(self.id.len()) + field(UNHEALTHY.len()) + topology)
    }

    fn message(&self) -> wire::Device {
        let nodes = self.numa.iter().map(|&node| wire::NumaNode { id: node.into() }).collect();
        wire::Device {
            id: self.id.clone(),
            health: if self.healthy { HEALTHY } else { UNHEALTHY }.to_owned(),
            topology: (!self.numa.is_empty()).then_some(wire::TopologyInfo { nodes }),
        }
    }
}

impl DeviceList {
    /// A list of these devices, in any order. Of several with one id the first stays.
    pub fn new(mut devices: Vec<Device>) -> Self {
        devices.sort_by(|one, other| one.id.cmp(&other.id));
        devices.dedup_by(|later, earlier| later.id == earlier.id);
        Self { devices }
    }

    /// The devices, in the order of their ids.
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// How much of it fits into the largest message that a kubelet takes.
    pub fn fit(&self) -> Fit {
        let mut fit = Fit::default();
        for device in &self.devices {
            fit.bytes += device.size();
            if fit.bytes <= MAX_MESSAGE {
                fit.listed += 1;
            } else {
                fit.withheld += 1;
            }
        }
        fit
    }

    /// The message that holds what fits.
    pub(crate) fn message(&self, fit: Fit) -> wire::ListAndWatchResponse {
        let devices = self.devices.iter().take(fit.listed).map(Device::message).collect();
        wire::ListAndWatchResponse { devices }
    }
}

impl FromIterator<Device> for DeviceList {
    fn from_iter<I: IntoIterator<Item = Device>>(devices: I) -> Self {
        Self::new(devices.into_iter().collect())
    }
}

/// Bytes of a field of `content` bytes: its tag (all numbers are below 16), its length, its content.
fn field(content: usize) -> usize {
    1 + varint(content) + content
}

/// Bytes of a number: seven bits each.
fn varint(number: usize) -> usize {
    (number | 1).ilog2() as usize / 7 + 1
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    fn device(id: &str, numa: &[u32]) -> Device {
        Device { id: id.into(), healthy: false, numa: numa.to_vec() }
    }

    #[test]
    fn the_size_is_that_on_the_wire() {
        let long = "x".repeat(200);
        for (id, numa) in
            [("a", &[][..]), ("a", &[0]), ("a", &[1]), ("a", &[0, 300]), (&long, &[0, 1, 2]), (&long, &[])]
        {
            let list = DeviceList::new(vec![device(id, numa)]);
            let fit = list.fit();
            assert_eq!(list.message(fit).encoded_len(), fit.bytes, "{id} {numa:?}");
        }
    }

    #[test]
    fn a_list_is_in_the_order_of_its_ids_and_has_none_twice() {
        let list = DeviceList::new(vec![device("b", &[]), device("a", &[1]), device("b", &[2])]);
        assert_eq!(list.devices(), [device("a", &[1]), device("b", &[])]);
    }

    /// 40 characters, as GDP's ids have: 55 bytes each with `Unhealthy`.
    #[test]
    fn what_does_not_fit_is_withheld_and_the_message_stays_below_the_limit() {
        let list: DeviceList = (0..80_000).map(|number| device(&format!("{number:040}"), &[])).collect();
        let fit = list.fit();
        assert_eq!((fit.listed, fit.withheld, fit.bytes), (76_260, 3_740, 80_000 * 55));
        let message = list.message(fit);
        assert!(message.encoded_len() <= MAX_MESSAGE);
        assert!(message.encoded_len() + 55 > MAX_MESSAGE);
        assert_eq!(message.devices[76_259].id, format!("{:040}", 76_259));
    }
}
